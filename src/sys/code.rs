//! The memory that the program's own code takes.

#![allow(unsafe_code)]

use std::{fs, io};

/// Lets go of the pages of code that are mapped now; those that are needed again are mapped again when they run. Most of
/// what a daemon has run by the time it is ready (reading the command line and the file, binding) does not run again.
///
/// # Errors
/// If the list of mappings (proc_pid_maps(5)) cannot be read. Then nothing has happened.
pub fn forget() -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        if let Some((start, end)) = code(line) {
            // SAFETY: a mapping of a file that can be executed but not written, so its pages are those of the file, and
            // come back from there when they are touched (madvise(2), MADV_DONTNEED). Somebody who writes to the file of
            // a running program gets ETXTBSY.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    Ok(())
}

/// The bounds of a mapping of code of a file, such as `55d0-55f0 r-xp 00001000 fe:00 4711 /usr/bin/echod`.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (bounds, rights) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    if rights != "r-xp" || !path.starts_with('/') {
        return None;
    }
    let (start, end) = bounds.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    Some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        assert_eq!(code("1000-3000 r-xp 00001000 fe:00 4711  /usr/bin/echod"), Some((0x1000, 0x3000)));
        for other in [
            "1000-3000 r--p 00001000 fe:00 4711  /usr/bin/echod",
            "1000-3000 rwxp 00001000 fe:00 4711  /usr/bin/echod",
            "7ffd-7fff r-xp 00000000 00:00 0     [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }

    #[test]
    fn what_was_let_go_still_runs() {
        forget().unwrap();
        assert_eq!(format!("{:.2}", 2.0_f64.sqrt()), "1.41");
    }
}

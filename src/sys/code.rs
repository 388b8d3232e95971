//! The resident memory of the program's own code.

#![allow(unsafe_code)]

use std::{fs, io};

/// Drops the resident pages of executable code. The kernel maps a page again when it runs. Most of the code that a daemon has run
/// until it is ready (command line, configuration, bind) does not run again.
///
/// # Errors
/// If /proc/self/maps (proc_pid_maps(5)) cannot be read. No page has been dropped then.
pub fn forget() -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        if let Some((start, end)) = code(line) {
            // SAFETY: the mapping belongs to a file and is executable but not writable. Its pages equal those of the file, and
            // madvise(2) with MADV_DONTNEED lets the kernel read them from there again. The file cannot change: opening a running
            // program for writing fails with ETXTBSY.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
    }
    Ok(())
}

/// The address range of an executable file mapping, such as `55d0-55f0 r-xp 00001000 fe:00 4711 /usr/bin/echod`.
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
    fn only_file_backed_code_is_dropped() {
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
    fn dropped_code_still_runs() {
        forget().unwrap();
        assert_eq!(format!("{:.2}", 2.0_f64.sqrt()), "1.41");
    }
}

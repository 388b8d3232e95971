//! The resident memory of the program's own code and constants.

#![allow(unsafe_code)]

use std::{ops::Range, slice};

use libc::{c_int, c_void};
use nix::unistd::{SysconfVar, sysconf};

/// Drops the resident pages of code and constants, of the program and of its libraries. The kernel maps a page again when it is
/// used. Most of what a daemon has used until it is ready (command line, configuration, bind) it does not use again.
pub fn forget() {
    let Some(page) =
        sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok())
    else {
        return;
    };
    each_constant_segment(|segment| {
        // A segment has its pages for itself: a page has one protection.
        let (start, end) = (segment.start / page * page, segment.end.next_multiple_of(page));
        // SAFETY: nothing has been stored to these pages since they were mapped, so they equal those of the file, and madvise(2)
        // with MADV_DONTNEED lets the kernel map them from there again. The file cannot change: opening a running program for
        // writing fails with ETXTBSY, and a library that changed would change in every process that has it mapped.
        unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED) };
    });
}

/// Calls `each` with every loaded segment of a file that is not writable, from elf(5). To those that are, also where it protects
/// them afterwards (RELRO), the loader writes addresses.
fn each_constant_segment<F: FnMut(Range<usize>)>(mut each: F) {
    // SAFETY: `segments` gets the pointer to `each`, of the type that it is made for, while nobody else uses it.
    unsafe { libc::dl_iterate_phdr(Some(segments::<F>), (&raw mut each).cast()) };
}

/// The segments of one loaded object, for dl_iterate_phdr(3).
extern "C" fn segments<F: FnMut(Range<usize>)>(
    object: *mut libc::dl_phdr_info,
    _: usize,
    each: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a valid structure.
    let object = unsafe { &*object };
    // SAFETY: from `each_constant_segment`.
    let each = unsafe { &mut *each.cast::<F>() };
    let base = object.dlpi_addr as usize;
    // SAFETY: getauxval(3) only looks a number up.
    if base == unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize {
        // The kernel's own object (vdso(7)) has no file.
        return 0;
    }
    // SAFETY: these are the program headers of the object. They stay while it is loaded.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let start = base.wrapping_add(header.p_vaddr as usize);
            each(start..start + header.p_memsz as usize);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::*;

    #[test]
    fn only_code_and_constants_are_dropped() {
        static CONSTANT: [u8; 4] = *b"echo";
        static WRITABLE: AtomicU8 = AtomicU8::new(7);
        /// The loader writes its address.
        static RELOCATED: [&str; 1] = ["echo"];
        let mut found = Vec::new();
        each_constant_segment(|segment| found.push(segment));
        let is_found = |address: usize| found.iter().any(|segment| segment.contains(&address));
        assert!(is_found(forget as fn() as usize));
        assert!(is_found(libc::getpid as unsafe extern "C" fn() -> libc::pid_t as usize));
        assert!(is_found(&raw const CONSTANT as usize));
        assert!(!is_found(&raw const WRITABLE as usize));
        assert!(!is_found(&raw const RELOCATED as usize));
    }

    #[test]
    fn dropped_code_still_runs() {
        forget();
        assert_eq!(format!("{:.2}", 2.0_f64.sqrt()), "1.41");
    }
}

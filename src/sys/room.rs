//! How much memory may still be mapped. Where none is left Rust ends the process at the next allocation, so whoever can wait asks before.

#![allow(unsafe_code)]

use std::{fs, io, ptr::null_mut};

/// Whether so many bytes could be mapped now.
///
/// # Errors
/// ENOMEM: a limit of the process (setrlimit(2), `RLIMIT_AS`), of the number of its mappings, or of what the kernel promises.
pub fn probe(bytes: usize) -> io::Result<()> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
    let start = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly the range that was mapped, to which nothing points.
    unsafe { libc::munmap(start, bytes) };
    Ok(())
}

/// How many mappings the kernel allows a process (`vm.max_map_count`); `None` if it does not say.
pub fn most_mappings() -> Option<usize> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Where the address space is limited, keeps the allocator from setting 64 MiB of it aside for each of many threads. To be called
/// before there is a second one.
pub fn save_address_space() {
    #[cfg(target_env = "gnu")]
    if nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_AS)
        .is_ok_and(|(soft, _)| soft != nix::sys::resource::RLIM_INFINITY)
    {
        // SAFETY: it sets a number in the allocator, while there is one thread.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_cannot_be_mapped_is_said() {
        super::probe(1 << 20).unwrap();
        assert_eq!(super::probe(1 << 62).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }
}

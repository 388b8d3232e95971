//! How much memory can still be mapped. Rust aborts the process when an allocation fails, so code that can wait for memory probes
//! first.

#![allow(unsafe_code)]

use std::{fs, io, ptr::null_mut};

/// Whether `bytes` more can be mapped now.
///
/// # Errors
/// ENOMEM: the limit of the address space (setrlimit(2), `RLIMIT_AS`), of the number of mappings, or of the kernel's overcommit.
pub fn probe(bytes: usize) -> io::Result<()> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses overlaps no other.
    let start = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: exactly the range that was mapped, which has no references.
    unsafe { libc::munmap(start, bytes) };
    Ok(())
}

/// The number of mappings that the kernel allows a process (`vm.max_map_count`), if it can be read.
pub fn most_mappings() -> Option<usize> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Limits the allocator to one arena if the address space is limited: it would reserve 64 MiB for each of many threads. To be
/// called while the process has one thread.
pub fn save_address_space() {
    #[cfg(target_env = "gnu")]
    if nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_AS)
        .is_ok_and(|(soft, _)| soft != nix::sys::resource::RLIM_INFINITY)
    {
        // SAFETY: mallopt(3) sets a number in the allocator, while the process has one thread.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mapping_that_is_too_large_is_enomem() {
        super::probe(1 << 20).unwrap();
        assert_eq!(super::probe(1 << 62).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
    }
}

//! Memory from mmap(2): shared between the processes of the daemon, or private and not resident until it is touched.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    ops::{Deref, DerefMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr::NonNull,
};

/// Data for which all zeroes is a valid value, and which several processes may access concurrently.
///
/// # Safety
/// Every field is an atomic integer, or an array or `repr(C)` structure of such.
pub unsafe trait Atomics: Sync + Sized {}

// SAFETY: an atomic integer.
unsafe impl Atomics for std::sync::atomic::AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Atomics for std::sync::atomic::AtomicU64 {}
// SAFETY: an array of atomics.
unsafe impl<T: Atomics, const N: usize> Atomics for [T; N] {}

/// Defines a structure of atomics and implements [`Atomics`] for it. The compiler checks every field.
macro_rules! atomics {
    ($(#[$about:meta])* $seen:vis struct $name:ident {
        $($(#[$field_about:meta])* $field_seen:vis $field:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        $seen struct $name { $($(#[$field_about])* $field_seen $field: $kind,)* }

        // SAFETY: every field is `Atomics`, as the bounds demand.
        #[allow(unsafe_code)]
        unsafe impl $crate::sys::shared::Atomics for $name
        where $($kind: $crate::sys::shared::Atomics,)* {}
    };
}
pub(crate) use atomics;

/// A mapping; munmap(2) on drop.
struct RawMapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping is plain memory, which no thread owns.
unsafe impl Send for RawMapping {}
// SAFETY: as above; the types below decide what a shared reference gives access to.
unsafe impl Sync for RawMapping {}

impl RawMapping {
    fn new(bytes: usize, flags: libc::c_int, fd: RawFd) -> io::Result<RawMapping> {
        RawMapping::at(0, bytes, flags, fd)
    }

    /// Maps a part of a file, from `offset` on.
    fn at(offset: libc::off_t, bytes: usize, flags: libc::c_int, fd: RawFd) -> io::Result<RawMapping> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let bytes = bytes.max(1);
        // SAFETY: a new mapping at an address that the kernel chooses overlaps no other.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(RawMapping { start, bytes })
    }
}

impl Drop for RawMapping {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: exactly the range that `at` mapped. A value that is being dropped has no borrows.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        }
    }
}

/// A `T` shared with forked children, and with processes that receive its descriptor.
pub struct Shared<T> {
    memory: RawMapping,
    file: OwnedFd,
    data: std::marker::PhantomData<T>,
}

impl<T: Atomics> Shared<T> {
    /// A new one, all zeroes, in a memfd (memfd_create(2)).
    pub fn new() -> io::Result<Shared<T>> {
        // SAFETY: the name is a valid C string; the result is checked below.
        let fd = unsafe { libc::memfd_create(c"echod".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor, which has no other owner.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        File::from(file.try_clone()?).set_len(size_of::<T>() as u64)?;
        Shared::open(file)
    }

    /// Maps the memfd that another process of the daemon handed over.
    pub fn open(file: OwnedFd) -> io::Result<Shared<T>> {
        if File::from(file.try_clone()?).metadata()?.len() < size_of::<T>() as u64 {
            return Err(io::Error::other("the shared memory is too small"));
        }
        let memory = RawMapping::new(size_of::<T>(), libc::MAP_SHARED, file.as_raw_fd())?;
        Ok(Shared { memory, file, data: std::marker::PhantomData })
    }

    /// Arrays in the same memfd, behind the `T`.
    pub fn arrays(&self) -> ArraysBehind<'_> {
        ArraysBehind { file: self.file.as_fd(), end: PART.max(size_of::<T>().next_multiple_of(PART)) }
    }
}

impl<T> AsFd for Shared<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl<T: Atomics> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is as large as T, page-aligned, zeroed at first, and never shrunk by this daemon. `Atomics`
        // promises that any such content is a T, and that concurrent writers are no data race.
        unsafe { self.memory.start.cast().as_ref() }
    }
}

/// An array that a parent shares with its forked children.
pub struct SharedArray<T> {
    memory: RawMapping,
    count: usize,
    data: std::marker::PhantomData<T>,
}

impl<T: Atomics> SharedArray<T> {
    /// An array of `count` elements, all zeroes.
    pub fn new(count: usize) -> io::Result<SharedArray<T>> {
        let bytes = count.saturating_mul(size_of::<T>());
        let memory = RawMapping::new(bytes, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
        Ok(SharedArray { memory, count, data: std::marker::PhantomData })
    }
}

impl<T: Atomics> Deref for SharedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `count` zeroed values; `Atomics` as in `Shared`.
        unsafe { std::slice::from_raw_parts(self.memory.start.cast().as_ptr(), self.count) }
    }
}

/// Where each part of a memfd begins, in bytes: a multiple of the size of a page on every machine. What is never touched
/// takes no memory.
const PART: usize = 64 << 10;

/// Arrays in one memfd, one behind the other. Processes that ask for arrays of the same sizes in the same order get the
/// same ones.
pub struct ArraysBehind<'a> {
    file: BorrowedFd<'a>,
    end: usize,
}

impl ArraysBehind<'_> {
    /// The next array, of `count` elements; all zeroes, if no process has written to it.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn next<T: Atomics>(&mut self, count: usize) -> io::Result<SharedArray<T>> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = count.checked_mul(size_of::<T>()).ok_or_else(too_large)?;
        let length = bytes.max(1).checked_next_multiple_of(PART).ok_or_else(too_large)?;
        let start = libc::off_t::try_from(self.end).map_err(|_| too_large())?;
        let end = self.end.checked_add(length).ok_or_else(too_large)?;
        self.end = end;
        let file = File::from(self.file.try_clone_to_owned()?);
        if file.metadata()?.len() < end as u64 {
            // Where a file may not be as long (RLIMIT_FSIZE), this process and its children have arrays of their own.
            if let Err(error) = file.set_len(end as u64) {
                return match error.kind() {
                    io::ErrorKind::FileTooLarge => SharedArray::new(count),
                    _ => Err(error),
                };
            }
        }
        let memory = RawMapping::at(start, bytes, libc::MAP_SHARED, file.as_raw_fd())?;
        Ok(SharedArray { memory, count, data: std::marker::PhantomData })
    }
}

/// A private, zeroed buffer. A page takes memory only after the first write to it.
pub struct Mapping {
    memory: RawMapping,
}

impl Mapping {
    /// A buffer of `bytes` bytes.
    pub fn new(bytes: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Ok(Mapping { memory: RawMapping::new(bytes, flags, -1)? })
    }

    /// Leaks the mapping, because the kernel may still write to it. The buffer is empty afterwards.
    pub fn leak(&mut self) {
        self.memory.bytes = 0;
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is `bytes` long, zeroed, and private to this value.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr(), self.memory.bytes) }
    }
}

impl DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr(), self.memory.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn two_mappings_of_one_file_are_one_memory() {
        let ours = Shared::<AtomicU32>::new().unwrap();
        let theirs = Shared::<AtomicU32>::open(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        ours.store(7, Relaxed);
        assert_eq!(theirs.load(Relaxed), 7);
    }

    #[test]
    fn arrays_behind_it_are_the_same_for_every_process_that_has_the_file() {
        let ours = Shared::<AtomicU32>::new().unwrap();
        let theirs = Shared::<AtomicU32>::open(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let of = |shared: &Shared<AtomicU32>| {
            let mut arrays = shared.arrays();
            (arrays.next::<AtomicU32>(3).unwrap(), arrays.next::<AtomicU32>(100_000).unwrap())
        };
        let ((small, large), (same_small, same_large)) = (of(&ours), of(&theirs));
        ours.store(1, Relaxed);
        small[2].store(2, Relaxed);
        large[99_999].store(3, Relaxed);
        assert_eq!((same_small.len(), same_small[2].load(Relaxed)), (3, 2));
        assert_eq!((same_large.len(), same_large[99_999].load(Relaxed)), (100_000, 3));
        assert_eq!(
            (theirs.load(Relaxed), same_small[0].load(Relaxed), same_large[0].load(Relaxed)),
            (1, 0, 0)
        );
    }

    #[test]
    fn a_file_that_is_too_small_is_refused() {
        let empty = tempfile::tempfile().unwrap();
        assert!(Shared::<AtomicU32>::open(empty.into()).is_err());
    }

    #[test]
    fn a_mapping_starts_zeroed_and_can_be_written() {
        let mut mapping = Mapping::new(10_000).unwrap();
        assert_eq!(mapping.len(), 10_000);
        assert!(mapping.iter().all(|&byte| byte == 0));
        mapping[9_999] = 1;
        assert_eq!(mapping[9_999], 1);
    }
}

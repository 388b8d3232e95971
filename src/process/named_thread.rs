//! Threads that stand beside the loops: each has a name for `ps -L` and debuggers, and as much stack as it needs. A thread for one
//! request has no name and is started by [`crate::sys::thread`].

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// Starts a thread with a stack of `stack` bytes.
///
/// # Errors
/// EAGAIN if memory is short or a limit of threads is reached (pthread_create(3)).
pub fn spawn(name: &str, stack: usize, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // Boxed, so that what the library does for a thread is in the binary once.
    let work: Box<dyn FnOnce() + Send> = Box::new(work);
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(work)
}

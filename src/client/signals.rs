//! Signals to a run of the client: the first one to stop asks for the summary, the second ends the process at once.

use std::{
    io::{self, PipeReader, Read},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    flag,
    low_level::pipe,
};

/// What asks a run to stop: SIGINT (Ctrl-C) and SIGTERM.
const STOP: [i32; 2] = [SIGINT, SIGTERM];

/// A flag that the first signal to stop sets. The second one ends the process with the exit code that a shell gives to a program that
/// such a signal has ended (130 for Ctrl-C), wherever the run is held up.
///
/// # Errors
/// A signal cannot be caught.
pub fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in STOP {
        // In this order: the signal that sets the flag does not find it set.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// The same for a loop that waits for descriptors, with the wish to hear how it stands: SIGQUIT, as with ping(8).
#[derive(Debug)]
pub struct Wishes {
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    /// Readable when a signal has come.
    wake: PipeReader,
}

impl Wishes {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// No pipe can be had, or a signal cannot be caught.
    pub fn catch() -> io::Result<Wishes> {
        let (stop, report) = (stop_flag()?, Arc::new(AtomicBool::new(false)));
        flag::register(SIGQUIT, Arc::clone(&report))?;
        let (wake, tell) = io::pipe()?;
        // After the flags: these are set when the loop wakes.
        for signal in [SIGINT, SIGTERM, SIGQUIT] {
            pipe::register(signal, tell.try_clone()?)?;
        }
        Ok(Wishes { stop, report, wake })
    }

    /// Whether the run is to stop.
    pub fn is_stop(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Whether somebody has asked since the last call how it stands.
    pub fn take_report(&self) -> bool {
        self.report.swap(false, SeqCst)
    }

    /// Makes it readable no more until the next signal. To be called when it is readable: else it blocks.
    pub fn clear(&mut self) {
        let _ = self.wake.read(&mut [0; 64]);
    }
}

impl AsFd for Wishes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

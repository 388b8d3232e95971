//! Signals as something to poll for: stop, or say how it stands.

use std::{
    io::{self, PipeReader, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

/// After so many signals to stop, the process ends by the signal itself: something holds it up.
const LAST: u32 = 3;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Stop: SIGINT (Ctrl-C) or SIGTERM.
    Stop,
    /// Say how it stands: SIGQUIT, as with ping(8).
    Report,
}

/// The signals that have arrived.
#[derive(Debug)]
pub struct Wishes {
    pipe: PipeReader,
}

impl Wishes {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// No pipe or no thread can be had.
    pub fn catch() -> io::Result<Wishes> {
        let (pipe, mut tell) = io::pipe()?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
        let wait = move || {
            let mut stops = 0;
            for signal in signals.forever() {
                stops += u32::from(signal != SIGQUIT);
                if stops == LAST {
                    let _ = emulate_default_handler(signal);
                }
                // The reader lives as long as the process.
                let _ = tell.write_all(if signal == SIGQUIT { b"r" } else { b"s" });
            }
        };
        thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(wait)?;
        Ok(Wishes { pipe })
    }

    /// Reads what was asked for. To be called when it is readable: else it blocks.
    pub fn read(&mut self) -> Vec<Wish> {
        let mut bytes = [0; 16];
        let length = self.pipe.read(&mut bytes).unwrap_or_default();
        bytes[..length].iter().map(|byte| if *byte == b'r' { Wish::Report } else { Wish::Stop }).collect()
    }
}

impl AsFd for Wishes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

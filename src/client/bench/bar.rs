//! The progress of a run as a bar on standard error, if that is a terminal, with the flag that ends the run.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::process::named_thread;

use super::{
    super::signals,
    progress::{Progress, ProgressStep},
};

/// Characters of a full bar.
const LENGTH: usize = 40;

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// Stack of the thread that draws, in bytes.
const STACK: usize = 64 << 10;

/// A bar, or nothing where nobody sees it.
pub struct Bar {
    stop: Arc<AtomicBool>,
    is_shown: bool,
    drawn: Option<Drawn>,
}

/// The bar of a step, which a thread of its own draws: the loop is not held up.
struct Drawn {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Bar {
    /// From now on signals end the run, see [`signals::stop_flag`].
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub(super) fn new(is_quiet: bool) -> io::Result<Self> {
        Ok(Self {
            stop: signals::stop_flag()?,
            is_shown: !is_quiet && io::stderr().is_terminal(),
            drawn: None,
        })
    }
}

impl Progress for Bar {
    fn begin(&mut self, step: &ProgressStep) {
        if !self.is_shown {
            return;
        }
        let (what, lasts) = (step.what.clone(), step.lasts);
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, begun) = (Arc::clone(&is_over), Instant::now());
        let draw = move || {
            // A terminal that takes nothing is no reason to fail.
            let write = |line: &str| _ = io::stderr().write_all(line.as_bytes());
            while !ended.load(Relaxed) {
                write(&line(&what, begun.elapsed(), lasts));
                thread::park_timeout(REDRAW);
            }
            write(CLEAR);
        };
        let thread = named_thread::spawn("progress", STACK, draw);
        self.drawn = thread.ok().map(|thread| Drawn { is_over, thread });
    }

    fn end(&mut self) {
        if let Some(drawn) = self.drawn.take() {
            drawn.is_over.store(true, Relaxed);
            drawn.thread.thread().unpark();
            // It has nothing that could panic, and if it has the run goes on.
            let _ = drawn.thread.join();
        }
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

/// To the start of the line, and erase it (ECMA-48, EL).
const CLEAR: &str = "\r\x1b[K";

/// The bar of a step in the place of the one before.
fn line(what: &str, passed: Duration, lasts: Duration) -> String {
    let part = (passed.as_secs_f64() / lasts.as_secs_f64().max(1e-9)).min(1.0);
    // At most the length.
    let full = (part * LENGTH as f64) as usize;
    format!("{CLEAR}{what:20} [{:LENGTH$}] {:.0} %", "#".repeat(full), part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_to_its_end_and_no_further() {
        let at = |millis| line("round 1 of 3", Duration::from_millis(millis), Duration::from_secs(1));
        assert_eq!(
            at(500),
            format!("{CLEAR}round 1 of 3         [{}{}] 50 %", "#".repeat(20), " ".repeat(20))
        );
        assert!(at(0).ends_with(&format!("[{}] 0 %", " ".repeat(40))));
        assert!(at(2000).ends_with(&format!("[{}] 100 %", "#".repeat(40))));
        assert!(line("", Duration::ZERO, Duration::ZERO).ends_with(" 0 %"));
    }
}

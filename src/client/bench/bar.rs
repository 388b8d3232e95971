//! The progress of a run as a bar on standard error, if that is a terminal, and Ctrl-C as its end.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use super::progress::{Progress, ProgressStep};

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

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
    /// From now on the first Ctrl-C ends the run with a summary, the second one at once.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub(super) fn new(is_quiet: bool) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        Ok(Self { stop, is_shown: !is_quiet && io::stderr().is_terminal(), drawn: None })
    }
}

impl Progress for Bar {
    fn begin(&mut self, step: &ProgressStep) {
        if !self.is_shown {
            return;
        }
        let lasts = step.lasts.as_millis().max(1) as u64;
        // The template is right, and a bar is no reason to fail.
        let style = ProgressStyle::with_template("{msg:20} [{bar:40}] {percent}%")
            .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("## "));
        let bar = ProgressBar::new(lasts).with_style(style).with_message(step.what.clone());
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, begun) = (Arc::clone(&is_over), Instant::now());
        let draw = move || {
            while !ended.load(Relaxed) {
                bar.set_position((begun.elapsed().as_millis() as u64).min(lasts));
                thread::park_timeout(REDRAW);
            }
            bar.finish_and_clear();
        };
        let thread = thread::Builder::new().name("progress".into()).spawn(draw);
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

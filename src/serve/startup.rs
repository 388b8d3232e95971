//! The rendezvous of a listener's workers with the thread that starts them. Every worker allocates what it needs,
//! reports that it is ready, and accepts clients only after the go-ahead. So a start, or a reload, that fails for lack
//! of descriptors, memory, threads or processes fails before anything has changed.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// The start of one listener.
pub struct Startup {
    state: Mutex<StartState>,
    changed: Condvar,
    /// In a worker process: reports to its parent, and waits for the go-ahead.
    elsewhere: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

struct StartState {
    /// Workers that have not reported yet.
    missing: usize,
    phase: StartPhase,
    failure: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StartPhase {
    Preparing,
    Begun,
    GivenUp,
}

impl Startup {
    /// A start of so many workers in this process.
    pub fn of(workers: usize) -> Startup {
        Startup::new(workers, StartPhase::Preparing, None)
    }

    /// The start of a process with one worker thread: `meet` reports to the parent, and returns whether to begin.
    pub fn elsewhere(meet: impl Fn() -> bool + Send + Sync + 'static) -> Startup {
        Startup::new(1, StartPhase::Preparing, Some(Box::new(meet)))
    }

    /// A start without rendezvous: the workers begin at once.
    pub fn begun() -> Startup {
        Startup::new(0, StartPhase::Begun, None)
    }

    fn new(
        missing: usize,
        phase: StartPhase,
        elsewhere: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    ) -> Startup {
        let state = StartState { missing, phase, failure: None };
        Startup { state: Mutex::new(state), changed: Condvar::new(), elsewhere }
    }

    /// Called by each worker when it has all it needs. Waits for the go-ahead; false if the start was given up.
    pub fn meet(&self) -> bool {
        let mut state = self.lock();
        if state.phase == StartPhase::Preparing
            && let Some(elsewhere) = &self.elsewhere
        {
            state.phase = if elsewhere() { StartPhase::Begun } else { StartPhase::GivenUp };
        }
        if state.phase == StartPhase::Preparing {
            state.missing = state.missing.saturating_sub(1);
            self.changed.notify_all();
        }
        while state.phase == StartPhase::Preparing {
            state = self.wait(state);
        }
        state.phase == StartPhase::Begun
    }

    /// Waits until all workers have reported.
    ///
    /// # Errors
    /// The error of the first worker that failed.
    pub fn prepared(&self) -> io::Result<()> {
        let mut state = self.lock();
        while state.missing > 0 && state.phase == StartPhase::Preparing {
            state = self.wait(state);
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Lets all workers begin.
    pub fn begin(&self) {
        self.enter(StartPhase::Begun, None);
    }

    /// Ends all workers before they begin, because one of them failed with `error`, or another listener failed to
    /// start.
    pub fn give_up(&self, error: Option<io::Error>) {
        self.enter(StartPhase::GivenUp, error);
    }

    /// Whether the workers were given the go-ahead.
    pub fn has_begun(&self) -> bool {
        self.lock().phase == StartPhase::Begun
    }

    fn enter(&self, phase: StartPhase, error: Option<io::Error>) {
        let mut state = self.lock();
        if state.phase == StartPhase::Preparing {
            state.phase = phase;
            state.failure = error;
        }
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, StartState>) -> MutexGuard<'a, StartState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, StartState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_worker_begins_before_all_are_prepared() {
        let startup = Startup::of(3);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| startup.meet())).collect();
            startup.prepared().unwrap();
            assert!(!startup.has_begun());
            startup.begin();
            assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
        });
        assert!(startup.meet(), "a worker that is started again begins at once");
    }

    #[test]
    fn a_worker_that_fails_ends_the_others() {
        let startup = Startup::of(2);
        thread::scope(|scope| {
            let other = scope.spawn(|| startup.meet());
            startup.give_up(Some(io::Error::from_raw_os_error(libc::EMFILE)));
            assert_eq!(startup.prepared().unwrap_err().raw_os_error(), Some(libc::EMFILE));
            assert!(!other.join().unwrap());
            startup.begin();
            assert!(!startup.has_begun(), "it is too late");
        });
    }
}

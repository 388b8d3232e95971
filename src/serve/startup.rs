//! Where the workers of a listener meet the one that starts them: every worker makes what it needs, reports that it is prepared,
//! and accepts clients only once it is told to begin. So a start, or a reload, that fails for want of descriptors, memory,
//! threads or processes fails before anything has changed.

use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// The start of one listener.
pub struct Startup {
    state: Mutex<State>,
    changed: Condvar,
    /// In a process of its own: reports to the process that started it, and waits for its word.
    elsewhere: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

struct State {
    /// Workers that have not reported yet.
    missing: usize,
    phase: Phase,
    failure: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Begun,
    GivenUp,
}

impl Startup {
    /// The start of so many workers in this process.
    pub fn of(workers: usize) -> Startup {
        Startup::new(workers, Phase::Preparing, None)
    }

    /// The start of a process that serves with one thread: `meet` reports to the process that started it, and returns whether
    /// it is to begin.
    pub fn elsewhere(meet: impl Fn() -> bool + Send + Sync + 'static) -> Startup {
        Startup::new(1, Phase::Preparing, Some(Box::new(meet)))
    }

    /// Nobody waits for these workers: they begin at once.
    pub fn begun() -> Startup {
        Startup::new(0, Phase::Begun, None)
    }

    fn new(missing: usize, phase: Phase, elsewhere: Option<Box<dyn Fn() -> bool + Send + Sync>>) -> Startup {
        let state = State { missing, phase, failure: None };
        Startup { state: Mutex::new(state), changed: Condvar::new(), elsewhere }
    }

    /// To be called by each worker when it has all that it needs. Waits until it may begin; false if the start was given up.
    pub fn meet(&self) -> bool {
        let mut state = self.lock();
        if state.phase == Phase::Preparing
            && let Some(elsewhere) = &self.elsewhere
        {
            state.phase = if elsewhere() { Phase::Begun } else { Phase::GivenUp };
        }
        if state.phase == Phase::Preparing {
            state.missing = state.missing.saturating_sub(1);
            self.changed.notify_all();
        }
        self.word(state)
    }

    /// As [`Startup::meet`], for a thread that is none of the workers.
    pub fn wait_for_word(&self) -> bool {
        self.word(self.lock())
    }

    fn word(&self, mut state: MutexGuard<'_, State>) -> bool {
        while state.phase == Phase::Preparing {
            state = self.wait(state);
        }
        state.phase == Phase::Begun
    }

    /// Waits until all workers are prepared.
    ///
    /// # Errors
    /// What the first worker that failed has met.
    pub fn prepared(&self) -> io::Result<()> {
        let mut state = self.lock();
        while state.missing > 0 && state.phase == Phase::Preparing {
            state = self.wait(state);
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Lets all workers begin.
    pub fn begin(&self) {
        self.enter(Phase::Begun, None);
    }

    /// Sends all workers away, because one of them met an `error`, or the start of another listener failed.
    pub fn give_up(&self, error: Option<io::Error>) {
        self.enter(Phase::GivenUp, error);
    }

    /// Whether the workers were told to begin.
    pub fn has_begun(&self) -> bool {
        self.lock().phase == Phase::Begun
    }

    fn enter(&self, phase: Phase, error: Option<io::Error>) {
        let mut state = self.lock();
        if state.phase == Phase::Preparing {
            state.phase = phase;
            state.failure = error;
        }
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nobody_begins_before_all_are_prepared() {
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
    fn one_that_fails_sends_the_others_away() {
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

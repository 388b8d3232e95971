//! Threads on demand: each job has a thread. A thread that has finished waits for the next job, because waking a spare thread
//! is faster than starting one. At most `SPARE` of them wait; the others exit.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::sleep,
    time::Duration,
};

use log::warn;

use crate::{
    report::{log_event::LogEvent, logging::LogThrottle, stats::Stats},
    serve::context::ListenerContext,
    sys::{room, shared::Shared, task_name::name_task, thread},
};

/// Stack of a thread that serves, in bytes; only touched pages take memory.
pub(crate) const STACK: usize = 256 << 10;

/// Task name of a thread or process that serves clients.
pub(crate) const CLIENT: &str = "client";

/// Maximum number of threads that wait for a job.
const SPARE: usize = 32;

/// Address space that must stay free when a thread starts, in bytes: an allocation that fails elsewhere aborts the daemon.
const RESERVE: usize = 16 << 20;

/// Memory mappings of one thread: stack, guard page, and what it prepares (the scratch buffer).
const MAPPINGS: usize = 3;

/// Memory mappings that must stay free for the rest of the daemon.
const RESERVED_MAPPINGS: usize = 4096;

/// Threads alive now, over all listeners.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Back-off before the next attempt to start a thread.
const BACKOFF: Duration = Duration::from_millis(100);

/// Threads that execute jobs of type `J`.
pub(super) struct Threads<J> {
    pool: Arc<Pool<J>>,
    start: Box<dyn Fn() -> io::Result<()>>,
    stats: Arc<Shared<Stats>>,
}

struct Pool<J> {
    state: Mutex<PoolState<J>>,
    given: Condvar,
    gone: Condvar,
}

struct PoolState<J> {
    jobs: VecDeque<J>,
    spare: usize,
    alive: usize,
    finished: bool,
}

impl<J: Send + 'static> Threads<J> {
    /// `work` executes a job; it gets what `prepare` made when its thread was started.
    pub(super) fn new<T>(
        context: &Arc<ListenerContext>,
        prepare: fn(&ListenerContext) -> io::Result<T>,
        work: impl Fn(&ListenerContext, J, &mut T) + Send + Sync + 'static,
    ) -> Threads<J>
    where
        T: Send + 'static,
    {
        let state = PoolState { jobs: VecDeque::new(), spare: 0, alive: 0, finished: false };
        let pool = Arc::new(Pool { state: Mutex::new(state), given: Condvar::new(), gone: Condvar::new() });
        let stats = Arc::clone(&context.stats);
        let (context, work, shared) = (Arc::clone(context), Arc::new(work), Arc::clone(&pool));
        let start = move || {
            has_room()?;
            let mut own = prepare(&context)?;
            let (context, work, shared) = (Arc::clone(&context), Arc::clone(&work), Arc::clone(&shared));
            let body = move || {
                name_task(&context.settings.name, CLIENT);
                let alive = Alive(shared);
                context.threads.join(|| {
                    while let Some(job) = alive.0.next() {
                        work(&context, job, &mut own);
                    }
                });
            };
            ALIVE.fetch_add(1, Relaxed);
            thread::spawn(STACK, body).inspect_err(|_| _ = ALIVE.fetch_sub(1, Relaxed))
        };
        Threads { pool, start: Box::new(start), stats }
    }

    /// Gives `job` to a thread of its own: wakes a spare one, or starts one.
    pub(super) fn give(&self, job: J) {
        let mut state = self.pool.lock();
        state.jobs.push_back(job);
        if state.spare >= state.jobs.len() {
            drop(state);
            self.pool.given.notify_one();
            return;
        }
        state.alive += 1;
        drop(state);
        while let Err(error) = (self.start)() {
            self.stats.exhausted.fetch_add(1, Relaxed);
            cannot_start(&error);
            sleep(BACKOFF);
            let mut state = self.pool.lock();
            if state.jobs.is_empty() {
                // A thread that finished another job has taken this one.
                state.alive -= 1;
                return;
            }
        }
    }

    /// Waits until all jobs are done and all threads have exited.
    pub(super) fn finish(self) {
        let mut state = self.pool.lock();
        state.finished = true;
        self.pool.given.notify_all();
        while state.alive > 0 {
            state = self.pool.gone.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J> Pool<J> {
    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.finished || state.spare >= SPARE {
                return None;
            }
            state.spare += 1;
            state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.spare -= 1;
        }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.alive -= 1;
        if state.alive == 0 {
            self.gone.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a thread as alive; the drop also runs when it panics.
struct Alive<J>(Arc<Pool<J>>);

impl<J> Drop for Alive<J> {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Relaxed);
        self.0.leave();
    }
}

/// How many threads `vm.max_map_count` allows, over all listeners.
pub(crate) fn most() -> usize {
    // Read once: the sandbox denies the file afterwards.
    static MOST: LazyLock<usize> = LazyLock::new(|| {
        let mappings = room::most_mappings().unwrap_or(usize::MAX);
        (mappings.saturating_sub(RESERVED_MAPPINGS) / MAPPINGS).max(1)
    });
    *MOST
}

/// Fails unless enough memory and mappings stay free after one more thread has started.
fn has_room() -> io::Result<()> {
    if ALIVE.load(Relaxed) >= most() {
        return Err(io::Error::other(format!("vm.max_map_count leaves room for {} threads", most())));
    }
    room::probe(STACK + RESERVE)
}

fn cannot_start(error: &io::Error) {
    static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
    if THROTTLE.allow().is_some() {
        warn!(
            event = LogEvent::ThreadFailed, error:% = error;
            "cannot start a thread: {error}; clients wait, raise the limit of threads or of memory, or lower max-connections"
        );
    }
}

//! Threads on demand: one for each job, started when none is spare. A thread that has done its job waits for another
//! one, which is quicker to hand over than a thread is to start; only so many wait.

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
    report::{logging::LogThrottle, stats::Stats},
    serve::context::ListenerContext,
    sys::{room, shared::Shared, task_name::name_task, thread},
};

/// Stack of a thread that serves, in bytes; only what is touched takes memory.
pub(crate) const STACK: usize = 256 << 10;

/// What a thread or process is called that serves one client after the other, or only one.
pub(crate) const CLIENT: &str = "client";

/// Threads that may wait for a job.
const SPARE: usize = 32;

/// Memory that is left for all others when a thread is started, in bytes: what finds none at another place ends the daemon.
const RESERVE: usize = 16 << 20;

/// Mappings of one thread: its stack, what guards it, and what it prepares.
const MAPPINGS: usize = 3;

/// Mappings that are left for all others.
const RESERVED_MAPPINGS: usize = 4096;

/// Threads of all listeners that there are now.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// The rest before trying again to start a first thread.
const REST: Duration = Duration::from_millis(100);

/// Threads that do jobs of type `J`.
pub(super) struct Threads<J> {
    pool: Arc<Pool<J>>,
    start: Box<dyn Fn() -> io::Result<()>>,
    stats: Arc<Shared<Stats>>,
}

struct Pool<J> {
    state: Mutex<State<J>>,
    given: Condvar,
    gone: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    spare: usize,
    alive: usize,
    finished: bool,
}

impl<J: Send + 'static> Threads<J> {
    /// Threads that do `work` for each job, with what `prepare` gives each thread once.
    pub(super) fn new<T>(
        context: &Arc<ListenerContext>,
        prepare: fn() -> io::Result<T>,
        work: impl Fn(&ListenerContext, J, &mut T) + Send + Sync + 'static,
    ) -> Threads<J>
    where
        T: Send + 'static,
    {
        let state = State { jobs: VecDeque::new(), spare: 0, alive: 0, finished: false };
        let pool = Arc::new(Pool { state: Mutex::new(state), given: Condvar::new(), gone: Condvar::new() });
        let stats = Arc::clone(&context.stats);
        let (context, work, shared) = (Arc::clone(context), Arc::new(work), Arc::clone(&pool));
        let start = move || {
            has_room()?;
            let mut own = prepare()?;
            let (context, work, shared) = (Arc::clone(&context), Arc::clone(&work), Arc::clone(&shared));
            let live = move || {
                name_task(&context.settings.name, CLIENT);
                let alive = Alive(shared);
                context.workers.join(|| {
                    while let Some(job) = alive.0.next() {
                        work(&context, job, &mut own);
                    }
                });
            };
            ALIVE.fetch_add(1, Relaxed);
            thread::spawn(STACK, live).inspect_err(|_| _ = ALIVE.fetch_sub(1, Relaxed))
        };
        Threads { pool, start: Box::new(start), stats }
    }

    /// Has `job` done by a thread of its own.
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
            sleep(REST);
            let mut state = self.pool.lock();
            if state.jobs.is_empty() {
                // A thread that was done with another one has come to it.
                state.alive -= 1;
                return;
            }
        }
    }

    /// Waits until all jobs are done and all threads are gone.
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

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that is alive. Dropped, it has left, also by a panic.
struct Alive<J>(Arc<Pool<J>>);

impl<J> Drop for Alive<J> {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Relaxed);
        self.0.leave();
    }
}

/// How many threads the kernel has mappings for, in all listeners together.
pub(crate) fn most() -> usize {
    // In a sandbox the kernel is not asked any more.
    static MOST: LazyLock<usize> = LazyLock::new(|| {
        let mappings = room::most_mappings().unwrap_or(usize::MAX);
        (mappings.saturating_sub(RESERVED_MAPPINGS) / MAPPINGS).max(1)
    });
    *MOST
}

/// Whether one more thread leaves enough memory for all others.
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
            "cannot start a thread: {error}; clients wait, raise the limit of threads or of memory, or lower max-connections"
        );
    }
}

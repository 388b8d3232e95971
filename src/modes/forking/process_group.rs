//! The process of a forking listener and its children: signals, fork(2), waitpid(2).

use std::{
    cell::Cell,
    io,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use log::warn;
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use signal_hook::{consts, flag};

use crate::{
    modes::backlog_drain,
    report::{
        log_event::LogEvent,
        logging,
        stats::{Order, Stats, use_shard},
    },
    serve::{
        context::ListenerContext,
        listener_set::{self, LingerList, WaitOptions},
    },
    socket::listener::Listener,
    sys::{alarm, fork, interrupt, shared::Shared, worker_state},
};

/// Signal that tells the process of a forking listener that another generation has its sockets.
pub(crate) const HAND_OVER: Signal = Signal::SIGUSR2;

/// How long the daemon's order in shared memory may follow a signal: one sent to all processes of the service reaches this
/// process before the daemon has acted on its own.
const ORDER: Duration = Duration::from_millis(500);

/// This process and its children. All signals stay blocked in it, except while it waits.
pub(super) struct ProcessGroup {
    child_ended: Arc<AtomicBool>,
    handed_over: Arc<AtomicBool>,
    /// Children forked so far; each child counts in another shard than the one before.
    forked: Cell<usize>,
    /// Holds the daemon's orders: a signal alone may come from any process.
    stats: Arc<Shared<Stats>>,
}

impl ProcessGroup {
    pub(super) fn new(stats: &Arc<Shared<Stats>>) -> io::Result<ProcessGroup> {
        // Children inherit the handler and its flag, so one forked just after the signal is interrupted as well.
        interrupt::on(libc::SIGTERM);
        worker_state::on();
        alarm::on();
        let (child_ended, handed_over): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let group =
            ProcessGroup { child_ended, handed_over, forked: Cell::default(), stats: Arc::clone(stats) };
        flag::register(HAND_OVER as i32, Arc::clone(&group.handed_over))?;
        flag::register(consts::SIGCHLD, Arc::clone(&group.child_ended))?;
        Ok(group)
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        interrupt::is_interrupted() && self.is_ordered(Order::Stop, Signal::SIGTERM)
    }

    /// Whether another generation has the sockets from now on.
    pub(super) fn is_told_to_hand_over(&self) -> bool {
        self.handed_over.load(Acquire) && self.is_ordered(Order::HandOver, HAND_OVER)
    }

    /// Whether the daemon sent `signal`. To obey a stray one would leave a configured listener unserved for good, so this
    /// process dies of it instead, and the daemon restarts it.
    fn is_ordered(&self, order: Order, signal: Signal) -> bool {
        let end = Instant::now() + ORDER;
        while !self.stats.is_ordered(order) {
            if end <= Instant::now() {
                let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Interrupts children that are blocked while they wait for clients.
    pub(super) fn wake(&self, children: impl Iterator<Item = Pid>) {
        for child in children {
            let _ = kill(child, Signal::SIGWINCH);
        }
    }

    /// Forks. SIGTERM interrupts the child, SIGWINCH and its own SIGALRM wake it; all other signals stay blocked there.
    pub(super) fn fork(&self, child: impl FnOnce() -> i32) -> io::Result<Pid> {
        self.forked.set(self.forked.get().wrapping_add(1));
        fork::fork(|| {
            use_shard(self.forked.get());
            let mut unblocked = SigSet::empty();
            unblocked.add(Signal::SIGTERM);
            unblocked.add(Signal::SIGWINCH);
            unblocked.add(Signal::SIGALRM);
            let _ = unblocked.thread_unblock();
            child()
        })
    }

    /// Refuses clients from now on; to be called once no process accepts here. Forks a child that serves the backlog of
    /// `sockets` at shutdown, and lingers on clients `refused` earlier that have not read the reason yet.
    pub(super) fn close(
        &self,
        context: &ListenerContext,
        sockets: &[Listener],
        refused: LingerList,
    ) -> Option<Pid> {
        let (is_due, lingers) = (backlog_drain::is_due(context), !refused.is_empty());
        let drain = || {
            match is_due {
                true => backlog_drain::serve(context, sockets, refused),
                false => refused.finish(),
            }
            0
        };
        let forked = (is_due || lingers).then(|| self.fork(drain));
        if !matches!(forked, Some(Ok(_))) || !is_due {
            backlog_drain::refuse(context, sockets);
        }
        forked?
            .inspect_err(|error| {
                let name = context.settings.name.as_str();
                warn!(
                    event = LogEvent::BacklogRefused, listener = name, error:% = error;
                    "listener \"{name}\": cannot fork for the clients that wait at the stop: {error}; they are refused"
                );
            })
            .ok()
    }

    pub(super) fn stop(&self, children: impl Iterator<Item = Pid>) {
        for child in children {
            let _ = kill(child, Signal::SIGTERM);
        }
    }

    /// Reaps a child that has ended. Only children in the process group that this process founded: any other child was
    /// started by another program before exec(2), which leaves it in another group.
    pub(super) fn reap(&self) -> Option<(Pid, WaitStatus)> {
        // Load before swap: after a fork, the first write to a page copies it.
        if !self.child_ended.load(Relaxed) || !self.child_ended.swap(false, Acquire) {
            return None;
        }
        loop {
            match waitpid(Pid::from_raw(0), Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => {}
                Err(_) | Ok(WaitStatus::StillAlive) => return None,
                Ok(status) => {
                    // One SIGCHLD can stand for several children.
                    self.child_ended.store(true, Release);
                    return status.pid().map(|pid| (pid, status));
                }
            }
        }
    }

    /// Makes the next [`ProcessGroup::reap`] call waitpid(2), even if no SIGCHLD was handled yet.
    pub(super) fn force_reap(&self) {
        self.child_ended.store(true, Relaxed);
    }

    /// Waits for a signal, at most `time`.
    pub(super) fn pause(&self, time: Option<Duration>) {
        self.pause_until(None, time);
    }

    /// As [`ProcessGroup::pause`], also until `event` is readable.
    pub(super) fn pause_until(&self, event: Option<BorrowedFd<'_>>, time: Option<Duration>) {
        listener_set::pause(&self.wait_options(time, true), event);
        logging::catch_up();
    }

    /// Options to wait with: SIGTERM, pings and hand-over interrupt the wait, SIGCHLD only if `reaps`. Other signals, such as
    /// SIGINT from the terminal, are for the daemon to act on.
    pub(super) fn wait_options(&self, time: Option<Duration>, reaps: bool) -> WaitOptions {
        let mut blocked = interrupt::blockable();
        blocked.remove(Signal::SIGTERM);
        blocked.remove(Signal::SIGWINCH);
        blocked.remove(HAND_OVER);
        if reaps {
            blocked.remove(Signal::SIGCHLD);
        }
        let log = logging::due().map(|due| due.saturating_duration_since(Instant::now()));
        WaitOptions { time: time.into_iter().chain(log).min(), blocked: Some(blocked) }
    }
}

/// Why a process ended, as log text.
pub(super) fn cause(status: WaitStatus) -> String {
    match status {
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        WaitStatus::Exited(_, status) => format!("exit status {status}"),
        _ => "ended unexpectedly".into(),
    }
}

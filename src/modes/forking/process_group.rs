//! A process that forks, and its children: signals, forking, reaping.

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

use crate::modes::backlog_drain;
use crate::{
    report::{
        logging,
        stats::{Order, Stats, use_shard},
    },
    serve::{
        context::ListenerContext,
        listener_set::{self, LingerList, WaitOptions},
    },
    socket::listener::Listener,
    sys::{fork, interrupt, shared::Shared, worker_state},
};

/// Tells the process of a forking listener that its sockets are another generation's.
pub(crate) const HAND_OVER: Signal = Signal::SIGUSR2;

/// How long the order of the daemon may be late: a signal to all processes of a service reaches this one first.
const ORDER: Duration = Duration::from_millis(500);

/// This process and those it forks. All signals stay blocked in it, except while it waits.
pub(super) struct ProcessGroup {
    bereaved: Arc<AtomicBool>,
    handed: Arc<AtomicBool>,
    /// Of its children so far: each counts apart from the one before.
    forked: Cell<usize>,
    /// What the daemon has ordered: a signal alone may come from anybody.
    stats: Arc<Shared<Stats>>,
}

impl ProcessGroup {
    pub(super) fn new(stats: &Arc<Shared<Stats>>) -> io::Result<ProcessGroup> {
        // Children inherit that, and also that it has happened: one forked a moment too late is told as well.
        interrupt::on(libc::SIGTERM);
        worker_state::on();
        let (bereaved, handed): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let group = ProcessGroup { bereaved, handed, forked: Cell::default(), stats: Arc::clone(stats) };
        flag::register(HAND_OVER as i32, Arc::clone(&group.handed))?;
        flag::register(consts::SIGCHLD, Arc::clone(&group.bereaved))?;
        Ok(group)
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        interrupt::is_interrupted() && self.is_ordered(Order::Stop, Signal::SIGTERM)
    }

    /// Whether the sockets are another generation's from now on.
    pub(super) fn is_told_to_hand_over(&self) -> bool {
        self.handed.load(Acquire) && self.is_ordered(Order::HandOver, HAND_OVER)
    }

    /// Whether the daemon is behind `signal`. Without it this process would leave for good a listener that is to be served, so it
    /// dies of the signal instead, and the daemon starts it again.
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

    /// Makes children that are blocked at the door look up.
    pub(super) fn wake(&self, children: impl Iterator<Item = Pid>) {
        for child in children {
            let _ = kill(child, Signal::SIGWINCH);
        }
    }

    /// Forks; SIGTERM interrupts the child, SIGWINCH nudges it. The others stay blocked there.
    pub(super) fn fork(&self, child: impl FnOnce() -> i32) -> io::Result<Pid> {
        self.forked.set(self.forked.get().wrapping_add(1));
        fork::fork(|| {
            use_shard(self.forked.get());
            let mut letting = SigSet::empty();
            letting.add(Signal::SIGTERM);
            letting.add(Signal::SIGWINCH);
            let _ = letting.thread_unblock();
            child()
        })
    }

    /// When nobody is accepted here any more: refuses clients from now on. Forks a process for those who wait at `sockets` when
    /// the listener stops, and for those who were `refused` and have not read why.
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
        forked?.inspect_err(|error| {
            let name = &context.settings.name;
            warn!("listener \"{name}\": cannot fork for the clients that wait at the stop: {error}; they are refused");
        }).ok()
    }

    pub(super) fn stop(&self, children: impl Iterator<Item = Pid>) {
        for child in children {
            let _ = kill(child, Signal::SIGTERM);
        }
    }

    /// A child that ended, if there is one. Only of our own process group, which this process founded: it has no other
    /// children, and one that somebody else started would be in another group.
    pub(super) fn reap(&self) -> Option<(Pid, WaitStatus)> {
        // Looked at first: to write to a page after a fork is dear.
        if !self.bereaved.load(Relaxed) || !self.bereaved.swap(false, Acquire) {
            return None;
        }
        loop {
            match waitpid(Pid::from_raw(0), Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => {}
                Err(_) | Ok(WaitStatus::StillAlive) => return None,
                Ok(status) => {
                    // There may be more: one signal can stand for several deaths.
                    self.bereaved.store(true, Release);
                    return status.pid().map(|pid| (pid, status));
                }
            }
        }
    }

    /// Has [`ProcessGroup::reap`] ask the kernel, also if no signal has told of a death yet.
    pub(super) fn look_for_dead(&self) {
        self.bereaved.store(true, Relaxed);
    }

    /// Waits for a signal, at most `time`.
    pub(super) fn pause(&self, time: Option<Duration>) {
        self.pause_until(None, time);
    }

    /// As [`ProcessGroup::pause`], also until `event` is readable.
    pub(super) fn pause_until(&self, event: Option<BorrowedFd<'_>>, time: Option<Duration>) {
        listener_set::pause(&self.patience(time, true), event);
        logging::catch_up();
    }

    /// Waits for SIGTERM and to be asked for a sign of life or to hand over, and for the death of children if it is to be `heeded` at once. Others, such as the terminal's
    /// SIGINT, are the daemon's to act on.
    pub(super) fn patience(&self, time: Option<Duration>, heeded: bool) -> WaitOptions {
        let mut blocked = interrupt::blockable();
        blocked.remove(Signal::SIGTERM);
        blocked.remove(Signal::SIGWINCH);
        blocked.remove(HAND_OVER);
        if heeded {
            blocked.remove(Signal::SIGCHLD);
        }
        let log = logging::due().map(|due| due.saturating_duration_since(Instant::now()));
        WaitOptions { time: time.into_iter().chain(log).min(), blocked: Some(blocked) }
    }
}

/// Why a process ended, for people.
pub(super) fn cause(status: WaitStatus) -> String {
    match status {
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        WaitStatus::Exited(_, status) => format!("exit status {status}"),
        _ => "ended unexpectedly".into(),
    }
}

//! The processes of a forking listener: forked, told to stop, reaped.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use log::{error, warn};
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
    admission::Permit,
    connection::End,
    datagram::{self, Desk},
    duty::{self, Door, Duty, Guest, Report},
    listener::{Listener, Peer},
    logging::Seldom,
    stats::turn_shard,
    sys::{
        fork, interrupt,
        mmsg::Batch,
        shared::{Slots, atomics},
    },
    watch::{self, Patience},
};

/// After so many forks signals are let through, even if clients wait.
const HEED: u32 = 16;

/// So many connections that have ended are logged together, at most.
const FAREWELLS: usize = 64;

/// Without a request for so long, it is quiet.
const BUSY: Duration = Duration::from_millis(10);

/// The rest before trying again to fork.
const REST: Duration = Duration::from_millis(100);

/// This process and those it forks. All signals stay blocked in it, except while it waits.
pub(super) struct Family {
    bereaved: Arc<AtomicBool>,
}

impl Family {
    pub(super) fn new() -> io::Result<Family> {
        // Children inherit that, and also that it has happened: one forked a moment too late is told as well.
        interrupt::on(libc::SIGTERM);
        let family = Family { bereaved: Arc::default() };
        flag::register(consts::SIGCHLD, Arc::clone(&family.bereaved))?;
        Ok(family)
    }

    pub(super) fn is_told_to_stop(&self) -> bool {
        interrupt::asked()
    }

    /// Forks; SIGTERM interrupts the child. The others stay blocked there.
    pub(super) fn fork(&self, child: impl FnOnce() -> i32) -> io::Result<Pid> {
        turn_shard();
        fork::fork(|| {
            let mut letting = SigSet::empty();
            letting.add(Signal::SIGTERM);
            let _ = letting.thread_unblock();
            child()
        })
    }

    pub(super) fn stop<'a>(&self, children: impl Iterator<Item = &'a Pid>) {
        for &child in children {
            let _ = kill(child, Signal::SIGTERM);
        }
    }

    /// A child that ended, if there is one. Only of our own process group, which this process founded: it has no other
    /// children, and one that somebody else started would be in another group.
    pub(super) fn reap(&self) -> Option<(Pid, WaitStatus)> {
        if !self.bereaved.swap(false, Acquire) {
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

    /// Waits for a signal, at most `time`.
    pub(super) fn pause(&self, time: Option<Duration>) {
        watch::pause(time);
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

atomics! {
/// What a child tells its parent about the connection it served.
#[repr(C)]
struct Slot {
    received: AtomicU64,
    sent: AtomicU64,
    end: AtomicU64,
}
}

impl Slot {
    fn clear(&self) {
        self.end.store(0, Relaxed);
    }

    fn tell(&self, report: Report) {
        self.received.store(report.received, Relaxed);
        self.sent.store(report.sent, Relaxed);
        let end = match report.end {
            End::PeerClosed => 1,
            End::ServiceClosed => 2,
            End::Stopped => 3,
            End::PeerReset => 4,
            End::Panicked => 5,
            End::Failed(errno) => 6 | u64::from(errno.unsigned_abs()) << 32,
            End::Killed(_) | End::Vanished => 0,
        };
        self.end.store(end, Release);
    }

    fn told(&self, status: WaitStatus) -> Report {
        let end = self.end.load(Acquire);
        let end = match (status, end & 0xff) {
            (WaitStatus::Signaled(_, signal, _), _) => End::Killed(signal as i32),
            (_, 1) => End::PeerClosed,
            (_, 2) => End::ServiceClosed,
            (_, 3) => End::Stopped,
            (_, 4) => End::PeerReset,
            (_, 5) => End::Panicked,
            (_, 6) => End::Failed((end >> 32) as i32),
            _ => End::Vanished,
        };
        Report { received: self.received.load(Relaxed), sent: self.sent.load(Relaxed), end }
    }
}

/// The children of a listener with a process for each request.
pub(super) struct Children<'a> {
    duty: &'a Duty,
    sockets: &'a [Listener],
    /// What a child has in place of the listening sockets.
    nothing: File,
    family: Family,
    told: bool,
    slots: Slots<Slot>,
    free: Vec<usize>,
    alive: HashMap<Pid, Child>,
    /// Connections that have ended and are not logged yet.
    gone: Vec<(Peer, Duration, Report)>,
    forked: u32,
    /// Whether there was a request in the last [`BUSY`].
    busy: bool,
}

struct Child {
    slot: usize,
    /// Of a connection; a datagram's process says nothing when it ends.
    peer: Option<Peer>,
    opened: Instant,
    _permit: Permit,
}

impl<'a> Children<'a> {
    pub(super) fn new(duty: &'a Duty, sockets: &'a [Listener]) -> io::Result<Children<'a>> {
        let most = duty.settings.max_connections as usize;
        Ok(Children {
            duty,
            sockets,
            nothing: File::open("/dev/null")?,
            family: Family::new()?,
            told: false,
            slots: Slots::new(most)?,
            free: (0..most).rev().collect(),
            alive: HashMap::new(),
            gone: Vec::new(),
            forked: 0,
            busy: false,
        })
    }

    /// The next guest. At the limit the door is not looked at, until a child ends.
    pub(super) fn accept(&mut self, door: &mut Door<'_>) -> Option<Guest> {
        loop {
            let permit = self.permit()?;
            match door.look(permit, &self.patience()).0 {
                duty::Arrival::Guest(guest) => return Some(guest),
                duty::Arrival::Nobody => self.busy = false,
                duty::Arrival::Shortage(time) => self.family.pause(Some(time)),
                duty::Arrival::Closed => return None,
            }
        }
    }

    /// The next datagram, in `batch`, and the socket it came to.
    pub(super) fn receive<'s>(
        &mut self,
        desk: &mut Desk<'s>,
        batch: &mut Batch,
    ) -> Option<(Permit, &'s Listener)> {
        loop {
            let mut permit = self.permit()?;
            match desk.look(batch, &self.patience()) {
                datagram::Arrival::Batch(socket) => {
                    permit.open();
                    return Some((permit, socket));
                }
                datagram::Arrival::Nothing => self.busy = false,
                datagram::Arrival::Closed => return None,
            }
        }
    }

    /// Serves a connection in a child.
    pub(super) fn serve(&mut self, guest: Guest, scratch: &mut [u8]) {
        let (duty, peer, opened) = (self.duty, guest.peer.clone(), guest.opened);
        let slot = self.run(self.sockets, |slot| slot.tell(duty.converse(&guest, scratch)));
        // Dropping the guest's socket here leaves it to the child alone.
        if let Some((pid, slot)) = slot {
            let child = Child { slot, peer: Some(peer), opened, _permit: guest.permit };
            self.alive.insert(pid, child);
        }
    }

    /// Answers a datagram in a child.
    pub(super) fn answer(&mut self, permit: Permit, mut answer: impl FnMut()) {
        // The answer leaves from the socket that was asked.
        let slot = self.run(&[], |slot| {
            answer();
            slot.tell(Report { received: 0, sent: 0, end: End::ServiceClosed });
        });
        if let Some((pid, slot)) = slot {
            let child = Child { slot, peer: None, opened: Instant::now(), _permit: permit };
            self.alive.insert(pid, child);
        }
    }

    /// Waits until all children have ended.
    pub(super) fn finish(mut self) {
        self.busy = false;
        // Nobody serves them any more: connecting is to be refused, not left waiting.
        let _ = self.sockets.iter().try_for_each(|s| fork::let_go(s.as_fd(), self.nothing.as_fd()));
        loop {
            self.heed();
            if self.alive.is_empty() {
                return;
            }
            self.family.pause(None);
        }
    }

    /// A place for one more, once there is one. `None` if the gate is closed and there is none.
    fn permit(&mut self) -> Option<Permit> {
        loop {
            self.heed();
            match self.duty.gate.try_enter() {
                Some(permit) => return Some(permit),
                None if self.duty.gate.is_closed() => return None,
                None => self.family.pause(None),
            }
        }
    }

    /// Logs the connections that have ended. Each fork makes the pages that the parent writes to dear once more, so
    /// while it is busy this is done for many at once.
    fn say_farewell(&mut self) {
        for (peer, lasted, report) in self.gone.drain(..) {
            self.duty.farewell(&peer, lasted, report);
        }
    }

    /// Does what signals have asked for.
    fn heed(&mut self) {
        self.forked += 1;
        if self.forked.is_multiple_of(HEED) {
            // While clients keep coming, poll does not let signals through.
            self.family.pause(Some(Duration::ZERO));
        }
        if self.family.is_told_to_stop() && !self.told {
            self.told = true;
            self.duty.gate.close();
            self.family.stop(self.alive.keys());
        }
        while let Some((pid, status)) = self.family.reap() {
            let Some(child) = self.alive.remove(&pid) else { continue };
            let report = self.slots[child.slot].told(status);
            self.free.push(child.slot);
            match child.peer {
                Some(peer) => self.gone.push((peer, child.opened.elapsed(), report)),
                None if report.end != End::ServiceClosed => {
                    self.duty.stats.ended(report.end);
                    let (name, cause) = (&self.duty.settings.name, cause(status));
                    warn!("listener \"{name}\": a datagram was lost: its process: {cause}");
                }
                None => {}
            }
        }
        if !self.busy || self.gone.len() >= FAREWELLS {
            self.say_farewell();
        }
    }

    /// While clients keep coming, the deaths of children can wait: looking after each at once would take the parent off
    /// and on the processor once more for every connection.
    fn patience(&self) -> Patience {
        let mut blocked = SigSet::empty();
        if self.busy {
            blocked.add(Signal::SIGCHLD);
        }
        Patience { time: self.busy.then_some(BUSY), blocked: Some(blocked) }
    }

    /// Forks a child for `work`, which lets go of `sockets`; tries again when the system is short of processes or memory.
    fn run(&mut self, sockets: &[Listener], mut work: impl FnMut(&Slot)) -> Option<(Pid, usize)> {
        loop {
            // There are as many slots as permits.
            let number = self.free.pop()?;
            let slot = &self.slots[number];
            slot.clear();
            let forked = self.family.fork(|| {
                for socket in sockets {
                    if fork::let_go(socket.as_fd(), self.nothing.as_fd()).is_err() {
                        return 1;
                    }
                }
                work(slot);
                0
            });
            let error = match forked {
                Ok(pid) => {
                    self.busy = true;
                    return Some((pid, number));
                }
                Err(error) => error,
            };
            self.free.push(number);
            static SELDOM: Seldom = Seldom::new(Duration::from_secs(10));
            if SELDOM.allow().is_some() {
                let name = &self.duty.settings.name;
                error!(
                    "listener \"{name}\": cannot fork: {error}; clients wait, raise the limit of processes or lower max-connections"
                );
            }
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) {
                return None;
            }
            self.family.pause(Some(REST));
            self.heed();
        }
    }
}

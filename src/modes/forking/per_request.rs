//! The processes of a forking listener: forked, told to stop, reaped.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use log::{error, warn};
use nix::unistd::Pid;

use crate::modes::{
    forking::{
        child_report::Slot,
        child_table::Brood,
        process_group::{Family, cause},
    },
    threading::pool::CLIENT,
};
use crate::{
    access::{gate::Permit, sources::Place},
    report::{
        close_reason::End,
        logging::{self, Seldom},
    },
    serve::{
        context::{self, Door, Duty, Guest},
        datagram::{self, Desk},
        listener_set::{LingerList, Patience, Ready},
    },
    socket::{address::Peer, listener::Listener},
    stream::blocking::Report,
    sys::{fork, mmsg::Batch, shared::Slots, task_name::TaskName},
};

/// After so many forks signals are let through, even if clients wait.
const HEED: u32 = 64;

/// So many connections that have ended are logged together, at most.
const FAREWELLS: usize = 32;

/// Without a request for so long, it is quiet.
const BUSY: Duration = Duration::from_millis(10);

/// The rest before trying again to fork.
const REST: Duration = Duration::from_millis(100);

/// How long to wait at once for a child that is about to exit, and how often.
const EXIT: Duration = Duration::from_millis(1);
const EXITING: u32 = 20;

/// The children of a listener with a process for each request.
pub(super) struct Children<'a> {
    duty: &'a Duty,
    sockets: &'a [Listener],
    /// What a child that serves a connection is called.
    name: TaskName,
    /// What a child has in place of the listening sockets.
    nothing: File,
    family: Family,
    told: bool,
    slots: Slots<Slot>,
    alive: Brood<Child>,
    /// Serves who waits in the backlog when the listener stops.
    drain: Option<Pid>,
    /// Connections that have ended and are not logged yet, and when that was.
    gone: Vec<(Peer, Instant, Report)>,
    forked: u32,
    /// Whether there was a request in the last [`BUSY`].
    busy: bool,
}

struct Child {
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
            name: TaskName::new(&duty.settings.name, CLIENT),
            nothing: File::open("/dev/null")?,
            family: Family::new(&duty.stats)?,
            told: false,
            slots: Slots::new(most)?,
            alive: Brood::new(most),
            drain: None,
            gone: Vec::with_capacity(FAREWELLS),
            forked: 0,
            busy: false,
        })
    }

    /// The next guest. At the limit the door is not looked at, until a child ends.
    pub(super) fn accept(&mut self, door: &mut Door<'_>) -> Option<Guest> {
        loop {
            let permit = match self.duty.lets_wait() {
                true => Some(self.permit()?),
                false => {
                    self.heed();
                    None
                }
            };
            let listener = match door.wait(&self.patience()) {
                Ready::Socket(listener) => listener,
                Ready::Nothing => {
                    self.busy = false;
                    continue;
                }
                Ready::Closed => return None,
            };
            self.make_room();
            match door.take(listener, permit).0 {
                context::Arrival::Guest(guest) => return Some(guest),
                context::Arrival::Nobody => self.busy = false,
                context::Arrival::Shortage(_) if self.told => return None,
                context::Arrival::Shortage(time) => self.family.pause(Some(time)),
                context::Arrival::Closed => return None,
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
        let (duty, Guest { socket, peer, mut permit, opened }) = (self.duty, guest);
        let place = permit.take_place();
        let name = self.name;
        let forked = self.run(self.sockets, Some(socket.as_fd()), place, |slot| {
            name.set();
            let hold = |place| slot.hold(place);
            slot.tell(duty.converse(&socket, &peer, opened, scratch, hold));
        });
        // Dropping the socket here leaves it to the child alone.
        if let Some((slot, pid)) = forked {
            self.alive.insert(slot, pid, Child { peer: Some(peer), opened, _permit: permit });
        }
    }

    /// Answers a datagram in a child.
    pub(super) fn answer(&mut self, permit: Permit, mut answer: impl FnMut()) {
        // The answer leaves from the socket that was asked.
        let forked = self.run(&[], None, None, |slot| {
            answer();
            slot.tell(Report::new(End::ServiceClosed));
        });
        if let Some((slot, pid)) = forked {
            let child = Child { peer: None, opened: Instant::now(), _permit: permit };
            self.alive.insert(slot, pid, child);
        }
    }

    /// Waits until all children have ended.
    pub(super) fn finish(mut self, refused: LingerList) {
        self.busy = false;
        // The daemon has the sockets, too: it is not enough to close them here.
        self.drain = self.family.close(self.duty, self.sockets, refused);
        // Nobody serves them any more: connecting is to be refused, not left waiting.
        let _ = self.sockets.iter().try_for_each(|s| fork::let_go(s.as_fd(), self.nothing.as_fd()));
        self.duty.say_left();
        loop {
            self.heed();
            if self.alive.is_empty() && self.drain.is_none() {
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
                None => {
                    self.busy = false;
                    self.say_farewell();
                    self.family.pause(None);
                }
            }
        }
    }

    /// Before a client may be refused: takes back the places of children that have ended, even if nobody has heard of that yet.
    fn make_room(&mut self) {
        let is_full = !self.duty.lets_wait() && self.alive.is_full();
        if !is_full && self.duty.settings.max_connections_per_source == 0 {
            return;
        }
        for _ in 0..EXITING {
            self.family.look_for_dead();
            self.heed();
            // One that has told of its end is about to exit: its client knows that it has gone.
            let exits = || self.alive.numbers().any(|number| self.slots[number].has_told());
            if !(is_full && self.alive.is_full() && exits()) {
                return;
            }
            self.family.pause(Some(EXIT));
        }
    }

    /// Logs the connections that have ended. Each fork makes the pages that the parent writes to dear once more, so
    /// while it is busy this is done for many at once.
    fn say_farewell(&mut self) {
        let now = Instant::now();
        for (peer, ended, report) in self.gone.drain(..) {
            logging::dated(now.duration_since(ended), || self.duty.tell_end(&peer, report));
        }
    }

    /// Does what signals have asked for.
    fn heed(&mut self) {
        self.duty.stats.answer();
        logging::catch_up();
        self.forked += 1;
        if self.forked.is_multiple_of(HEED) {
            // While clients keep coming, poll does not let signals through.
            self.family.pause(Some(Duration::ZERO));
        }
        if self.family.is_told_to_stop() && !self.told {
            self.told = true;
            self.duty.gate.stop();
            self.family.stop(self.alive.pids());
        }
        if self.family.is_told_to_hand_over() {
            self.duty.gate.hand_over();
        }
        while let Some((pid, status)) = self.family.reap() {
            if self.drain == Some(pid) {
                self.drain = None;
            }
            let Some((slot, child)) = self.alive.remove(pid) else { continue };
            let mut report = self.slots[slot].told(status);
            if report.lasted.is_zero() {
                // It could not say so.
                report.lasted = child.opened.elapsed();
            }
            self.duty.take_back(self.slots[slot].place());
            // Before its place is given back: who is not open any more has been counted.
            let source = |peer: &Peer| peer.source(self.duty.settings.protocol, report.carried).to_string();
            self.duty.count_end(report.end, || child.peer.as_ref().map(source).unwrap_or_default());
            match child.peer {
                Some(peer) => self.gone.push((peer, child.opened + report.lasted + report.lingered, report)),
                None if report.end != End::ServiceClosed => {
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
        self.family.patience(self.busy.then_some(BUSY), !self.busy || self.alive.is_full())
    }

    /// Forks a child for `work`, which lets go of `sockets`; tries again when the system is short of processes or memory. The
    /// `place` of its source is free when the `connection` is closed.
    fn run(
        &mut self,
        sockets: &[Listener],
        connection: Option<BorrowedFd<'_>>,
        place: Option<Place>,
        mut work: impl FnMut(&Slot),
    ) -> Option<(usize, Pid)> {
        let duty = self.duty;
        loop {
            // There are as many slots as permits.
            let number = self.alive.free()?;
            let slot = &self.slots[number];
            slot.clear();
            slot.offer(place.as_ref());
            let let_go = |fd| fork::let_go(fd, self.nothing.as_fd()).is_ok();
            let forked = self.family.fork(|| {
                if !sockets.iter().all(|socket| let_go(socket.as_fd())) {
                    return 1;
                }
                work(slot);
                // It takes a while until the parent has heard of the end.
                if slot.place().load(Relaxed) != 0 && connection.is_some_and(let_go) {
                    duty.take_back(slot.place());
                }
                0
            });
            let error = match forked {
                Ok(pid) => {
                    self.busy = true;
                    // It is the child's now.
                    std::mem::forget(place);
                    return Some((number, pid));
                }
                Err(error) => {
                    slot.offer(None);
                    error
                }
            };
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

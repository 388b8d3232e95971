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
        child_report::ChildReport,
        child_table::ChildTable,
        process_group::{ProcessGroup, cause},
    },
    threading::pool::CLIENT,
};
use crate::{
    access::{slots::Permit, sources::SourceSlot},
    report::{
        close_reason::CloseReason,
        logging::{self, LogThrottle},
    },
    serve::{
        context::{self, Accepted, Acceptor, ListenerContext},
        datagram::{self, DatagramReceiver},
        listener_set::{LingerList, Ready, WaitOptions},
    },
    socket::{address::Peer, listener::Listener},
    stream::blocking::ConnectionSummary,
    sys::{fork, mmsg::Batch, shared::SharedArray, task_name::TaskName},
};

/// After so many forks signals are let through, even if clients wait.
const HEED: u32 = 64;

/// So many connections that have ended are logged together, at most.
const CLOSES_TOGETHER: usize = 32;

/// Without a request for so long, it is quiet.
const BUSY: Duration = Duration::from_millis(10);

/// The rest before trying again to fork.
const REST: Duration = Duration::from_millis(100);

/// How long to wait at once for a child that is about to exit, and how often.
const EXIT: Duration = Duration::from_millis(1);
const EXITING: u32 = 20;

/// The children of a listener with a process for each request.
pub(super) struct ForkPerRequest<'a> {
    context: &'a ListenerContext,
    sockets: &'a [Listener],
    /// What a child that serves a connection is called.
    name: TaskName,
    /// What a child has in place of the listening sockets.
    nothing: File,
    group: ProcessGroup,
    told: bool,
    slots: SharedArray<ChildReport>,
    alive: ChildTable<Child>,
    /// Serves who waits in the backlog when the listener stops.
    drain: Option<Pid>,
    /// Connections that have ended and are not logged yet, and when that was.
    gone: Vec<(Peer, Instant, ConnectionSummary)>,
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

impl<'a> ForkPerRequest<'a> {
    pub(super) fn new(
        context: &'a ListenerContext,
        sockets: &'a [Listener],
    ) -> io::Result<ForkPerRequest<'a>> {
        let most = context.settings.max_connections as usize;
        Ok(ForkPerRequest {
            context,
            sockets,
            name: TaskName::new(&context.settings.name, CLIENT),
            nothing: File::open("/dev/null")?,
            group: ProcessGroup::new(&context.stats)?,
            told: false,
            slots: SharedArray::new(most)?,
            alive: ChildTable::new(most),
            drain: None,
            gone: Vec::with_capacity(CLOSES_TOGETHER),
            forked: 0,
            busy: false,
        })
    }

    /// The next guest. At the limit the door is not looked at, until a child ends.
    pub(super) fn accept(&mut self, acceptor: &mut Acceptor<'_>) -> Option<Accepted> {
        loop {
            let permit = match self.context.queues_when_full() {
                true => Some(self.permit()?),
                false => {
                    self.heed();
                    None
                }
            };
            let listener = match acceptor.wait(&self.patience()) {
                Ready::Socket(listener) => listener,
                Ready::Nothing => {
                    self.busy = false;
                    continue;
                }
                Ready::Closed => return None,
            };
            self.make_room();
            match acceptor.take(listener, permit).0 {
                context::AcceptOutcome::Accepted(accepted) => return Some(accepted),
                context::AcceptOutcome::NoClient => self.busy = false,
                context::AcceptOutcome::Shortage(_) if self.told => return None,
                context::AcceptOutcome::Shortage(time) => self.group.pause(Some(time)),
                context::AcceptOutcome::Closed => return None,
            }
        }
    }

    /// The next datagram, in `batch`, and the socket it came to.
    pub(super) fn receive<'s>(
        &mut self,
        receiver: &mut DatagramReceiver<'s>,
        batch: &mut Batch,
    ) -> Option<(Permit, &'s Listener)> {
        loop {
            let mut permit = self.permit()?;
            match receiver.look(batch, &self.patience()) {
                datagram::ReceiveOutcome::Batch(socket) => {
                    permit.open();
                    return Some((permit, socket));
                }
                datagram::ReceiveOutcome::Nothing => self.busy = false,
                datagram::ReceiveOutcome::Closed => return None,
            }
        }
    }

    /// Serves a connection in a child.
    pub(super) fn serve(&mut self, accepted: Accepted, scratch: &mut [u8]) {
        let (context, Accepted { socket, peer, mut permit, opened }) = (self.context, accepted);
        let place = permit.take_place();
        let name = self.name;
        let forked = self.run(self.sockets, Some(socket.as_fd()), place, |slot| {
            name.set();
            let hold = |place| slot.hold(place);
            slot.tell(context.converse(&socket, &peer, opened, scratch, hold));
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
            slot.tell(ConnectionSummary::new(CloseReason::ServiceClosed));
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
        self.drain = self.group.close(self.context, self.sockets, refused);
        // Nobody serves them any more: connecting is to be refused, not left waiting.
        let _ = self.sockets.iter().try_for_each(|s| fork::let_go(s.as_fd(), self.nothing.as_fd()));
        self.context.say_left();
        loop {
            self.heed();
            if self.alive.is_empty() && self.drain.is_none() {
                return;
            }
            self.group.pause(None);
        }
    }

    /// A place for one more, once there is one. `None` if the gate is closed and there is none.
    fn permit(&mut self) -> Option<Permit> {
        loop {
            self.heed();
            match self.context.slots.try_acquire() {
                Some(permit) => return Some(permit),
                None if self.context.slots.is_closed() => return None,
                None => {
                    self.busy = false;
                    self.log_closed();
                    self.group.pause(None);
                }
            }
        }
    }

    /// Before a client may be refused: takes back the places of children that have ended, even if nobody has heard of that yet.
    fn make_room(&mut self) {
        let is_full = !self.context.queues_when_full() && self.alive.is_full();
        if !is_full && self.context.settings.max_connections_per_source == 0 {
            return;
        }
        for _ in 0..EXITING {
            self.group.look_for_dead();
            self.heed();
            // One that has told of its end is about to exit: its client knows that it has gone.
            let exits = || self.alive.numbers().any(|number| self.slots[number].has_told());
            if !(is_full && self.alive.is_full() && exits()) {
                return;
            }
            self.group.pause(Some(EXIT));
        }
    }

    /// Logs the connections that have ended. Each fork makes the pages that the parent writes to dear once more, so
    /// while it is busy this is done for many at once.
    fn log_closed(&mut self) {
        let now = Instant::now();
        for (peer, ended, report) in self.gone.drain(..) {
            logging::dated(now.duration_since(ended), || self.context.tell_end(&peer, report));
        }
    }

    /// Does what signals have asked for.
    fn heed(&mut self) {
        self.context.stats.answer();
        logging::catch_up();
        self.forked += 1;
        if self.forked.is_multiple_of(HEED) {
            // While clients keep coming, poll does not let signals through.
            self.group.pause(Some(Duration::ZERO));
        }
        if self.group.is_told_to_stop() && !self.told {
            self.told = true;
            self.context.slots.stop();
            self.group.stop(self.alive.pids());
        }
        if self.group.is_told_to_hand_over() {
            self.context.slots.hand_over();
        }
        while let Some((pid, status)) = self.group.reap() {
            if self.drain == Some(pid) {
                self.drain = None;
            }
            let Some((slot, child)) = self.alive.remove(pid) else { continue };
            let mut report = self.slots[slot].told(status);
            if report.lasted.is_zero() {
                // It could not say so.
                report.lasted = child.opened.elapsed();
            }
            self.context.release_source(self.slots[slot].place());
            // Before its place is given back: who is not open any more has been counted.
            let source =
                |peer: &Peer| peer.source(self.context.settings.protocol, report.proxied_source).to_string();
            self.context.count_end(report.end, || child.peer.as_ref().map(source).unwrap_or_default());
            match child.peer {
                Some(peer) => self.gone.push((peer, child.opened + report.lasted + report.lingered, report)),
                None if report.end != CloseReason::ServiceClosed => {
                    let (name, cause) = (&self.context.settings.name, cause(status));
                    warn!("listener \"{name}\": a datagram was lost: its process: {cause}");
                }
                None => {}
            }
        }
        if !self.busy || self.gone.len() >= CLOSES_TOGETHER {
            self.log_closed();
        }
    }

    /// While clients keep coming, the deaths of children can wait: looking after each at once would take the parent off
    /// and on the processor once more for every connection.
    fn patience(&self) -> WaitOptions {
        self.group.patience(self.busy.then_some(BUSY), !self.busy || self.alive.is_full())
    }

    /// Forks a child for `work`, which lets go of `sockets`; tries again when the system is short of processes or memory. The
    /// `place` of its source is free when the `connection` is closed.
    fn run(
        &mut self,
        sockets: &[Listener],
        connection: Option<BorrowedFd<'_>>,
        place: Option<SourceSlot>,
        mut work: impl FnMut(&ChildReport),
    ) -> Option<(usize, Pid)> {
        let context = self.context;
        loop {
            // There are as many slots as permits.
            let number = self.alive.free()?;
            let slot = &self.slots[number];
            slot.clear();
            slot.offer(place.as_ref());
            let let_go = |fd| fork::let_go(fd, self.nothing.as_fd()).is_ok();
            let forked = self.group.fork(|| {
                if !sockets.iter().all(|socket| let_go(socket.as_fd())) {
                    return 1;
                }
                work(slot);
                // It takes a while until the parent has heard of the end.
                if slot.place().load(Relaxed) != 0 && connection.is_some_and(let_go) {
                    context.release_source(slot.place());
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
            static THROTTLE: LogThrottle = LogThrottle::new(Duration::from_secs(10));
            if THROTTLE.allow().is_some() {
                let name = &self.context.settings.name;
                error!(
                    "listener \"{name}\": cannot fork: {error}; clients wait, raise the limit of processes or lower max-connections"
                );
            }
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) {
                return None;
            }
            self.group.pause(Some(REST));
            self.heed();
        }
    }
}

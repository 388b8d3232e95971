//! A child process for each request: forked, stopped, reaped, reported.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use log::{error, warn};
use nix::unistd::Pid;

use crate::{
    access::{slots::Permit, sources::SourceSlot},
    modes::{
        forking::{
            child_report::ChildReport,
            child_table::ChildTable,
            process_group::{ProcessGroup, cause},
        },
        threading::pool::CLIENT,
    },
    report::{close_reason::CloseReason, log_event::LogEvent, logging},
    serve::{
        acceptor::{AcceptOutcome, Acceptor},
        context::{Accepted, ListenerContext},
        datagram::{self, DatagramReceiver},
        listener_set::{LingerList, Ready, WaitOptions},
    },
    socket::{address::Peer, listener::Listener},
    stream::blocking::ConnectionSummary,
    sys::{fork, mmsg::Batch, shared::SharedArray, task_name::TaskName},
};

/// Signals are let through after this many forks, even while clients keep coming.
const SIGNAL_INTERVAL: u32 = 64;

/// At most this many closed connections are logged together.
const CLOSES_TOGETHER: usize = 32;

/// Without a request for this long, the listener is quiet.
const BUSY: Duration = Duration::from_millis(10);

/// Back-off before the next attempt to fork.
const BACKOFF: Duration = Duration::from_millis(100);

/// One wait for a child that is about to exit, and how many of them.
const EXIT: Duration = Duration::from_millis(1);
const EXITING: u32 = 20;

/// A listener that forks a child for each request.
pub(super) struct ForkPerRequest<'a> {
    context: &'a ListenerContext,
    sockets: &'a [Listener],
    /// Task name of a child that serves a connection.
    name: TaskName,
    /// /dev/null, which replaces the listening sockets in a child.
    dev_null: File,
    group: ProcessGroup,
    stopping: bool,
    reports: SharedArray<ChildReport>,
    alive: ChildTable<Child>,
    /// The child that serves the backlog at shutdown.
    drain: Option<Pid>,
    /// Closed connections that are not logged yet, with the time of the close.
    closed: Vec<(Peer, Instant, ConnectionSummary)>,
    forked: u32,
    /// Whether there was a request in the last [`BUSY`].
    busy: bool,
}

struct Child {
    /// The peer of a connection; `None` for a datagram, whose end is not logged.
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
            dev_null: File::open("/dev/null")?,
            group: ProcessGroup::new(&context.stats)?,
            stopping: false,
            reports: SharedArray::new(most)?,
            alive: ChildTable::new(most),
            drain: None,
            closed: Vec::with_capacity(CLOSES_TOGETHER),
            forked: 0,
            busy: false,
        })
    }

    /// The next client. At the limit it waits for a child to end before it looks at the listening sockets.
    pub(super) fn accept(&mut self, acceptor: &mut Acceptor<'_>) -> Option<Accepted> {
        loop {
            let permit = match self.context.queues_when_full() {
                true => Some(self.permit()?),
                false => {
                    self.handle_signals();
                    None
                }
            };
            let listener = match acceptor.wait(&self.wait_options()) {
                Ready::Socket(listener) => listener,
                Ready::Nothing => {
                    self.busy = false;
                    continue;
                }
                Ready::Closed => return None,
            };
            self.make_room();
            match acceptor.take(listener, permit).0 {
                AcceptOutcome::Accepted(accepted) => return Some(accepted),
                AcceptOutcome::NoClient => self.busy = false,
                AcceptOutcome::Shortage(_) if self.stopping => return None,
                AcceptOutcome::Shortage(time) => self.group.pause(Some(time)),
                AcceptOutcome::Closed => return None,
            }
        }
    }

    /// The next datagram, in `batch`, with the socket that received it.
    pub(super) fn receive<'s>(
        &mut self,
        receiver: &mut DatagramReceiver<'s>,
        batch: &mut Batch,
    ) -> Option<(Permit, &'s Listener)> {
        loop {
            let mut permit = self.permit()?;
            match receiver.look(batch, &self.wait_options()) {
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
        let (context, Accepted { socket, peer, mut permit, opened, faults }) = (self.context, accepted);
        // Taken by the child: the parent has it again in the next attempt to fork, if the first one fails.
        let mut faults = Some(faults);
        let source_slot = permit.take_source_slot();
        let name = self.name;
        let forked = self.run(self.sockets, Some(socket.as_fd()), source_slot, |slot| {
            name.set();
            let hold = |source_slot| slot.hold(source_slot);
            let faults = faults.take().flatten();
            slot.store(context.serve_unlogged(&socket, &peer, opened, faults, scratch, hold));
        });
        // The parent drops its copy of the socket: the child alone has the connection.
        match forked {
            Ok((slot, pid)) => {
                self.alive.insert(slot, pid, Child { peer: Some(peer), opened, _permit: permit });
            }
            Err(error) => {
                let mut summary = ConnectionSummary::new(CloseReason::from(error));
                summary.lasted = opened.elapsed();
                self.context.log_close(&peer, summary);
            }
        }
    }

    /// Answers a datagram in a child.
    pub(super) fn answer(&mut self, permit: Permit, mut answer: impl FnMut()) {
        let context = self.context;
        // The child keeps the listening sockets: the answer leaves from the one that received the datagram.
        let forked = self.run(&[], None, None, |slot| {
            answer();
            context.finish_replies();
            slot.store(ConnectionSummary::new(CloseReason::ServiceClosed));
        });
        if let Ok((slot, pid)) = forked {
            let child = Child { peer: None, opened: Instant::now(), _permit: permit };
            self.alive.insert(slot, pid, child);
        }
    }

    /// Waits until all children have ended.
    pub(super) fn finish(mut self, refused: LingerList) {
        self.busy = false;
        // The daemon has copies of the sockets, so closing them here would refuse no client.
        self.drain = self.group.close(self.context, self.sockets, refused);
        // No process accepts here any more: drop these copies too, so that connecting is refused instead of waiting in the
        // backlog.
        let _ = self.sockets.iter().try_for_each(|s| fork::let_go(s.as_fd(), self.dev_null.as_fd()));
        self.context.report_left();
        loop {
            self.handle_signals();
            if self.alive.is_empty() && self.drain.is_none() {
                return;
            }
            self.group.pause(None);
        }
    }

    /// A permit for the next request; waits at the limit. `None` if the listener is closed and full.
    fn permit(&mut self) -> Option<Permit> {
        loop {
            self.handle_signals();
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

    /// Before a client is refused: reclaims the slots of children that have ended, even before their SIGCHLD.
    fn make_room(&mut self) {
        let is_full = !self.context.queues_when_full() && self.alive.is_full();
        if !is_full && self.context.settings.max_connections_per_source == 0 {
            return;
        }
        for _ in 0..EXITING {
            self.group.force_reap();
            self.handle_signals();
            // A child that has stored its report is about to exit: its client has seen the close already.
            let exits = || self.alive.numbers().any(|number| self.reports[number].is_stored());
            if !(is_full && self.alive.is_full() && exits()) {
                return;
            }
            self.group.pause(Some(EXIT));
        }
    }

    /// Logs the closed connections. After each fork the first write to a page copies it, so a busy parent logs many at once.
    fn log_closed(&mut self) {
        let now = Instant::now();
        for (peer, ended, report) in self.closed.drain(..) {
            logging::dated(now.duration_since(ended), || self.context.log_close_line(&peer, report));
        }
    }

    /// Acts on signals: stop, hand-over, children that ended.
    fn handle_signals(&mut self) {
        self.context.stats.acknowledge();
        logging::catch_up();
        self.forked += 1;
        if self.forked.is_multiple_of(SIGNAL_INTERVAL) {
            // While clients keep coming, ppoll(2) returns without delivering signals.
            self.group.pause(Some(Duration::ZERO));
        }
        if self.group.is_told_to_stop() && !self.stopping {
            self.stopping = true;
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
            let mut report = self.reports[slot].load(status);
            if report.lasted.is_zero() {
                // The child died before it could report.
                report.lasted = child.opened.elapsed();
            }
            self.context.access.release_source(self.reports[slot].source_slot());
            // Count before the permit is dropped: a connection that is no longer open has been counted.
            match child.peer {
                Some(peer) => {
                    self.context.count_close(&report, || {
                        peer.source(self.context.settings.protocol, report.proxied_source).to_string()
                    });
                    self.closed.push((peer, child.opened + report.lasted + report.lingered, report))
                }
                None if report.end != CloseReason::ServiceClosed => {
                    self.context.stats.count_fault(report.end);
                    let (name, cause) = (self.context.settings.name.as_str(), cause(status));
                    warn!(
                        event = LogEvent::DatagramLost, listener = name, reason:% = cause;
                        "listener \"{name}\": a datagram was lost: its process: {cause}"
                    );
                }
                None => {}
            }
        }
        if !self.busy || self.closed.len() >= CLOSES_TOGETHER {
            self.log_closed();
        }
    }

    /// While clients keep coming, reaping can wait: handling each SIGCHLD at once would cost the parent another context
    /// switch for every connection.
    fn wait_options(&self) -> WaitOptions {
        self.group.wait_options(self.busy.then_some(BUSY), !self.busy || self.alive.is_full())
    }

    /// Forks a child for `work`, which replaces `sockets`; backs off and retries when processes or memory are short. The
    /// child releases `source_slot` when it has closed `connection`.
    ///
    /// # Errors
    /// Those of fork(2) that waiting does not cure.
    fn run(
        &mut self,
        sockets: &[Listener],
        connection: Option<BorrowedFd<'_>>,
        source_slot: Option<SourceSlot>,
        mut work: impl FnMut(&ChildReport),
    ) -> io::Result<(usize, Pid)> {
        let context = self.context;
        loop {
            // There are as many slots as permits, so one is free.
            let number = self.alive.free().ok_or(io::ErrorKind::OutOfMemory)?;
            let slot = &self.reports[number];
            slot.clear();
            slot.offer(source_slot.as_ref());
            let let_go = |fd| fork::let_go(fd, self.dev_null.as_fd()).is_ok();
            let forked = self.group.fork(|| {
                if !sockets.iter().all(|socket| let_go(socket.as_fd())) {
                    return 1;
                }
                work(slot);
                // Release it here: the parent learns of the end only later.
                if slot.source_slot().load(Relaxed) != 0 && connection.is_some_and(let_go) {
                    context.access.release_source(slot.source_slot());
                }
                0
            });
            let error = match forked {
                Ok(pid) => {
                    self.busy = true;
                    // The child holds it now.
                    std::mem::forget(source_slot);
                    return Ok((number, pid));
                }
                Err(error) => {
                    slot.offer(None);
                    error
                }
            };
            static THROTTLE: logging::LogThrottle = logging::LogThrottle::new(Duration::from_secs(10));
            if THROTTLE.allow().is_some() {
                let name = self.context.settings.name.as_str();
                error!(
                    event = LogEvent::ForkFailed, listener = name, error:% = error;
                    "listener \"{name}\": cannot fork: {error}; clients wait, raise the limit of processes or lower max-connections"
                );
            }
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) {
                return Err(error);
            }
            self.group.pause(Some(BACKOFF));
            self.handle_signals();
        }
    }
}

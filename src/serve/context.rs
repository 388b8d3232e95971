//! What serving one listener needs: [`ListenerContext`], which every mode is given.
//!
//! The listening sockets are passed separately: the worker that accepts owns them, and closes them after its last
//! accept.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    access::{
        checks::Access,
        memory::TableMemory,
        slots::{ConnectionSlots, Permit, PoolProcess},
        sources::SourceSlot,
    },
    config::{self, Protocol, Workers},
    faults::{self, Faults, stream::ConnectionFaults},
    report::{close_reason::CloseReason, stats::Stats},
    serve::unsent,
    service::{self, Service},
    socket::address::Peer,
    stream::{
        blocking::{self, ConnectionSummary},
        connection::{Connection, ConnectionContext, LONGEST_RECORD, SCRATCH},
    },
    sys::{
        interrupt::BlockingThreads,
        shared::{Mapping, Shared, SharedArray},
        worker_state::{WorkerSet, WorkerState},
    },
};

/// What serving one listener needs; the workers of a process share it.
pub struct ListenerContext {
    /// The settings of the listener.
    pub settings: config::Listener,
    /// The service that answers.
    pub service: Box<dyn Service>,
    /// The counters of the listener.
    pub stats: Arc<Shared<Stats>>,
    /// Slots for connections, and whether the listener is closed, stopped or handed over.
    pub slots: Arc<ConnectionSlots>,
    /// What clients and datagrams are checked against.
    pub access: Access,
    /// The plan of faults on purpose, if the listener has one.
    pub faults: Option<Arc<Faults>>,
    /// Clients that do not read their answers, where one of them could block the answers of all others.
    pub unread: Option<Arc<Unread>>,
    /// The threads of this process that block: those that accept, and those that serve. A stop interrupts them.
    pub threads: BlockingThreads,
    /// The workers of this process, for the watchdog and the hand-over.
    pub workers: WorkerSet,
    /// The drain deadline, once it is set: connections still open then are cut. Nothing is accepted any more by then.
    pub cut: OnceLock<Instant>,
    /// Without a supervisor that sets the deadline: the time from an interrupt to the cut.
    pub drain: Option<Duration>,
    /// In a worker process: tells the daemon that this process no longer accepts, because another generation does.
    pub on_left: Option<Box<dyn Fn() + Send + Sync>>,
    /// The rendezvous of the workers with the thread that starts them.
    pub startup: Startup,
}

impl ListenerContext {
    /// A context whose workers may begin at once.
    pub fn new(settings: config::Listener, stats: Arc<Shared<Stats>>) -> io::Result<ListenerContext> {
        let (most, requests) = (settings.max_connections, settings.max_requests);
        let slots = ConnectionSlots::new(most, requests, Arc::clone(&stats))?;
        let mut memory = TableMemory::of(&stats);
        let access = Access::within(&settings, &mut memory)?;
        let faults = Faults::of(&settings, &stats, &mut memory, unsent::on_unsent(&settings.name, &stats))?;
        let unread = Unread::of(&settings)?.map(Arc::new);
        Ok(ListenerContext::of_parts(settings, stats, slots, access, (faults, unread), Startup::begun()))
    }

    /// The context of the same listener in forked process `worker` of a pool, which records in `busy[worker]` what it
    /// has open.
    pub fn of_worker(
        &self,
        busy: Arc<SharedArray<PoolProcess>>,
        worker: usize,
        startup: Startup,
    ) -> io::Result<ListenerContext> {
        let slots = self.slots.of_worker(busy, worker)?;
        let (settings, stats) = (self.settings.clone(), Arc::clone(&self.stats));
        let (access, others) = (self.access.clone(), (self.faults.clone(), self.unread.clone()));
        Ok(ListenerContext::of_parts(settings, stats, slots, access, others, startup))
    }

    fn of_parts(
        settings: config::Listener,
        stats: Arc<Shared<Stats>>,
        slots: ConnectionSlots,
        access: Access,
        (faults, unread): (Option<Arc<Faults>>, Option<Arc<Unread>>),
        startup: Startup,
    ) -> ListenerContext {
        ListenerContext {
            service: service::new(&settings),
            settings,
            stats,
            slots: Arc::new(slots),
            access,
            faults,
            unread,
            threads: BlockingThreads::default(),
            workers: WorkerSet::default(),
            cut: OnceLock::new(),
            drain: None,
            on_left: None,
            startup,
        }
    }

    /// Call when nothing is accepted here any more: reports it, if the sockets were handed over.
    pub fn report_left(&self) {
        if let Some(on_left) = self.on_left.as_ref().filter(|_| self.slots.is_handed_over()) {
            on_left();
        }
    }

    /// Call at the end of a worker that answers datagrams: waits for replies that a plan of faults holds.
    pub fn finish_replies(&self) {
        self.faults.iter().for_each(|faults| faults.finish(|| self.context().cut_at()));
    }

    /// Stops the listener: workers that wait for a client return, open connections are ended in order.
    pub fn stop(&self) {
        self.slots.stop();
        self.threads.interrupt();
    }

    /// Gives up a start that failed: with an `error` of this listener, without one if another listener failed. Nothing
    /// is accepted.
    pub fn give_up_start(&self, error: Option<io::Error>) {
        self.startup.give_up(error);
        self.slots.close();
    }

    /// Runs the `work` of a worker thread: it can be interrupted, and its state is known.
    pub fn with_worker<T>(&self, work: impl FnOnce(&WorkerState<'_>) -> T) -> T {
        self.threads.join(|| self.workers.register(work))
    }

    /// The size of the pool; `None` if each request has a thread or process of its own.
    pub fn pool(&self) -> Option<usize> {
        (self.settings.workers != Workers::PerRequest).then(|| self.settings.pool())
    }

    /// What all connections of the listener share.
    pub fn context(&self) -> ConnectionContext<'_> {
        ConnectionContext { settings: &self.settings, stats: &self.stats, cut: &self.cut, drain: self.drain }
    }

    /// A buffer for connections, one for each worker.
    pub fn scratch(&self) -> io::Result<Mapping> {
        Mapping::new(match self.settings.protocol {
            Protocol::UnixSeqpacket => LONGEST_RECORD,
            _ => SCRATCH,
        })
    }

    /// Serves one connection in this thread until it closes. A panic of the service costs this connection only.
    pub fn serve(&self, accepted: Accepted, scratch: &mut [u8]) {
        let Accepted { socket, peer, mut permit, opened, faults } = accepted;
        let summary =
            self.serve_unlogged(&socket, &peer, opened, faults, scratch, |slot| permit.hold(Some(slot)));
        self.log_close(&peer, summary);
        // The slot is released after the descriptor is closed: a free slot has a free descriptor.
        drop(socket);
    }

    /// As [`ListenerContext::serve`], but leaves to the caller the log line, and with `hold` the source slot of a
    /// proxied client.
    pub fn serve_unlogged(
        &self,
        socket: &Socket,
        peer: &Peer,
        opened: Instant,
        faults: Option<Box<ConnectionFaults>>,
        scratch: &mut [u8],
        mut hold: impl FnMut(SourceSlot),
    ) -> ConnectionSummary {
        let mut summary = ConnectionSummary::new(CloseReason::Panicked);
        let connection = self.connection(peer.clone());
        let admit_proxied = |connection: &Connection| {
            self.admit_proxied(connection).map(|slot| slot.into_iter().for_each(&mut hold))
        };
        let serve = || {
            let (context, summary) = (self.context(), &mut summary);
            if let Some(faults) = faults {
                return faults::blocking::serve(
                    connection,
                    (socket, scratch),
                    &context,
                    faults,
                    opened,
                    admit_proxied,
                    summary,
                );
            }
            let driver = match self.settings.protocol {
                Protocol::UnixSeqpacket => blocking::serve::<true>,
                _ => blocking::serve::<false>,
            };
            driver(connection, socket, scratch, &context, opened, admit_proxied, summary);
        };
        // Buffer and summary hold plain numbers, valid in whatever state the panic left them.
        let _ = catch_unwind(AssertUnwindSafe(serve));
        summary.lasted = opened.elapsed().saturating_sub(summary.lingered);
        summary.process = self.process_to_log(socket, &summary);
        summary
    }
}

/// A connection that was admitted.
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// The peer's address.
    pub peer: Peer,
    /// Its slot, released on drop.
    pub permit: Permit,
    /// When it was accepted.
    pub opened: Instant,
    /// What the plan of the listener does to it, if anything.
    pub faults: Option<Box<ConnectionFaults>>,
}

pub use crate::serve::startup::Startup;
pub use crate::serve::unread::{AnswerRoom, Unread};

#[cfg(test)]
mod tests;

//! Faults on purpose: a listener with a plan of `[[faults]]` misbehaves exactly as the plan says.
//!
//! In: replies to datagrams, before they are sent; the sockets of connections, as a [`Transport`](crate::sys::transport::Transport)
//! that holds, cuts and spoils what passes. Out: the same, late, wrong or not at all, and a counter for each fault. A listener
//! without a plan, and a client that no plan hits, never come here.
//!
//! Read `decision` first (a fault is a pure function of seed, source and running number), then `fate` (what becomes of a reply),
//! `numbers` (the running numbers), `replies` and `delay_line` for datagrams, `stream`, `transport` and `blocking` for connections,
//! `in_force`, which says what a plan may do on a listener, and `preview`, which tells decisions beforehand.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use socket2::Socket;

use crate::{
    access::memory::TableMemory,
    config::{self, Dscp, FaultPlan, Mode, Protocol, Workers, embedded::plain},
    report::{close_reason::CloseReason, stats::Stats},
    stream::connection::{Connection, ConnectionContext, ReadMode, Step},
    sys::shared::Shared,
};
use decision::Decisions;
use delay_line::{DelayLine, OnUnsent};
use numbers::{Locked, Numbers};
use stream::{ConnectionFaults, EndOrder};
use transport::FaultyTransport;

pub mod blocking;
mod decision;
mod delay_line;
mod fate;
pub mod in_force;
mod numbers;
pub mod preview;
mod replies;
pub mod stream;
mod transport;

/// The plan of a listener, at work.
pub struct Faults {
    plan: Arc<FaultPlan>,
    decisions: Decisions,
    numbers: Arc<Numbers>,
    line: Arc<DelayLine>,
    stats: Arc<Shared<Stats>>,
    /// Whether replies are marked as their requests are.
    marked: bool,
}

impl Faults {
    /// The plan of the listener, if it has one that can hit something there. `on_unsent` is told of late replies that could not be
    /// sent.
    pub fn of(
        settings: &config::Listener,
        stats: &Arc<Shared<Stats>>,
        memory: &mut TableMemory<'_>,
        on_unsent: OnUnsent,
    ) -> io::Result<Option<Arc<Faults>>> {
        let Some(plan) = in_force::plan_of(settings) else { return Ok(None) };
        let numbers = Arc::new(Numbers::new(memory, fate::waits_for(plan))?);
        // fork(2) is safe only without threads.
        let may_have_thread = (settings.mode, settings.workers) != (Mode::Forking, Workers::PerRequest);
        Ok(Some(Arc::new(Faults {
            decisions: Decisions::new(plan, &settings.name),
            line: DelayLine::new(&numbers, stats, on_unsent, may_have_thread),
            plan: Arc::clone(plan),
            numbers,
            stats: Arc::clone(stats),
            marked: settings.dscp == Some(Dscp::Reflect),
        })))
    }

    /// Whether it hits a client with this address.
    fn hits(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.plan.from.iter().any(|network| network.contains(&address))
    }

    /// Whether it hits clients that have no address.
    fn hits_nameless(&self) -> bool {
        self.plan.from == config::everybody()
    }

    /// Keeps other workers from receiving datagrams before those of this one are numbered.
    pub fn lock(&self) -> Locked<'_> {
        self.numbers.lock()
    }

    /// Waits until every late reply has gone, at the end of a worker. `cut` tells until when.
    pub fn finish(&self, cut: impl Fn() -> Option<Instant>) {
        self.line.finish(cut);
    }

    fn count_evicted(&self, has_evicted: bool) {
        if has_evicted {
            self.stats.faults_untracked.fetch_add(1, Relaxed);
        }
    }
}

/// Advances a connection by one step, and does what the plan orders.
pub fn advance(
    connection: &mut Connection,
    socket: &Socket,
    scratch: &mut [u8],
    faults: &mut ConnectionFaults,
    context: &ConnectionContext<'_>,
    mode: ReadMode,
) -> Step {
    let protocol = context.settings.protocol;
    let step =
        connection.advance(&mut FaultyTransport::new(socket, scratch, faults, protocol), context, mode);
    if let Step::Closed(end) = step {
        if matches!(end, CloseReason::Refused(_)) {
            refuse(socket, faults);
        }
        return step;
    }
    match faults.take_order() {
        None => {
            if step == Step::Linger {
                faults.release();
            }
            step
        }
        Some(EndOrder::Close(fault)) => {
            faults.release();
            connection.close_early(CloseReason::OnPurpose(fault));
            connection.advance(
                &mut FaultyTransport::new(socket, scratch, faults, protocol),
                context,
                ReadMode::None,
            )
        }
        Some(EndOrder::Reset(fault)) => {
            faults.release();
            if protocol == Protocol::Tcp {
                // close(2) resets the connection then (SO_LINGER, socket(7)). If that fails, it closes in order.
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
            Step::Closed(CloseReason::OnPurpose(fault))
        }
    }
}

/// Call when the client that a PROXY header names is refused: what was left in the socket for a reset must not cause one.
pub fn refuse(socket: &Socket, faults: &mut ConnectionFaults) {
    if faults.left_unread {
        // Without the byte the connection closes in order; if it stays, with a reset.
        let _ = transport::take_left(socket, faults);
    }
}

/// Why a connection ends whose socket has hung up or failed while the plan keeps it from being read and written. `None` if it goes
/// on at its time: a client that has closed in order may have left something to read.
pub fn end_at_hang_up(
    connection: &Connection,
    socket: &Socket,
    faults: &ConnectionFaults,
) -> Option<CloseReason> {
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => Some(CloseReason::from(error)),
        Ok(None) if connection.ending() => Some(connection.reason()),
        Ok(None) if faults.goes_on() => None,
        // What a send would tell.
        Ok(None) if connection.has_pending() => Some(CloseReason::PeerReset),
        Ok(None) => Some(CloseReason::PeerClosed),
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.line.end();
    }
}

#[cfg(test)]
pub(crate) mod tests;

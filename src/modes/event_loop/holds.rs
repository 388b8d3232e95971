//! Connections that a plan of faults holds. While one is held its socket is not polled, because whatever it is ready for has to
//! wait; only its end is noticed (`hang_ups`). A timer wakes the loop when one is due: some pollers would round the time-out of a
//! wait to milliseconds.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use super::{EventLoop, LoopConnection, hang_ups::HangUps};
use crate::{
    faults::stream::ConnectionFaults,
    report::close_reason::CloseReason,
    stream::connection::Step,
    sys::poller::{Interest, Poller, Readiness},
};

/// Shorter times are as good as none, and zero would disarm the timer.
const SHORTEST: Duration = Duration::from_micros(1);

/// When the held connections of a loop are due.
pub(super) struct Holds {
    due: BTreeSet<(Instant, u64)>,
    timer: TimerFd,
    /// When the timer expires.
    armed: Option<Instant>,
    /// The sockets that are not polled.
    pub(super) hang_ups: HangUps,
}

/// What the loop knows of a connection that a plan hits.
pub(super) struct HeldConnection {
    pub(super) faults: Box<ConnectionFaults>,
    /// Its time in [`Holds`].
    due: Option<Instant>,
    /// Whether its socket is not polled.
    pub(super) parked: bool,
}

impl Holds {
    pub(super) fn new() -> io::Result<Holds> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        Ok(Holds { due: BTreeSet::new(), timer, armed: None, hang_ups: HangUps::new()? })
    }

    /// Takes out a connection that is closed.
    pub(super) fn forget(&mut self, key: u64, held: Option<&HeldConnection>) {
        held.and_then(|held| held.due).iter().for_each(|due| _ = self.due.remove(&(*due, key)));
    }

    fn set(&mut self, key: u64, held: &mut HeldConnection) {
        let due = held.faults.due();
        if due != held.due {
            self.forget(key, Some(held));
            held.due = due;
            self.due.extend(due.map(|due| (due, key)));
            self.arm();
        }
    }

    /// Sets the timer to the first time, unless it expires before.
    fn arm(&mut self) {
        let Some(&(first, _)) = self.due.first() else { return };
        if self.armed.is_none_or(|armed| first < armed) {
            let time = first.saturating_duration_since(Instant::now()).max(SHORTEST);
            let once = Expiration::OneShot(TimeSpec::from(time));
            let set = self.timer.set(once, TimerSetTimeFlags::empty());
            self.armed = set.is_ok().then_some(first);
        }
    }

    /// The keys of the connections that are due now.
    fn take_due(&mut self) -> Vec<u64> {
        // io_uring reports readiness ahead of the wait, so the event may come twice.
        let _ = self.timer.wait();
        self.armed = None;
        let now = Instant::now();
        let mut keys = Vec::new();
        while let Some(&(due, key)) = self.due.first()
            && due <= now
        {
            self.due.pop_first();
            keys.push(key);
        }
        keys
    }
}

impl AsFd for Holds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl HeldConnection {
    pub(super) fn new(faults: Box<ConnectionFaults>) -> Box<HeldConnection> {
        Box::new(HeldConnection { faults, due: None, parked: false })
    }
}

impl<P: Poller> EventLoop<'_, P> {
    /// Starts to poll a new connection. The poller carries its bytes, unless a plan holds some of them.
    pub(super) fn watch_connection(&mut self, entry: &LoopConnection) -> io::Result<()> {
        let (fd, key) = (entry.socket.as_fd(), self.connections.next_key());
        match &entry.faults {
            None => self.poller.add_transport(fd, key),
            Some(_) => self.poller.add(fd, key, Interest::Read),
        }
    }

    /// Polls a connection that a plan hits for what it waits for, or leaves it alone until it is due.
    pub(super) fn hold(&mut self, key: u64, wait: Step) -> io::Result<()> {
        let Some(LoopConnection { socket, interest, faults: Some(held), .. }) = self.connections.get_mut(key)
        else {
            return Ok(());
        };
        let Some(holds) = &mut self.holds else { return Ok(()) };
        let wanted = if wait == Step::Writable { Interest::Write } else { Interest::Read };
        let parks = held.faults.is_parked(wanted == Interest::Write);
        holds.set(key, held);
        let polled = match (parks, held.parked) {
            (true, true) => holds.hang_ups.watch_again(&*socket, key),
            (true, false) => {
                self.poller.remove(socket.as_fd());
                holds.hang_ups.watch(&*socket, key)
            }
            (false, true) => {
                holds.hang_ups.unwatch(&*socket);
                self.poller.add(socket.as_fd(), key, wanted)
            }
            (false, false) if *interest != wanted => self.poller.modify(socket.as_fd(), key, wanted),
            (false, false) => Ok(()),
        };
        held.parked = parks;
        if !parks {
            *interest = wanted;
        }
        // Without its interest registered, the connection would hang.
        polled.unwrap_or_else(|error| self.close_connection(key, CloseReason::from(error)));
        Ok(())
    }

    /// Polls the socket of a connection again that the plan has let go, before the loop polls it for something else.
    pub(super) fn unpark(&mut self, key: u64) -> io::Result<()> {
        if let Some(LoopConnection { socket, interest, faults: Some(held), .. }) =
            self.connections.get_mut(key)
            && std::mem::take(&mut held.parked)
        {
            *interest = Interest::Read;
            self.holds.iter().for_each(|holds| holds.hang_ups.unwatch(&*socket));
            return self.poller.add(socket.as_fd(), key, Interest::Read);
        }
        Ok(())
    }

    /// Advances the connections that are due.
    pub(super) fn advance_held(&mut self) -> io::Result<()> {
        let keys = self.holds.as_mut().map(Holds::take_due).unwrap_or_default();
        for key in keys {
            if let Some(LoopConnection { faults: Some(held), .. }) = self.connections.get_mut(key) {
                held.due = None;
            }
            self.advance(Readiness { key, readable: true, hangup: true }, key)?;
        }
        if let Some(holds) = &mut self.holds {
            holds.arm();
        }
        Ok(())
    }
}

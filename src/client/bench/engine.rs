//! The loop that sends, receives and keeps the time: one thread, one epoll instance, all sockets of a target.
//!
//! A message costs one send, one receive and one reading of the clock. Nothing is allocated, locked or printed for it.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeSpec, TimeValLike},
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::Errno,
};
use socket2::Socket;

use super::{
    channel::{BACKLOG, Channel, LoopState},
    pace::{Pace, Plan},
    tally::Tally,
};
use crate::sys::clock;

/// Events per wait, at most.
const EVENTS: usize = 512;

/// Sends of a plan that is late before answers are received again.
const AT_ONCE: u32 = 64;

/// With `--spin`, the last part of a wait, which the processor waits for.
const SPIN: u64 = 60_000;

/// How often messages are looked for whose time is over.
const LOOK: u64 = 10_000_000;

/// The key of the timer among those of the sockets.
const TIMER: u64 = u64::MAX;

/// What a round has found out.
#[derive(Clone, Debug)]
pub(super) struct RoundOutcome {
    pub(super) tally: Tally,
    /// From the first send to the last answer, or to the end of the time for sends if that is later.
    pub(super) duration: u64,
    /// Processor time of the loop, and how long it ran.
    pub(super) busy: u64,
    pub(super) wall: u64,
    /// Connections that the server has closed so far.
    pub(super) over: usize,
}

/// The sockets of one target.
pub(super) trait Load {
    /// Sends at this pace, then waits for what is not answered yet. `stop` ends it early.
    fn round(&mut self, pace: Pace, stop: &AtomicBool) -> io::Result<RoundOutcome>;

    /// Each socket.
    fn sockets(&self) -> Box<dyn Iterator<Item = &Socket> + '_>;
}

/// The loop over sockets of one kind.
pub(super) struct Engine<C> {
    kernel: OwnedFd,
    /// Wakes the loop at the moment of a send: the time-out of epoll_wait(2) is in whole milliseconds.
    timer: TimerFd,
    ready: Vec<epoll::Event>,
    channels: Vec<C>,
    /// For which sockets room to send is awaited.
    is_watched: Vec<bool>,
    state: LoopState,
    spin: bool,
}

impl<C: Channel> Engine<C> {
    /// Watches these connected sockets. Unanswered datagrams are remembered up to `most` in all.
    pub(super) fn new(sockets: Vec<Socket>, state: LoopState, most: usize, spin: bool) -> io::Result<Self> {
        let kernel = epoll::create(CreateFlags::CLOEXEC)?;
        let each = (most / sockets.len().max(1)).max(1024);
        let channels: Vec<C> =
            sockets.into_iter().zip(0..).map(|(socket, number)| C::new(socket, number, each)).collect();
        for (channel, key) in channels.iter().zip(0..) {
            epoll::add(&kernel, channel.socket(), EventData::new_u64(key), EventFlags::IN)?;
        }
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll::add(&kernel, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let is_watched = vec![false; channels.len()];
        Ok(Self { kernel, timer, ready: Vec::with_capacity(EVENTS), channels, is_watched, state, spin })
    }

    /// Asks for events about room, or no longer, after something was done with a socket.
    fn settle(&mut self, at: usize) -> io::Result<()> {
        let channel = &self.channels[at];
        if channel.is_over() {
            // It may have been removed before.
            let _ = epoll::delete(&self.kernel, channel.socket());
            return Ok(());
        }
        let wanted = channel.is_blocked();
        if self.is_watched[at] != wanted {
            let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.kernel, channel.socket(), EventData::new_u64(at as u64), flags)?;
            self.is_watched[at] = wanted;
        }
        Ok(())
    }

    fn send(&mut self, at: usize, count: u32, planned: u64, now: u64) -> io::Result<()> {
        self.channels[at].send(count, planned, now, &mut self.state);
        self.settle(at)
    }

    /// Sends what is due, and returns whether more is due now.
    fn send_due(&mut self, plan: &mut Plan) -> io::Result<bool> {
        for _ in 0..AT_ONCE {
            let now = clock::now();
            let skipped = plan.skip(now, BACKLOG);
            self.state.tally.fates.skipped += skipped;
            self.state.tally.fates.planned += skipped;
            let Some((number, planned)) = plan.due(now) else { return Ok(false) };
            self.send((number % self.channels.len() as u64) as usize, 1, planned, now)?;
        }
        Ok(true)
    }

    /// Waits for events, at most so many nanoseconds (rounded up to milliseconds).
    fn wait(&mut self, time: u64) -> io::Result<()> {
        self.ready.clear();
        let time = Timespec { tv_sec: (time / 1_000_000_000) as i64, tv_nsec: (time % 1_000_000_000) as _ };
        match epoll::wait(&self.kernel, spare_capacity(&mut self.ready), Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for events until this moment. To set the timer anew also ends its last event.
    fn wait_until(&mut self, moment: u64) -> io::Result<()> {
        let at = Expiration::OneShot(TimeSpec::nanoseconds(moment as i64));
        self.timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.wait(moment.saturating_sub(clock::now()) + LOOK)
    }

    /// Looks for messages whose time is over.
    fn expire(&mut self, now: u64, may_send: bool) -> io::Result<()> {
        for at in 0..self.channels.len() {
            let freed = self.channels[at].expire(now, &mut self.state);
            if freed > 0 && may_send {
                self.send(at, freed, now, now)?;
            }
            self.settle(at)?;
        }
        Ok(())
    }

    fn pending(&self) -> u64 {
        self.channels.iter().map(Channel::pending).sum()
    }

    /// Acts on the events. In a closed loop each message that has its fate makes room for another.
    fn happened(&mut self, pace: &Pace) -> io::Result<()> {
        for i in 0..self.ready.len() {
            let epoll::Event { flags, data } = self.ready[i];
            if data.u64() == TIMER {
                continue;
            }
            let at = data.u64() as usize;
            let mut freed = 0;
            if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
                freed = self.channels[at].receive(&mut self.state);
            }
            if flags.contains(EventFlags::OUT) {
                self.channels[at].flush(&mut self.state);
            }
            let now = self.state.now;
            match pace {
                Pace::Closed { until, .. } if freed > 0 && now < *until => self.send(at, freed, now, now)?,
                _ => self.settle(at)?,
            }
        }
        Ok(())
    }

    /// How long to wait for answers, once all is sent: if something was odd, the whole time that an answer may take.
    fn linger(&self) -> u64 {
        let quiet = (3 * self.state.tally.longest).clamp(1_000_000, self.state.timeout);
        match self.state.tally.is_odd() || self.pending() > 0 {
            true => self.state.timeout.max(3 * self.state.tally.longest),
            false => quiet,
        }
    }

    fn run(&mut self, pace: &mut Pace, stop: &AtomicBool) -> io::Result<u64> {
        let start = clock::now();
        if let Pace::Closed { window, .. } = *pace {
            for at in 0..self.channels.len() {
                let now = clock::now();
                self.send(at, window, now, now)?;
            }
        }
        let mut look = start + LOOK;
        let mut end = None;
        loop {
            let is_late = match pace {
                Pace::Open(plan) if end.is_none() => self.send_due(plan)?,
                _ => false,
            };
            let now = clock::now();
            let all_over = || self.channels.iter().all(Channel::is_over);
            if end.is_none() && (pace.is_done(now) || stop.load(Relaxed)) {
                end = Some(now);
                if let Pace::Closed { until, .. } = pace {
                    *until = now;
                }
            }
            if now >= look {
                if end.is_none() && all_over() {
                    end = Some(now);
                }
                let may_send = end.is_none() && matches!(pace, Pace::Closed { .. });
                self.expire(now, may_send)?;
                look = now + LOOK;
            }
            let mut wake = look;
            if let Some(end) = end {
                // Nothing more is to come of a stream that has answered everything.
                let is_exact = C::IS_EXACT && self.pending() == 0;
                if is_exact || now >= end + self.linger() {
                    // A plan lasts until the moment behind its last message.
                    self.state.tally.last_answer = self.state.tally.last_answer.max(end).max(pace.next());
                    break;
                }
                wake = wake.min(end + self.linger());
            } else {
                wake = wake.min(pace.next());
            }
            if self.spin && end.is_none() {
                wake = wake.saturating_sub(SPIN);
            }
            match pace {
                _ if is_late || wake <= now => self.wait(0)?,
                Pace::Open(_) => self.wait_until(wake)?,
                Pace::Closed { .. } => self.wait(wake - now)?,
            }
            self.happened(pace)?;
        }
        for channel in &mut self.channels {
            channel.close(&mut self.state);
        }
        Ok(self.state.tally.last_answer - start)
    }
}

impl<C: Channel> Load for Engine<C> {
    fn round(&mut self, mut pace: Pace, stop: &AtomicBool) -> io::Result<RoundOutcome> {
        let is_open = matches!(pace, Pace::Open(_));
        self.state.tally = Tally::new(is_open);
        self.state.backlog = if is_open { BACKLOG } else { u64::MAX };
        let (start, busy) = (clock::now(), processor_time());
        let duration = self.run(&mut pace, stop)?;
        let (busy, wall) = (processor_time() - busy, clock::now() - start);
        let tally = std::mem::take(&mut self.state.tally);
        let over = self.channels.iter().filter(|channel| channel.is_over()).count();
        Ok(RoundOutcome { tally, duration, busy, wall, over })
    }

    fn sockets(&self) -> Box<dyn Iterator<Item = &Socket> + '_> {
        Box::new(self.channels.iter().map(Channel::socket))
    }
}

/// Processor time of this thread so far.
fn processor_time() -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return 0 };
    let [user, system] = [usage.user_time(), usage.system_time()];
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    (micros(user) + micros(system)) * 1000
}

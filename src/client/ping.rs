//! `echod ping`: one probe a second to each target, and what became of every one of them.
//!
//! Read `plan` (when probes are sent), `books` over `event` (what becomes of them) with `pattern` (losses that are no accident), then
//! `wire` (how they travel) with `datagrams`, `stream` and `exchange`, and `screen` and `summary` (what is printed). This file
//! is the loop that holds them together: one thread, one poll(2) for all targets.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    time::{Duration, SystemTime},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{prctl, time::TimeSpec},
};

use super::{options::Ping, report, signals::Wishes};
use crate::{
    report::error::{Exit, Failure},
    socket::resolve::error_text,
    sys::clock,
};

mod books;
mod datagrams;
mod event;
mod exchange;
mod pattern;
mod plan;
mod results;
mod screen;
mod setup;
mod stream;
mod summary;
mod wire;

use self::{
    plan::{Due, Plan},
    screen::Screen,
    setup::Course,
};

/// Runs the command until its probes are sent, or a signal ends it.
///
/// # Errors
/// The options are wrong, this machine does not give what they need, or the exit code that the report decides.
pub fn run(options: &Ping) -> Result<(), Failure> {
    let started = SystemTime::now();
    let wishes = Wishes::catch().map_err(|error| {
        Failure::new(Exit::System, format!("cannot catch signals: {}", error_text(&error)))
    })?;
    let courses = setup::courses(options)?;
    let conditions = report::prepare(&options.common)?;
    // Without it the kernel may wake a thread 50 us late. Where it cannot be had, the error of the schedule shows that.
    let _ = prctl::set_timerslack(1);
    let mut run = Run {
        screen: Screen::new(&options.common),
        next_report: None,
        hard_end: None,
        last_sent: 0,
        hurried: 0,
        options,
        courses,
        wishes,
    };
    run.open()?;
    let waited = run.probe()?;
    let measurement = results::measurement(options, &run.courses, started, waited, run.hurried);
    let text: String = match &run.screen.failed {
        // Nobody reads it.
        Some(_) => String::new(),
        None => run.courses.iter().map(|course| course.summary(waited)).collect(),
    };
    report::conclude(&measurement, &options.common, &conditions, &text)
}

/// A run under way.
struct Run<'a> {
    options: &'a Ping,
    courses: Vec<Course>,
    wishes: Wishes,
    screen: Screen,
    next_report: Option<u64>,
    /// When everything ends, whatever is missing (`-w`).
    hard_end: Option<u64>,
    last_sent: u64,
    /// Probes whose time was not over when the run was ended.
    hurried: u64,
}

impl Run<'_> {
    /// Opens what lasts, and waits for connections as long as for an answer.
    fn open(&mut self) -> Result<(), Failure> {
        for course in &mut self.courses {
            course.wire.open(&mut course.books)?;
        }
        let until = clock::now() + nanoseconds(self.options.timeout);
        while self.courses.iter().any(|course| !course.wire.is_open())
            && clock::now() < until
            && !self.wishes.is_stop()
        {
            self.wait(until);
        }
        for course in &self.courses {
            let header = course.header();
            self.screen.say(&header);
        }
        Ok(())
    }

    /// Sends and receives until all is over. Returns how long it waited after the last probe for what was missing.
    fn probe(&mut self) -> Result<Duration, Failure> {
        let (options, start) = (self.options, clock::now());
        self.hard_end = options.deadline.map(|deadline| start + nanoseconds(deadline));
        // The last probe before the end has its time, too.
        let until =
            options.deadline.map(|deadline| start + nanoseconds(deadline.saturating_sub(options.timeout)));
        for course in &mut self.courses {
            course.plan = Plan::new(start, options.interval, options.count, until);
        }
        self.next_report = options.report_every.map(|every| start + nanoseconds(every));
        loop {
            self.send_what_is_due();
            self.tell();
            let now = clock::now();
            let is_over = match self.ends_at() {
                Some(end) => now >= end,
                None => self.screen.failed.is_some(),
            };
            if is_over {
                break;
            }
            let wakes = self.courses.iter_mut().filter_map(Course::wakes_at).min();
            let wakes = [wakes, self.next_report, self.hard_end, self.ends_at()].into_iter().flatten().min();
            self.wait(wakes.unwrap_or(u64::MAX));
            self.interim();
        }
        let now = clock::now();
        let is_missing = self.courses.iter().any(|course| course.books.waits_until().is_some());
        self.hurried = self.courses.iter_mut().map(|course| course.books.close(now)).sum();
        self.tell();
        match self.screen.failed.take() {
            Some(error) if error.kind() == ErrorKind::BrokenPipe => self.screen.failed = Some(error),
            Some(error) => {
                let text = format!("cannot write to standard output: {}", error_text(&error));
                return Err(Failure::new(Exit::InputOutput, text));
            }
            None => {}
        }
        let waited = now.saturating_sub(self.last_sent);
        Ok(Duration::from_nanos(if is_missing && self.last_sent > 0 { waited } else { 0 }))
    }

    fn send_what_is_due(&mut self) {
        if self.wishes.is_stop() || self.screen.failed.is_some() {
            self.courses.iter_mut().for_each(|course| course.plan.end());
        }
        for course in &mut self.courses {
            while let Some(due) = course.plan.take(clock::now()) {
                match due {
                    Due::Send(planned) if course.books.may_send() => {
                        let before = course.books.next();
                        course.books.schedule_error.record(clock::now().saturating_sub(planned));
                        course.wire.send(&mut course.books);
                        debug_assert_eq!(course.books.next(), before + 1, "each probe has a number");
                        self.last_sent = clock::now();
                    }
                    _ => course.books.skipped(clock::now()),
                }
            }
        }
    }

    /// When the run ends: nothing is to be sent, and nothing is missing or it has been waited for. `None` while probes are to come.
    fn ends_at(&mut self) -> Option<u64> {
        let is_sending = self.courses.iter().any(|course| course.plan.next().is_some());
        match self.hard_end {
            Some(end) if clock::now() >= end => return Some(end),
            _ if is_sending => return None,
            _ => {}
        }
        let last = self.courses.iter().filter_map(|course| course.books.waits_until()).max().unwrap_or(0);
        Some(self.hard_end.map_or(last, |end| last.min(end)))
    }

    /// Waits for an answer, a signal, or `until`; reads what has come, and gives up what has not.
    fn wait(&mut self, until: u64) {
        let mut watched = vec![(self.wishes.as_fd(), PollFlags::POLLIN)];
        let mut whose = vec![None];
        for (number, course) in self.courses.iter().enumerate() {
            let before = watched.len();
            course.wire.watch(&mut watched);
            whose.extend((0..watched.len() - before).map(|index| Some((number, index))));
        }
        let mut polled: Vec<PollFd<'_>> =
            watched.into_iter().map(|(fd, what)| PollFd::new(fd, what)).collect();
        let left = Duration::from_nanos(until.saturating_sub(clock::now()).min(3_600_000_000_000));
        let found = match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
            Ok(found) => found,
            Err(Errno::EINTR) => 0,
            // Out of memory for the moment: the loop goes on without having waited.
            Err(_) => 0,
        };
        let ready: Vec<_> = polled
            .iter()
            .zip(whose)
            .filter(|_| found > 0)
            .filter_map(|(fd, whose)| Some((whose, fd.revents().filter(|what| !what.is_empty())?)))
            .collect();
        for (whose, what) in ready {
            match whose {
                None => self.heed_signals(),
                Some((number, index)) => {
                    let course = &mut self.courses[number];
                    course.wire.ready(index, what, &mut course.books);
                }
            }
        }
        let now = clock::now();
        for course in &mut self.courses {
            course.wire.expire(now, &mut course.books);
            course.books.expire(now);
        }
    }

    fn heed_signals(&mut self) {
        self.wishes.clear();
        if self.wishes.take_report() {
            self.next_report = Some(0);
        }
    }

    /// Says how it stands, if that is asked for or its time has come. As with ping(8) that goes to standard error.
    fn interim(&mut self) {
        let now = clock::now();
        if self.next_report.is_none_or(|at| now < at) {
            return;
        }
        let lines: String = self.courses.iter().map(Course::interim).collect();
        // A closed standard error is no reason to stop.
        let _ = io::stderr().lock().write_all(lines.as_bytes());
        self.next_report = self.options.report_every.map(|every| now + nanoseconds(every));
    }

    fn tell(&mut self) {
        for course in &mut self.courses {
            self.screen.tell(&mut course.naming, &mut course.books.events);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

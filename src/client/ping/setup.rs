//! The targets of a run, after a look at whether the options fit them.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::{
    books::Books, datagrams::DatagramWire, exchange::Exchanges, nanoseconds, plan::Plan, screen::Naming,
    stream::StreamWire, summary, wire::Wire,
};
use crate::{
    client::{options::Ping, probe::Probes, socket, target::Target},
    config::Protocol,
    report::error::{Exit, Failure},
    socket::address::Peer,
};

/// The smallest interval over a network, where others share it.
const GENTLE: Duration = Duration::from_millis(2);

/// The smallest interval on this machine: below, the loop would do nothing but send.
const SHORTEST: Duration = Duration::from_micros(10);

/// One target on its way through a run.
pub(super) struct Course {
    /// The server.
    pub(super) target: Target,
    /// What became of its probes.
    pub(super) books: Books,
    /// When they are sent.
    pub(super) plan: Plan,
    /// How they travel.
    pub(super) wire: Box<dyn Wire>,
    /// How it is named.
    pub(super) naming: Naming,
    flows: u16,
}

impl Course {
    /// `ECHOD udp://reflector.example:7 (192.0.2.7): 64 bytes, 4 flows, kernel timestamps`.
    pub(super) fn header(&self) -> String {
        let Target { url, peer, .. } = &self.target;
        let size = self.books.probes.size();
        let place = match peer {
            Peer::Inet(address) => format!(" ({})", address.ip()),
            _ => String::new(),
        };
        let flows = if self.flows > 1 { format!(", {} flows", self.flows) } else { String::new() };
        let here = if self.target.is_local() && !place.is_empty() { ", loopback" } else { "" };
        format!("ECHOD {url}{place}: {size} bytes{flows}, {} timestamps{here}\n", self.timestamps())
    }

    /// Where receive times come from.
    pub(super) fn timestamps(&self) -> &'static str {
        if self.wire.has_stamps() { "kernel" } else { "user" }
    }

    /// The summary for people.
    pub(super) fn summary(&self, waited: Duration) -> String {
        summary::summary(&self.target, &self.books, self.wire.connections(), waited)
    }

    /// How it stands.
    pub(super) fn interim(&self) -> String {
        format!("{}{}\n", self.naming.prefix, summary::interim(&self.books))
    }

    /// When there is something to do without an answer.
    pub(super) fn wakes_at(&mut self) -> Option<u64> {
        let moments = [self.plan.next(), self.books.next_expiry(), self.wire.next_expiry()];
        moments.into_iter().flatten().min()
    }
}

/// Reads the targets, and looks whether they can be measured like that.
///
/// # Errors
/// 64 if an option does not fit a target, 68 if a name is unknown.
pub(super) fn courses(options: &Ping) -> Result<Vec<Course>, Failure> {
    let common = &options.common;
    if common.targets.is_empty() {
        return Err(usage("cannot ping nobody: name a server, such as `echod ping udp://127.0.0.1:7777`"));
    }
    for (option, time) in
        [("-W", Some(options.timeout)), ("-w", options.deadline), ("--report-every", options.report_every)]
    {
        if time.is_some_and(|time| time.is_zero()) {
            return Err(usage(format!("{option} 0 leaves no time at all: write a longer one, such as 1s")));
        }
    }
    let mut courses = Vec::new();
    for url in &common.targets {
        let target = Target::read("ping", url, common.families())?;
        check(&target, options)?;
        courses.push(course(target, options));
    }
    Ok(courses)
}

fn course(target: Target, options: &Ping) -> Course {
    let (common, size) = (&options.common, options.size);
    // Random, so that the answers to another run are none to this one.
    let run = RandomState::new().hash_one(&target.url) as u32;
    let books = Books::new(Probes::new(run, size), options.timeout, options.flows);
    let wire: Box<dyn Wire> = match target.protocol {
        Protocol::Udp | Protocol::UnixDatagram => {
            Box::new(DatagramWire::new(&target, common, size, options.flows))
        }
        _ if options.connect => Box::new(Exchanges::new(&target, common, nanoseconds(options.timeout))),
        _ => Box::new(StreamWire::new(&target, common)),
    };
    let is_one_of_several = common.targets.len() > 1;
    let naming = Naming::new(&target, is_one_of_several, size, options.timeout, options.flows);
    let plan = Plan::new(0, options.interval, Some(0), None);
    Course { target, books, plan, wire, naming, flows: options.flows }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, text)
}

/// Whether a target can be measured with these options.
fn check(target: &Target, options: &Ping) -> Result<(), Failure> {
    socket::check(target, &options.common)?;
    let Ping { interval, size, .. } = options;
    let (url, is_stream) = (&target.url, target.protocol.is_stream());
    let least = if target.is_local() { SHORTEST } else { GENTLE };
    if *interval < least {
        let why = match target.is_local() {
            true => "less than 10us is no interval",
            false => "a network is shared, so ping sends at most 500 probes a second over it",
        };
        return Err(usage(format!(
            "cannot ping {url} every {interval:?}: {why}; use -i {least:?} or more, or `echod bench`"
        )));
    }
    if options.flows > 1 && target.protocol != Protocol::Udp {
        return Err(usage(format!(
            "--flows has no effect on {url}: only udp has source ports to spread probes over"
        )));
    }
    if options.connect && !is_stream {
        return Err(usage(format!(
            "--connect has no effect on {url}: datagrams need no connection; leave it out"
        )));
    }
    let longest = target.longest();
    match size {
        0 if is_stream => Err(usage(format!(
            "cannot send 0 bytes to {url}: a connection has no empty messages; use -s 1 or more"
        ))),
        size if *size > longest => Err(usage(format!(
            "cannot send {size} bytes to {url}: the most that fits is {longest}; use a smaller -s"
        ))),
        _ => Ok(()),
    }
}

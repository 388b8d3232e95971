//! `echod selftest`: holds a live server to the RFC of its service, or whoami to its documentation. Each check is one
//! conversation, and its outcome a line of the Test Anything Protocol, version 14.
//!
//! It is polite, because what it asks may be in use: it has at most four connections at once and sends some 2 MiB in all. It trusts nobody:
//! every step has a deadline, and no answer is kept beyond what it may be long.

mod complaint;
mod conversation;
mod datagram_checks;
mod ready;
mod record_checks;
mod source_port;
mod spoken;
mod stream_checks;
mod tap;
mod whoami;

use std::{io, time::Duration};

use super::{
    options,
    target::{Families, Target},
};
use crate::{
    config::Protocol,
    report::error::{Exit, Failure},
    socket::address::Peer,
};

use self::{complaint::Complaint, tap::Tap};

/// The protocols that a server is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Echo,
    Discard,
    Chargen,
    Qotd,
    Daytime,
    Time,
    Whoami,
}

impl Service {
    /// Each with its name and its well-known port, if it has one.
    const ALL: [(Service, &'static str, Option<u16>); 7] = [
        (Service::Echo, "echo", Some(7)),
        (Service::Discard, "discard", Some(9)),
        (Service::Chargen, "chargen", Some(19)),
        (Service::Qotd, "qotd", Some(17)),
        (Service::Daytime, "daytime", Some(13)),
        (Service::Time, "time", Some(37)),
        (Service::Whoami, "whoami", None),
    ];

    /// The one that was asked for, else that of a well-known port, else echo.
    fn of(target: &Target, asked: Option<&str>) -> Service {
        let port = match target.peer {
            Peer::Inet(address) => Some(address.port()),
            _ => None,
        };
        let is_it = |name: &str, well_known: Option<u16>| {
            asked.map_or(well_known.is_some() && port == well_known, |asked| asked == name)
        };
        let found = Self::ALL.into_iter().find(|(_, name, well_known)| is_it(name, *well_known));
        found.map_or(Service::Echo, |(service, ..)| service)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(service, ..)| *service == self).map_or("", |(_, name, _)| name)
    }
}

/// The server that is held to its RFC.
struct Subject {
    target: Target,
    service: Service,
    /// How long a step may take.
    patience: Duration,
}

impl Subject {
    /// How long nothing must come before that counts as silence.
    fn quiet(&self) -> Duration {
        (self.patience / 2).min(Duration::from_millis(500))
    }

    /// Every check that the server is to pass. The first finds out whether anybody is there.
    fn checks(&self) -> &'static [Check] {
        let is_stream = self.target.protocol.is_stream();
        match self.service {
            Service::Echo if self.target.protocol == Protocol::UnixSeqpacket => record_checks::ECHO,
            Service::Echo if is_stream => stream_checks::ECHO,
            Service::Discard if is_stream => stream_checks::DISCARD,
            Service::Chargen if is_stream => stream_checks::CHARGEN,
            Service::Qotd if is_stream => spoken::QOTD,
            Service::Daytime if is_stream => spoken::DAYTIME,
            Service::Time if is_stream => spoken::TIME,
            Service::Whoami if is_stream => whoami::STREAM,
            Service::Echo => datagram_checks::ECHO,
            Service::Discard => datagram_checks::DISCARD,
            Service::Chargen => datagram_checks::CHARGEN,
            Service::Qotd => datagram_checks::QOTD,
            Service::Daytime => datagram_checks::DAYTIME,
            Service::Time => datagram_checks::TIME,
            Service::Whoami => whoami::DATAGRAM,
        }
    }
}

/// One thing that an RFC wants.
struct Check {
    /// What is so where it is right.
    claim: &'static str,
    /// Where the RFC says so.
    rule: &'static str,
    run: fn(&Subject) -> Result<(), Complaint>,
}

/// Tests every target of the command line, and prints what it finds.
///
/// # Errors
/// 1 if something is not as its RFC says, 69 if nobody answered, 64 and 68 if a URL or a name is wrong.
pub fn run(options: &options::Selftest) -> Result<(), Failure> {
    let read = |url: &String| {
        let target = Target::read("selftest", url, Families::Any)?;
        let service = Service::of(&target, options.service.as_deref());
        Ok(Subject { target, service, patience: options.timeout })
    };
    let subjects = options.targets.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
    let mut tap = Tap::new(io::stdout().lock());
    match test(&subjects, &mut tap) {
        Ok(found) => found.map_or(Ok(()), |exit| Err(Failure::new(exit, tap.summary()))),
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::InputOutput, format!("cannot write to standard output: {error}")))
        }
    }
}

/// Runs all checks; how to exit if something is wrong.
fn test(subjects: &[Subject], tap: &mut Tap<impl io::Write>) -> io::Result<Option<Exit>> {
    tap.plan(subjects.iter().map(|subject| subject.checks().len()).sum())?;
    let (mut is_wrong, mut is_nobody) = (false, false);
    for subject in subjects {
        let url = &subject.target.url;
        tap.comment(&format!("{url}: {}", subject.service.name()))?;
        let mut is_there = true;
        for check in subject.checks() {
            let outcome = match is_there {
                true => (check.run)(subject),
                false => Err(Complaint::Skipped("nobody answered".to_owned())),
            };
            match &outcome {
                Err(Complaint::Nobody(_)) => is_there = false,
                Err(Complaint::Wrong(_)) => is_wrong = true,
                Ok(()) | Err(Complaint::Skipped(_)) => {}
            }
            tap.outcome(url, check, &outcome)?;
        }
        is_nobody |= !is_there;
    }
    let exit = if is_wrong { Some(Exit::ConditionTrue) } else { None };
    Ok(exit.or(is_nobody.then_some(Exit::Unavailable)))
}

/// What the checks of datagrams of a unix socket or of UDP have in common.
fn is_udp(subject: &Subject) -> bool {
    subject.target.protocol == Protocol::Udp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, asked: Option<&str>) -> Service {
        Service::of(&Target::read("selftest", url, Families::Any).unwrap(), asked)
    }

    #[test]
    fn a_well_known_port_tells_the_service() {
        for (service, name, port) in Service::ALL {
            if let Some(port) = port {
                assert_eq!(of(&format!("tcp://127.0.0.1:{port}"), None), service);
            }
            assert_eq!(of("udp://127.0.0.1:7", Some(name)), service);
            assert_eq!(service.name(), name);
        }
        assert_eq!(of("tcp://127.0.0.1:7777", None), Service::Echo);
        assert_eq!(of("unix:/run/x.sock", None), Service::Echo);
    }
}

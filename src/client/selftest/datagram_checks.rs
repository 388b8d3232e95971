//! What a server of datagrams is held to.

use super::{
    Check, Service, Subject,
    complaint::{Complaint, Trouble},
    is_udp,
    source_port::{ATTEMPTS, DatagramReply, SourcePort},
    spoken::{judge_line, judge_quote, judge_time},
    stream_checks::pattern,
};

const RFC_862: &str = "RFC 862, UDP Based Echo Service";
const RFC_863: &str = "RFC 863, UDP Based Discard Service";
const RFC_864: &str = "RFC 864, UDP Based Character Generator Service";
const RFC_865: &str = "RFC 865, UDP Based Character Generator Service";
const RFC_867: &str = "RFC 867, UDP Based Daytime Service";
const RFC_868: &str = "RFC 868, UDP";
const RFC_1122: &str = "RFC 1122, 4.1.3.5 UDP Multihoming";

type Outcome = Result<(), Complaint>;

/// Of every service that answers.
pub(super) const SOURCE: Check = Check {
    claim: "the answer comes from the address and port that were asked",
    rule: RFC_1122,
    run: source,
};

pub(super) const ECHO: &[Check] = &[
    Check { claim: "a datagram comes back as it was sent", rule: RFC_862, run: line },
    SOURCE,
    Check { claim: "every byte value comes back", rule: RFC_862, run: binary },
    Check { claim: "an empty datagram comes back empty", rule: RFC_862, run: empty },
    Check { claim: "1,472 bytes come back as one datagram", rule: RFC_862, run: frame },
    Check { claim: "65,507 bytes come back as one datagram", rule: RFC_862, run: largest },
    Check { claim: "each datagram gets one answer, as long as itself", rule: RFC_862, run: one_answer },
    Check { claim: "a sender that has gone harms no other", rule: RFC_862, run: gone_echo },
];

pub(super) const DISCARD: &[Check] =
    &[Check { claim: "datagrams of any length get no answer", rule: RFC_863, run: silence }];

pub(super) const CHARGEN: &[Check] = &[
    Check { claim: "a datagram gets an answer", rule: RFC_864, run: told },
    SOURCE,
    Check { claim: "the answer has 0 to 512 characters", rule: RFC_864, run: short },
    Check { claim: "each datagram gets one answer", rule: RFC_864, run: one_telling },
    Check { claim: "an empty datagram gets an answer", rule: RFC_864, run: unasked },
    Check { claim: "a sender that has gone harms no other", rule: RFC_864, run: gone },
];

pub(super) const QOTD: &[Check] = &[
    Check { claim: "a datagram gets a quote", rule: RFC_865, run: told },
    SOURCE,
    Check { claim: "the quote has at most 512 characters", rule: "RFC 865, Quote Syntax", run: short },
    Check { claim: "each datagram gets one answer", rule: RFC_865, run: one_telling },
    Check { claim: "an empty datagram gets an answer", rule: RFC_865, run: unasked },
    Check { claim: "a sender that has gone harms no other", rule: RFC_865, run: gone },
];

pub(super) const DAYTIME: &[Check] = &[
    Check { claim: "a datagram gets the time", rule: RFC_867, run: told },
    SOURCE,
    Check { claim: "the time is one line of ASCII", rule: "RFC 867, Daytime Syntax", run: one_line },
    Check { claim: "each datagram gets one answer", rule: RFC_867, run: one_telling },
    Check { claim: "an empty datagram gets an answer", rule: RFC_867, run: unasked },
    Check { claim: "a sender that has gone harms no other", rule: RFC_867, run: gone },
];

pub(super) const TIME: &[Check] = &[
    Check { claim: "a datagram gets the time", rule: RFC_868, run: told },
    SOURCE,
    Check {
        claim: "the time is that of this machine within 10 minutes",
        rule: "RFC 868, The Time",
        run: right_time,
    },
    Check { claim: "each datagram gets one answer", rule: RFC_868, run: one_telling },
    Check { claim: "an empty datagram gets an answer", rule: RFC_868, run: unasked },
    Check { claim: "a sender that has gone harms no other", rule: RFC_868, run: gone },
];

const SAME: &str = "the data of a datagram is sent back in one datagram, unchanged and whole";

/// So much that no answer of these services is longer: a server that never sends more than it was sent answers, too.
const REQUEST: usize = 512;

/// The same of whoami.
const DESCRIBED: usize = 1200;

/// A request that is as long as any answer of the service.
pub(super) fn padded(subject: &Subject) -> Vec<u8> {
    pattern(if subject.service == Service::Whoami { DESCRIBED } else { REQUEST })
}

fn differing(request: &[u8], answer: &[u8]) -> Option<String> {
    if request.len() != answer.len() {
        return Some(format!("{} bytes", answer.len()));
    }
    let at = request.iter().zip(answer).position(|(sent, came)| sent != came)?;
    Some(format!("byte {at} as 0x{:02x}, which was 0x{:02x}", answer[at], request[at]))
}

fn echo(subject: &Subject, request: &[u8], cure: &str) -> Outcome {
    let expected = format!("a datagram with the {} bytes that were sent", request.len());
    let answer = match SourcePort::ask(subject, request) {
        Err(trouble @ Trouble::TooLong { .. }) => return Err(Complaint::Skipped(trouble.to_string())),
        answer => answer.map_err(|trouble| trouble.wrong(&*expected, cure))?,
    };
    match differing(request, &answer.bytes) {
        None => Ok(()),
        Some(found) => Err(Complaint::wrong(expected, found, cure)),
    }
}

/// The first answer of a server. Silence may be the answer of nobody.
pub(super) fn first(
    subject: &Subject,
    request: &[u8],
    expected: &str,
    cure: &str,
) -> Result<DatagramReply, Complaint> {
    SourcePort::ask(subject, request).map_err(|trouble| match trouble {
        Trouble::Silent { waited, .. } => {
            let silent =
                std::io::Error::other(format!("no answer to {ATTEMPTS} datagrams within {waited:?}"));
            Trouble::Nobody(silent).first(expected, cure)
        }
        trouble => trouble.first(expected, cure),
    })
}

fn line(subject: &Subject) -> Outcome {
    let request = b"echod selftest: hello\r\n";
    let expected = "a datagram with the line that was sent";
    let cure = "is it an echo server? `--service` names another service";
    let answer = first(subject, request, expected, cure)?;
    match differing(request, &answer.bytes) {
        None => Ok(()),
        Some(_) => {
            let shown = &answer.bytes[..answer.bytes.len().min(64)];
            Err(Complaint::wrong(expected, format!("\"{}\"", shown.escape_ascii()), cure))
        }
    }
}

fn source(subject: &Subject) -> Outcome {
    if !is_udp(subject) {
        return Err(Complaint::Skipped("a unix socket answers from its own name, or not at all".to_owned()));
    }
    let asked = subject.target.peer.socket_address().ok().and_then(|address| address.as_socket());
    let expected = format!("an answer from {}", asked.map(|asked| asked.to_string()).unwrap_or_default());
    let cure = "answer from the socket that received, and on a machine with several addresses from the one that was asked \
                (IP_PKTINFO); is an address translated on the way?";
    let answer =
        SourcePort::ask(subject, &padded(subject)).map_err(|trouble| trouble.wrong(&*expected, cure))?;
    let is_same = |from: std::net::SocketAddr| {
        asked.is_some_and(|asked| {
            (asked.ip().to_canonical(), asked.port()) == (from.ip().to_canonical(), from.port())
        })
    };
    match answer.from {
        Some(from) if !is_same(from) => Err(Complaint::wrong(expected, format!("one from {from}"), cure)),
        _ => Ok(()),
    }
}

fn binary(subject: &Subject) -> Outcome {
    let every: Vec<u8> = (0..=255).collect();
    echo(subject, &every, "no byte has a meaning: neither NUL, nor line ends, nor those of telnet")
}

fn empty(subject: &Subject) -> Outcome {
    echo(subject, b"", "a datagram without data is a datagram: a length of 0 is not the end of anything")
}

fn frame(subject: &Subject) -> Outcome {
    echo(subject, &pattern(1472), SAME)
}

fn largest(subject: &Subject) -> Outcome {
    let cure = match subject.target.is_local() {
        true => {
            "the server's buffer has to hold 65,507 bytes, and what does not fit must not be answered in part"
        }
        false => "the server's buffer has to hold 65,507 bytes; or fragments are dropped on the way",
    };
    echo(subject, &pattern(65_507), cure)
}

/// Sends so many different datagrams, and counts what comes until there is silence.
fn exchange(subject: &Subject, requests: &[Vec<u8>]) -> Result<Vec<DatagramReply>, Trouble> {
    let port = SourcePort::open(subject)?;
    for request in requests {
        port.send(request)?;
    }
    let mut answers = Vec::new();
    // One that answers more often than it is asked may never stop.
    while answers.len() <= 2 * requests.len() {
        let patience = if answers.len() < requests.len() { subject.patience } else { subject.quiet() };
        match port.receive(patience)? {
            Some(answer) => answers.push(answer),
            None => break,
        }
    }
    Ok(answers)
}

fn one_answer(subject: &Subject) -> Outcome {
    let requests: Vec<Vec<u8>> =
        (1..=8).map(|n| [&[n; 1][..], &pattern(n as usize * 100)].concat()).collect();
    let expected = "8 answers to 8 datagrams, each as it was sent";
    let mut most = 0;
    for _ in 0..ATTEMPTS {
        let answers = exchange(subject, &requests).map_err(|trouble| trouble.wrong(expected, SAME))?;
        let mut open = requests.iter().map(Vec::as_slice).collect::<Vec<_>>();
        for DatagramReply { bytes, .. } in &answers {
            let Some(at) = open.iter().position(|request| request == bytes) else {
                let is_double = requests.contains(bytes);
                let what = if is_double { "a second answer" } else { "an answer that is no echo" };
                return Err(Complaint::wrong(expected, format!("{what}, of {} bytes", bytes.len()), SAME));
            };
            open.swap_remove(at);
        }
        if open.is_empty() {
            return Ok(());
        }
        most = most.max(answers.len());
    }
    Err(Complaint::wrong(expected, format!("{most} of 8, in the best of {ATTEMPTS} attempts"), SAME))
}

const OTHERS: &str = "an error about one datagram, such as that its sender has gone, is no reason to stop";

/// A sender that has gone before it is answered: its machine says so to the server (ICMP), or the answer fails at once (unix). It
/// is one only, since a server may take a machine that says so more often for the victim of a flood.
fn leaves(subject: &Subject) -> Outcome {
    let sent = SourcePort::open(subject).and_then(|port| port.send(&padded(subject)));
    sent.map_err(|trouble| trouble.wrong("a datagram that can be sent", OTHERS))
}

fn gone_echo(subject: &Subject) -> Outcome {
    leaves(subject)?;
    echo(subject, b"after\r\n", OTHERS)
}

pub(super) fn gone(subject: &Subject) -> Outcome {
    leaves(subject)?;
    answered(subject).map(drop)
}

fn silence(subject: &Subject) -> Outcome {
    let expected = "no answer";
    let cure = "a discard server throws away what it receives, and sends nothing";
    for request in [pattern(5), Vec::new(), pattern(REQUEST)] {
        let answer = SourcePort::open(subject).and_then(|port| {
            port.send(&request)?;
            port.receive(subject.quiet())
        });
        if let Some(answer) = answer.map_err(|trouble| trouble.first(expected, cure))? {
            let found = format!("an answer of {} bytes to {} bytes", answer.bytes.len(), request.len());
            return Err(Complaint::wrong(expected, found, cure));
        }
    }
    Ok(())
}

const TELL: &str = "each datagram is to be answered by one";

fn told(subject: &Subject) -> Outcome {
    first(subject, &padded(subject), "an answer", TELL).map(drop)
}

pub(super) fn answered(subject: &Subject) -> Result<DatagramReply, Complaint> {
    SourcePort::ask(subject, &padded(subject)).map_err(|trouble| trouble.wrong("an answer", TELL))
}

fn short(subject: &Subject) -> Outcome {
    // Its length may be random.
    for _ in 0..4 {
        judge_quote(&answered(subject)?.bytes)?;
    }
    Ok(())
}

fn one_line(subject: &Subject) -> Outcome {
    judge_line(&answered(subject)?.bytes)
}

fn right_time(subject: &Subject) -> Outcome {
    judge_time(&answered(subject)?.bytes)
}

pub(super) fn one_telling(subject: &Subject) -> Outcome {
    let expected = "3 answers to 3 datagrams";
    let requests = vec![padded(subject); 3];
    let mut most = 0;
    for _ in 0..ATTEMPTS {
        let answers = exchange(subject, &requests).map_err(|trouble| trouble.wrong(expected, TELL))?;
        most = most.max(answers.len());
        if answers.len() >= requests.len() {
            break;
        }
    }
    match most {
        3 => Ok(()),
        n => Err(Complaint::wrong(expected, format!("{n}"), TELL)),
    }
}

/// Whoever answers more than was asked lends itself to floods, as its sender may be forged: not to answer is no fault today.
fn unasked(subject: &Subject) -> Outcome {
    let port = SourcePort::open(subject);
    let answer = port.and_then(|port| {
        port.send(b"")?;
        port.receive(subject.quiet())
    });
    match answer.map_err(|trouble| trouble.wrong("an answer", TELL))? {
        Some(_) => Ok(()),
        None => Err(Complaint::Skipped(
            "it answers no datagram that is shorter than its answer, so it cannot be made to flood a forged sender".to_owned(),
        )),
    }
}

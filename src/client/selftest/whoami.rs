//! What a server of whoami is held to: no RFC describes the service, so it is what the documents of echod say.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::{
    Check, Subject,
    complaint::{Complaint, Trouble},
    conversation::Conversation,
    datagram_checks::{self, SOURCE, answered, gone, one_telling, padded},
    source_port::SourcePort,
    spoken::{MOST, SAY, first, reset, unheard},
};

/// The section of docs/operate/services.md.
const RULE: &str = "echod, Services, whoami";

type Outcome = Result<(), Complaint>;

pub(super) const STREAM: &[Check] = &[
    Check { claim: "a line of JSON comes without being asked for, then the end", rule: RULE, run: line },
    Check { claim: "the line tells the address of this client", rule: RULE, run: own_address },
    Check { claim: "what the client sends is thrown away", rule: RULE, run: unheard },
    Check { claim: "a client that resets its connection harms no other", rule: RULE, run: reset },
];

pub(super) const DATAGRAM: &[Check] = &[
    Check { claim: "a padded datagram gets a line of JSON", rule: RULE, run: datagram },
    SOURCE,
    Check { claim: "the line tells the port of this client", rule: RULE, run: own_port },
    Check { claim: "each datagram gets one answer", rule: RULE, run: one_telling },
    Check { claim: "a datagram shorter than its answer gets none", rule: RULE, run: short },
    Check { claim: "a sender that has gone harms no other", rule: RULE, run: gone },
];

const LINE: &str = "one line, an object of JSON whose member \"service\" is \"whoami\"";
const IS_IT: &str = "is it a server of whoami? `--service` names another service";
const BETWEEN: &str = "a proxy or a translation of addresses is on the way, and the server sees that one";

fn judge(answer: &[u8]) -> Result<Value, Complaint> {
    let line = answer.strip_suffix(b"\n").filter(|line| !line.contains(&b'\n'));
    let object = line.and_then(|line| serde_json::from_slice::<Value>(line).ok());
    object.filter(|object| object["service"] == "whoami").ok_or_else(|| {
        let shown = &answer[..answer.len().min(64)];
        Complaint::wrong(LINE, format!("\"{}\"", shown.escape_ascii()), IS_IT)
    })
}

fn line(subject: &Subject) -> Outcome {
    judge(&first(subject, LINE)?).map(drop)
}

fn own_address(subject: &Subject) -> Outcome {
    let wrong = |trouble: Trouble| trouble.wrong(LINE, SAY);
    let connection = Conversation::open(subject).map_err(wrong)?;
    let own = connection.local();
    let told = judge(&connection.rest(MOST).map_err(wrong)?)?;
    let Some(own) = own else { return own_process(&told) };
    let peer = &told["peer"];
    let address = peer["address"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    let port = peer["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let plain = SocketAddr::new(own.ip().to_canonical(), own.port());
    match address.zip(port).map(SocketAddr::from) {
        Some(seen) if seen == plain => Ok(()),
        _ => Err(Complaint::wrong(plain.to_string(), peer.to_string(), BETWEEN)),
    }
}

/// Whether a unix socket tells of this process.
fn own_process(told: &Value) -> Outcome {
    let (expected, seen) = (std::process::id(), &told["process"]["pid"]);
    match seen.as_u64() {
        Some(pid) if pid == u64::from(expected) => Ok(()),
        Some(_) => Err(Complaint::wrong(format!("process {expected}"), seen.to_string(), BETWEEN)),
        None => Err(Complaint::Skipped("the server is in another PID namespace".to_owned())),
    }
}

fn datagram(subject: &Subject) -> Outcome {
    let request = padded(subject);
    let answer = datagram_checks::first(subject, &request, LINE, IS_IT)?;
    judge(&answer.bytes).map(drop)
}

fn own_port(subject: &Subject) -> Outcome {
    let wrong = |trouble: Trouble| trouble.wrong(LINE, IS_IT);
    let port = SourcePort::open(subject).map_err(wrong)?;
    let told = judge(&port.ask_again(&padded(subject)).map_err(wrong)?.bytes)?;
    let Some(own) = port.local() else { return own_process(&told) };
    let seen = &told["peer"]["port"];
    match seen.as_u64() == Some(own.port().into()) {
        true => Ok(()),
        false => Err(Complaint::wrong(format!("port {}", own.port()), seen.to_string(), BETWEEN)),
    }
}

/// A server that answers a short request with a long line can be made to flood others.
fn short(subject: &Subject) -> Outcome {
    let expected = "no answer to one byte";
    let cure = "refuse a request that is shorter than its answer; `allow-amplification` is for a network of your own";
    let wrong = |trouble: Trouble| trouble.wrong(expected, cure);
    let port = SourcePort::open(subject).map_err(wrong)?;
    port.send(b"?").map_err(wrong)?;
    if let Some(answer) = port.receive(subject.quiet()).map_err(wrong)? {
        return Err(Complaint::wrong(expected, format!("{} bytes", answer.bytes.len()), cure));
    }
    answered(subject).map(drop)
}

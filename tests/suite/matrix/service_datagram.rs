//! The services over datagrams. None answers with more than was asked, unless it is told that it may.

use super::{
    Combination,
    service_stream::{assert_daytime, assert_time, serve},
};
use crate::harness::{Echod, pattern};

/// Longer than any answer.
const PADDED: [u8; 600] = [0; 600];

pub(super) fn upper(combination: Combination) {
    let daemon = serve(combination, "upper");
    let client = daemon.client("it");
    assert_eq!(client.ask("hello Wörld".as_bytes()), "HELLO WöRLD".as_bytes());
    assert_eq!(client.ask(b""), b"");
}

pub(super) fn discard(combination: Combination) {
    let daemon = serve(combination, "discard");
    let client = daemon.client("it");
    client.send(b"");
    client.send(pattern(1000));
    client.send(b"x");
    daemon.wait_state("it", |state| state["received"] == 1001 && state["sent"] == 0);
    assert!(client.has_nothing());
}

/// RFC 864: some characters, up to 512 of them; here no more than were asked with.
pub(super) fn chargen(combination: Combination) {
    let daemon = serve(combination, "chargen");
    let client = daemon.client("it");
    let answer = client.ask(&PADDED);
    assert!(!answer.is_empty() && answer.len() <= 512);
    assert!(answer.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n')), "{answer:?}");
    assert_not_amplified(daemon);
}

pub(super) fn chargen_amplified(combination: Combination) {
    let daemon = amplifying(combination, "chargen");
    let client = daemon.client("it");
    // Of a random length perhaps; not always so short.
    let lengths = (0..50).map(|_| client.ask(b"?").len()).collect::<Vec<_>>();
    assert!(lengths.iter().any(|length| *length > 1), "{lengths:?}");
    assert!(lengths.iter().all(|length| *length <= 512), "{lengths:?}");
}

pub(super) fn qotd(combination: Combination) {
    let daemon = combination.start_with("", "service = \"qotd\"\nquote = \"Brevity is the soul of wit.\"");
    let client = daemon.client("it");
    let answer = String::from_utf8(client.ask(&PADDED)).unwrap();
    assert_eq!(answer.trim_end_matches(['\r', '\n']), "Brevity is the soul of wit.");
    assert_eq!(client.ask(&vec![0; answer.len()]), answer.as_bytes());
    assert_not_amplified(daemon);
}

pub(super) fn daytime(combination: Combination) {
    let daemon = serve(combination, "daytime");
    let client = daemon.client("it");
    assert_daytime(&client.ask(&PADDED));
    assert_not_amplified(daemon);
}

pub(super) fn time(combination: Combination) {
    let daemon = serve(combination, "time");
    let client = daemon.client("it");
    assert_time(&client.ask(&PADDED));
    assert_time(&client.ask(b"four"));
    assert_not_amplified(daemon);
}

/// As RFC 868 has it: an empty datagram asks for the time.
pub(super) fn time_amplified(combination: Combination) {
    let daemon = amplifying(combination, "time");
    assert_time(&daemon.client("it").ask(b""));
}

/// Short requests are answered in their length at most, or not at all. Ends the daemon, after which no answer is on its
/// way any more.
#[track_caller]
fn assert_not_amplified(mut daemon: Echod) {
    let client = daemon.client("it");
    (0..5).for_each(|_| client.send(b"???"));
    daemon.stop();
    let lengths = client.arrived();
    assert!(lengths.iter().all(|length| *length <= 3), "3 bytes asked for {lengths:?}");
}

fn amplifying(combination: Combination, service: &str) -> Echod {
    combination.start_with("", &format!("service = \"{service}\"\nallow-amplification = true"))
}

//! The services over a stream.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Combination;
use crate::harness::{Client, Echod, MIB, pattern};

/// Seconds from 1900 to 1970, RFC 868.
pub(super) const SINCE_1900: u64 = 2_208_988_800;

pub(super) fn upper(combination: Combination) {
    let daemon = serve(combination, "upper");
    let client = daemon.client("it");
    let request = "hello Wörld 123 {}~\n".as_bytes();
    assert_eq!(client.ask(request), "HELLO WöRLD 123 {}~\n".as_bytes());
    let values = (0..=255).collect::<Vec<u8>>();
    assert_eq!(client.ask(&values), values.to_ascii_uppercase());
}

/// Never answers, but reads all: a client can write more than any buffer holds.
pub(super) fn discard(combination: Combination) {
    let daemon = serve(combination, "discard");
    let client = daemon.client("it");
    client.send(pattern(16 * MIB));
    client.half_close();
    assert!(client.rest().is_empty());
    daemon.wait_state("it", |state| state["received"] == 16 << 20 && state["sent"] == 0);
}

/// RFC 864's pattern, while the client's input is read and ignored.
pub(super) fn chargen(combination: Combination) {
    let daemon = serve(combination, "chargen");
    let client = daemon.client("it");
    client.send(b"ignored");
    let received = client.receive(200 * 74);
    for (number, line) in received.chunks(74).enumerate() {
        assert_eq!(line, chargen_line(number), "line {number}");
    }
    client.send(pattern(100_000));
    client.receive(200 * 74);
    client.reset();
    assert_eq!(daemon.client("it").receive(74), chargen_line(0));
}

pub(super) fn qotd(combination: Combination) {
    let daemon = combination.start_with("", "service = \"qotd\"\nquote = \"Brevity is the soul of wit.\"");
    let text = String::from_utf8(daemon.client("it").rest()).unwrap();
    assert_eq!(text.trim_end_matches(['\r', '\n']), "Brevity is the soul of wit.");
    assert!(text.ends_with('\n'));
}

pub(super) fn daytime(combination: Combination) {
    let daemon = serve(combination, "daytime");
    assert_daytime(&daemon.client("it").rest());
}

pub(super) fn time(combination: Combination) {
    let daemon = serve(combination, "time");
    assert_time(&daemon.client("it").rest());
}

/// A server that closes with input unread resets the connection, and the answer with it; a polite one does not.
pub(super) fn reply_survives_unread_input(combination: Combination) {
    let daemon = serve(combination, "daytime");
    let client = daemon.client("it");
    let written = client.flood_until_refused(pattern(100_000));
    assert!(written > 0);
    assert_daytime(&client.rest());
    drop(client);
    assert_daytime(&daemon.client("it").rest());
}

/// 72 of the 95 printable characters, beginning one later in each line.
pub(super) fn chargen_line(number: usize) -> Vec<u8> {
    let printable = (b' '..=b'~').cycle().skip(number % 95);
    printable.take(72).chain(*b"\r\n").collect()
}

#[track_caller]
pub(super) fn assert_time(answer: &[u8]) {
    let answer = u32::from_be_bytes(answer.try_into().expect("four bytes"));
    // RFC 868 has 32 bits, which wrap in 2036.
    let now = (now() + SINCE_1900) as u32;
    assert!(now.wrapping_sub(answer).cast_signed().abs() < 5, "{answer} is not {now}");
}

#[track_caller]
pub(super) fn assert_daytime(answer: &[u8]) {
    let line = std::str::from_utf8(answer).unwrap();
    assert!(line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
    let year = 1970 + now() / 31_556_952;
    // On New Year's Eve the average year may be one off.
    assert!((year - 1..=year + 1).any(|year| line.contains(&year.to_string())), "{line:?}");
}

pub(super) fn serve(combination: Combination, service: &str) -> Echod {
    combination.start_with("", &format!("service = \"{service}\""))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Client {
    /// Writes what the daemon takes; it may end the conversation at any time.
    fn flood_until_refused(&self, bytes: &[u8]) -> usize {
        bytes.chunks(1000).map_while(|chunk| self.try_send(chunk).ok()).sum()
    }
}

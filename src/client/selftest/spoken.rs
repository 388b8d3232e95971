//! What says one thing and closes: qotd, daytime and time. The answer is judged in the same way over connections and datagrams.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Check, Subject,
    complaint::{Complaint, Trouble},
    conversation::Conversation,
    stream_checks::resets,
};

const RFC_865: &str = "RFC 865, TCP Based Character Generator Service";
const RFC_867: &str = "RFC 867, TCP Based Daytime Service";
const RFC_868: &str = "RFC 868, TCP";

type Outcome = Result<(), Complaint>;

pub(super) const QOTD: &[Check] = &[
    Check { claim: "a quote comes without being asked for, then the end", rule: RFC_865, run: quote },
    Check { claim: "the quote has at most 512 characters", rule: "RFC 865, Quote Syntax", run: short_quote },
    Check { claim: "what the client sends is thrown away", rule: RFC_865, run: unheard },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_865, run: reset },
];

pub(super) const DAYTIME: &[Check] = &[
    Check { claim: "the time comes without being asked for, then the end", rule: RFC_867, run: daytime },
    Check { claim: "the time is one line of ASCII", rule: "RFC 867, Daytime Syntax", run: one_line },
    Check { claim: "what the client sends is thrown away", rule: RFC_867, run: unheard },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_867, run: reset },
];

pub(super) const TIME: &[Check] = &[
    Check { claim: "32 bits come without being asked for, then the end", rule: RFC_868, run: time },
    Check {
        claim: "the time is that of this machine within 10 minutes",
        rule: "RFC 868, The Time",
        run: right_time,
    },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_868, run: reset },
];

/// The RFC wants less of a quote; of the others this is much more than any has.
pub(super) const MOST: usize = 4096;

/// What the server says, to the end of the stream.
fn said(subject: &Subject, before: &[u8]) -> Result<Vec<u8>, Trouble> {
    let connection = Conversation::open(subject)?;
    if !before.is_empty() {
        connection.send(before)?;
    }
    connection.rest(MOST)
}

pub(super) const SAY: &str = "the server has to send its answer at once, and to close";

pub(super) fn first(subject: &Subject, expected: &str) -> Result<Vec<u8>, Complaint> {
    let answer = said(subject, b"").map_err(|trouble| trouble.first(expected, SAY))?;
    match answer.is_empty() {
        true => Err(Complaint::wrong(expected, "the end of the stream, and nothing before it", SAY)),
        false => Ok(answer),
    }
}

fn again(subject: &Subject) -> Result<Vec<u8>, Complaint> {
    said(subject, b"").map_err(|trouble| trouble.wrong("an answer, then the end of the stream", SAY))
}

fn quote(subject: &Subject) -> Outcome {
    first(subject, "a quote, then the end of the stream").map(drop)
}

fn short_quote(subject: &Subject) -> Outcome {
    judge_quote(&again(subject)?)
}

fn daytime(subject: &Subject) -> Outcome {
    first(subject, "the date and time as text, then the end of the stream").map(drop)
}

fn one_line(subject: &Subject) -> Outcome {
    judge_line(&again(subject)?)
}

fn time(subject: &Subject) -> Outcome {
    let expected = "4 bytes, then the end of the stream";
    match first(subject, expected)?.len() {
        4 => Ok(()),
        n => Err(Complaint::wrong(expected, format!("{n} bytes, then the end"), FOUR)),
    }
}

fn right_time(subject: &Subject) -> Outcome {
    judge_time(&again(subject)?)
}

/// Bytes that were not read make a close a reset, which may take the answer along.
pub(super) fn unheard(subject: &Subject) -> Outcome {
    let cure =
        "read what has arrived before closing: else the close is a reset, which takes the answer along";
    let wrong = |trouble: Trouble| trouble.wrong("an answer, then the end of the stream", cure);
    said(subject, b"What is it that you say?\r\n").map(drop).map_err(wrong)
}

pub(super) fn reset(subject: &Subject) -> Outcome {
    resets(subject)?;
    again(subject).map(drop)
}

/// `The quote should be limited to ASCII printing characters` is a recommendation; its length is not.
pub(super) fn judge_quote(quote: &[u8]) -> Outcome {
    match quote.len() {
        ..=512 => Ok(()),
        n => Err(Complaint::wrong("at most 512 characters", format!("{n}"), "shorten the quote")),
    }
}

pub(super) fn judge_line(text: &[u8]) -> Outcome {
    let expected = "one line of printable ASCII";
    let cure = "one line end, at the end, and no other control character";
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_end(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_end(byte)).map_or(start, |at| at + 1);
    let line = &text[start..end];
    match !line.is_empty() && line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Ok(()),
        false => Err(Complaint::wrong(expected, format!("\"{}\"", text.escape_ascii()), cure)),
    }
}

const FOUR: &str = "the time is one number of 32 bits, the most significant byte first";

/// Seconds from 1900 to 1970, as the RFC has it.
const UNIX_TIME: u64 = 2_208_988_800;

pub(super) fn judge_time(answer: &[u8]) -> Outcome {
    let Ok(bytes) = <[u8; 4]>::try_from(answer) else {
        return Err(Complaint::wrong("4 bytes", format!("{} bytes", answer.len()), FOUR));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match behind(u32::from_be_bytes(bytes), now) {
        -600..=600 => Ok(()),
        seconds => {
            let found = format!("0x{:08x}, {seconds} s behind", u32::from_be_bytes(bytes));
            let cure = "seconds since 1900-01-01 00:00 UTC, the most significant byte first; is a clock wrong, or a time zone added?";
            Err(Complaint::wrong("the time of this machine within 600 s", found, cure))
        }
    }
}

/// How far the time of a server is behind ours, in seconds. The number begins anew in 2036, and the difference goes on.
fn behind(told: u32, now: u64) -> i32 {
    // The low 32 bits, as the RFC has it.
    let own = (now + UNIX_TIME) as u32;
    own.wrapping_sub(told).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_line() {
        for text in ["Monday, November 23, 2026 06:15:18-UTC\r\n", "\n60000 26-11-28 12:00:00 *\n", "noon"] {
            assert!(judge_line(text.as_bytes()).is_ok(), "{text}");
        }
        for text in ["", "\r\n", "a\nb\n", "caf\u{e9}", "a\tb"] {
            assert!(judge_line(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn time_is_counted_from_1900() {
        // The examples of the RFC: 1970-01-01 and 1980-01-01 00:00 GMT.
        assert_eq!(behind(2_208_988_800, 0), 0);
        assert_eq!(behind(2_524_521_600, 315_532_800), 0);
        assert_eq!(behind(2_208_988_800, 7), 7);
        // 2036-02-07 06:28:16.
        assert_eq!(behind(0, 2_085_978_496), 0);
        assert!(judge_time(&[0; 3]).is_err());
    }
}

//! What a server of connections is held to: echo, discard and chargen.

use super::{
    Check, Subject,
    complaint::{Complaint, Trouble},
    conversation::{Conversation, Manner, PLAIN},
};

const RFC_862: &str = "RFC 862, TCP Based Echo Service";
const RFC_863: &str = "RFC 863, TCP Based Discard Service";
const RFC_864: &str = "RFC 864, TCP Based Character Generator Service";

pub(super) type Outcome = Result<(), Complaint>;

pub(super) const ECHO: &[Check] = &[
    Check { claim: "a line comes back as it was sent", rule: RFC_862, run: line },
    Check { claim: "every byte value comes back", rule: RFC_862, run: binary },
    Check { claim: "pieces of any size come back as one stream", rule: RFC_862, run: pieces },
    Check { claim: "1,000 messages sent ahead come back in their order", rule: RFC_862, run: pipelined },
    Check { claim: "256 KiB come back while they are sent", rule: RFC_862, run: large },
    Check {
        claim: "1 MiB of which nothing is read at first comes back whole",
        rule: RFC_862,
        run: read_late,
    },
    Check {
        claim: "a client that ends its side gets the rest, then the end",
        rule: RFC_862,
        run: half_close,
    },
    Check { claim: "connections that are open at once keep their bytes apart", rule: RFC_862, run: several },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_862, run: reset_echo },
];

pub(super) const DISCARD: &[Check] = &[
    Check { claim: "a connection is accepted", rule: RFC_863, run: accepts },
    Check { claim: "64 KiB of every byte value are taken without an answer", rule: RFC_863, run: silence },
    Check { claim: "1 MiB is read", rule: RFC_863, run: takes },
    Check { claim: "a client that ends its side gets the end", rule: RFC_863, run: discard_end },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_863, run: reset_discard },
];

pub(super) const CHARGEN: &[Check] = &[
    Check { claim: "characters come without being asked for", rule: RFC_864, run: generates },
    Check { claim: "lines have 72 characters of the ring of 95", rule: RFC_864, run: ring },
    Check { claim: "what the client sends is thrown away", rule: RFC_864, run: ignores },
    Check { claim: "characters go on behind a pause of the reader", rule: RFC_864, run: goes_on },
    Check { claim: "a client that resets its connection harms no other", rule: RFC_864, run: reset_chargen },
];

const SAME: &str = "the server has to send back each byte that it receives, in order and unchanged";

/// Bytes of which any that is lost, doubled or moved is seen.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16).wrapping_mul(7)) as u8).collect()
}

fn echo(subject: &Subject, message: &[u8], manner: &Manner, cure: &str) -> Outcome {
    let expected = match manner.ends {
        true => format!("the {} bytes that were sent, then the end of the stream", message.len()),
        false => format!("the {} bytes that were sent", message.len()),
    };
    let connection = Conversation::open(subject).map_err(|trouble| trouble.wrong(&*expected, cure))?;
    connection.echo(message, manner).map_err(|trouble| trouble.wrong(&*expected, cure))
}

pub(super) fn line(subject: &Subject) -> Outcome {
    let expected = "the line that was sent";
    let cure = "is it an echo server? `--service` names another service";
    let connection = Conversation::open(subject).map_err(|trouble| trouble.first(expected, cure))?;
    connection.echo(b"echod selftest: hello\r\n", &PLAIN).map_err(|trouble| trouble.first(expected, cure))
}

pub(super) fn binary(subject: &Subject) -> Outcome {
    let every: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    echo(subject, &every, &PLAIN, "no byte has a meaning: neither NUL, nor line ends, nor those of telnet")
}

fn pieces(subject: &Subject) -> Outcome {
    let manner = Manner { pieces: &[1, 1, 2, 3, 5, 8, 13, 89, 610, 1460, 4181, 8192], ..PLAIN };
    echo(
        subject,
        &pattern(40_000),
        &manner,
        "a read(2) returns what has arrived, not what was written at once",
    )
}

fn pipelined(subject: &Subject) -> Outcome {
    let messages: String = (0..1000).map(|n| format!("message {n:>6}\r\n")).collect();
    echo(subject, messages.as_bytes(), &Manner { pieces: &[16], ..PLAIN }, SAME)
}

pub(super) fn large(subject: &Subject) -> Outcome {
    echo(subject, &pattern(256 * 1024), &PLAIN, SAME)
}

/// The server has to stop reading when it cannot write, and to go on later: if it drops what it cannot write, or waits for the
/// client to read only, this shows.
pub(super) fn read_late(subject: &Subject) -> Outcome {
    let message = pattern(1 << 20);
    let cure = "what cannot be written yet must be kept, and reading must stop meanwhile and go on later";
    let wrong = |trouble: Trouble| trouble.wrong("the 1048576 bytes that were sent", cure);
    let connection = Conversation::open_with(subject, Some(32 * 1024)).map_err(wrong)?;
    connection.echo(&message, &Manner { reads_late: true, ..PLAIN }).map_err(wrong)
}

pub(super) fn half_close(subject: &Subject) -> Outcome {
    let cure = "the end of the client's side is no reason to drop what is still owed: send it, then close";
    echo(subject, &pattern(100_000), &Manner { ends: true, ..PLAIN }, cure)
}

pub(super) fn several(subject: &Subject) -> Outcome {
    let message = |n: usize| format!("connection {n} of 4\r\n").into_bytes();
    let cure = "a connection has a state and a buffer of its own; is a limit of connections below 4?";
    let wrong =
        |trouble: Trouble| trouble.wrong("on each of 4 connections the line that was sent on it", cure);
    let open = (0..4).map(|_| Conversation::open(subject)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    for (n, connection) in open.iter().enumerate() {
        connection.send(&message(n)).map_err(wrong)?;
    }
    // Each is closed once it has its answer: a server may serve one after the other.
    for (n, connection) in open.into_iter().enumerate() {
        let came = connection.take(message(n).len()).map_err(wrong)?;
        if came != message(n) {
            let found = format!("\"{}\" on connection {n}", came.escape_ascii());
            return Err(Complaint::wrong("the line that was sent on this connection", found, cure));
        }
    }
    Ok(())
}

const OTHERS: &str = "an error of one connection ends that connection alone";

pub(super) fn reset_echo(subject: &Subject) -> Outcome {
    let wrong = |trouble: Trouble| trouble.wrong("an echo on the connections before and after it", OTHERS);
    let before = Conversation::open(subject).map_err(wrong)?;
    before.echo(b"before\r\n", &PLAIN).map_err(wrong)?;
    let rude = Conversation::open(subject).map_err(wrong)?;
    rude.send(&pattern(10_000)).map_err(wrong)?;
    rude.reset();
    before.echo(b"still there\r\n", &PLAIN).map_err(wrong)?;
    drop(before);
    Conversation::open(subject).and_then(|after| after.echo(b"after\r\n", &PLAIN)).map_err(wrong)
}

fn accepts(subject: &Subject) -> Outcome {
    let cure = "is it a discard server? `--service` names another service";
    Conversation::open(subject).map(drop).map_err(|trouble| trouble.first("a connection", cure))
}

fn silence(subject: &Subject) -> Outcome {
    let cure = "a discard server throws away what it receives, and sends nothing";
    let wrong = |trouble: Trouble| trouble.wrong("no answer, and a connection that stays", cure);
    let connection = Conversation::open(subject).map_err(wrong)?;
    connection.send(&pattern(64 * 1024)).map_err(wrong)?;
    match connection.overhears().map_err(wrong)? {
        None => Ok(()),
        Some(end) if end.is_empty() => Err(wrong(Trouble::Closed { received: 0 })),
        Some(answer) => {
            let found = format!("an answer that begins with \"{}\"", answer.escape_ascii());
            Err(Complaint::wrong("no answer", found, cure))
        }
    }
}

fn takes(subject: &Subject) -> Outcome {
    let wrong =
        |trouble: Trouble| trouble.wrong("1048576 bytes taken", "the server has to read what arrives");
    let connection = Conversation::open(subject).map_err(wrong)?;
    connection.send(&pattern(1 << 20)).map_err(wrong)?;
    // The kernels of both sides may hold much of it: the end of the stream says that the rest was read.
    connection.end().and_then(|()| connection.rest(0)).map(drop).map_err(wrong)
}

fn discard_end(subject: &Subject) -> Outcome {
    let cure = "when the client has ended its side there is nothing more to do: close";
    let wrong = |trouble: Trouble| trouble.wrong("the end of the stream", cure);
    let connection = Conversation::open(subject).map_err(wrong)?;
    connection.send(b"bye\r\n").and_then(|()| connection.end()).map_err(wrong)?;
    connection.rest(0).map(drop).map_err(wrong)
}

fn reset_discard(subject: &Subject) -> Outcome {
    resets(subject)?;
    discard_end(subject)
}

/// A rude client.
pub(super) fn resets(subject: &Subject) -> Outcome {
    let wrong = |trouble: Trouble| trouble.wrong("a connection", OTHERS);
    let rude = Conversation::open(subject).map_err(wrong)?;
    // It may have been closed by then.
    let _ = rude.send(&pattern(1000));
    rude.reset();
    Ok(())
}

const GENERATE: &str = "a chargen server sends characters from the start of a connection to its end";

fn generates(subject: &Subject) -> Outcome {
    let first = |trouble: Trouble| trouble.first("20000 characters", GENERATE);
    Conversation::open(subject).and_then(|connection| connection.take(20_000)).map(drop).map_err(first)
}

/// The RFC recommends a pattern, and shows this one.
fn ring(subject: &Subject) -> Outcome {
    const LINE: usize = 74;
    let wrong = |trouble: Trouble| trouble.wrong("lines of 72 characters", GENERATE);
    let text =
        Conversation::open(subject).and_then(|connection| connection.take(LINE * 100)).map_err(wrong)?;
    let first = text[0].wrapping_sub(b' ');
    let due = |at: usize| match at % LINE {
        72 => b'\r',
        73 => b'\n',
        column => b' ' + ((usize::from(first) + at / LINE + column) % 95) as u8,
    };
    match text.iter().enumerate().find(|(at, byte)| due(*at) != **byte) {
        None => Ok(()),
        Some((at, byte)) => {
            let why = format!(
                "another pattern (byte {at} is 0x{byte:02x}); the RFC recommends this one, and leaves it free"
            );
            Err(Complaint::Skipped(why))
        }
    }
}

fn ignores(subject: &Subject) -> Outcome {
    let wrong = |trouble: Trouble| trouble.wrong("40000 characters, whatever is sent meanwhile", GENERATE);
    let connection = Conversation::open(subject).map_err(wrong)?;
    connection.send(&pattern(1000)).map_err(wrong)?;
    connection.take(20_000).map_err(wrong)?;
    connection.send(b"\r\n").map_err(wrong)?;
    connection.take(20_000).map(drop).map_err(wrong)
}

fn goes_on(subject: &Subject) -> Outcome {
    let cure = "what cannot be written yet must be kept, and sent when the client reads";
    let wrong = |trouble: Trouble| trouble.wrong("65536 characters behind a pause", cure);
    let connection = Conversation::open_with(subject, Some(8 * 1024)).map_err(wrong)?;
    connection.pause();
    connection.take(64 * 1024).map(drop).map_err(wrong)
}

fn reset_chargen(subject: &Subject) -> Outcome {
    resets(subject)?;
    let wrong = |trouble: Trouble| trouble.wrong("20000 characters on the connection after it", OTHERS);
    Conversation::open(subject).and_then(|connection| connection.take(20_000)).map(drop).map_err(wrong)
}

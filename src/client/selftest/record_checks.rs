//! What a server of connections that keep records apart (SOCK_SEQPACKET) is held to: echo. Its other services are those of streams.

use super::{
    Check, Subject,
    conversation::Conversation,
    stream_checks::{self, Outcome, pattern},
};
use crate::stream::connection::LONGEST_RECORD;

const RFC_862: &str = "RFC 862, TCP Based Echo Service";
const UNIX: &str = "unix(7), SOCK_SEQPACKET";

pub(super) const ECHO: &[Check] = &[
    Check { claim: "a line comes back as it was sent", rule: RFC_862, run: stream_checks::line },
    Check { claim: "every byte value comes back", rule: RFC_862, run: stream_checks::binary },
    Check { claim: "records of any size come back as records, in their order", rule: UNIX, run: boundaries },
    Check { claim: "a record of 64 KiB comes back whole", rule: UNIX, run: longest },
    Check { claim: "256 KiB come back while they are sent", rule: RFC_862, run: stream_checks::large },
    Check {
        claim: "1 MiB of which nothing is read at first comes back whole",
        rule: RFC_862,
        run: stream_checks::read_late,
    },
    Check {
        claim: "a client that ends its side gets the rest, then the end",
        rule: RFC_862,
        run: stream_checks::half_close,
    },
    Check {
        claim: "connections that are open at once keep their bytes apart",
        rule: RFC_862,
        run: stream_checks::several,
    },
    Check {
        claim: "a client that resets its connection harms no other",
        rule: RFC_862,
        run: stream_checks::reset_echo,
    },
];

fn records(subject: &Subject, lengths: &[usize]) -> Outcome {
    let records: Vec<_> = lengths.iter().map(|length| pattern(*length)).collect();
    let expected = format!("{} records of the lengths that were sent", records.len());
    let cure =
        "a receive returns one record, and it is answered by one send: neither join records nor cut them";
    let opened = Conversation::open(subject).map_err(|trouble| trouble.wrong(&*expected, cure))?;
    opened.echo_records(&records).map_err(|trouble| trouble.wrong(&*expected, cure))
}

fn boundaries(subject: &Subject) -> Outcome {
    // As many as a socket holds before anything is read.
    records(subject, &[1, 1, 2, 3, 5, 8, 13, 89, 610, 1460, 4181, 8192, 1])
}

fn longest(subject: &Subject) -> Outcome {
    records(subject, &[LONGEST_RECORD])
}

//! What happens to probes, for whoever tells it.

/// One thing that has happened. A sequence number is that of a probe, from 1; times are in nanoseconds, `sent` by `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those that the sentence above explains")]
pub(super) enum Event {
    /// The whole answer to a probe came.
    Answered {
        sequence: u64,
        flow: u16,
        sent: u64,
        time: u64,
        /// Only after the time-out.
        is_late: bool,
        /// After the answer to a later probe of its flow.
        is_reordered: bool,
        ttl: Option<u8>,
        /// The TTL of the flow's answer before, if it was another one.
        ttl_before: Option<u8>,
    },
    /// A connection for one probe has done its work.
    Exchanged { sequence: u64, sent: u64, connect: u64, time: u64, close: Option<u64>, is_late: bool },
    /// Another answer to the same probe.
    Duplicate { sequence: u64, flow: u16, time: u64, ttl: Option<u8> },
    /// An answer that is not what was sent.
    Corrupt { sequence: Option<u64>, flow: u16, wrong: Wrong },
    /// What is no answer to this run.
    Stray { flow: u16, length: usize },
    /// No answer came in time, or its connection broke.
    Lost { sequence: u64, flow: u16, sent: u64 },
    /// The peer's host said that nobody listens there.
    Refused { sequence: u64, flow: u16, sent: u64, why: String },
    /// The kernel did not send it.
    Unsent { sequence: u64, flow: u16, sent: u64, why: String },
    /// So many could not be sent as planned.
    Skipped { first: u64, count: u64, planned: u64 },
    /// The connection sent again before the answer that was told last came.
    Retransmitted { count: u32 },
    /// Something else that concerns the run.
    Note(String),
}

/// How an answer differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It has so many bytes.
    Length(usize),
    /// Its first wrong byte is this one, if it is known of which probe.
    Bytes(Option<usize>),
}

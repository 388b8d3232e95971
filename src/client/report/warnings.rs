//! The words by which warnings are known, with what each means. A test holds this list against the engines.

/// Each word, what makes the figures doubtful, and whether the measurement is not valid because of it.
pub const WARNINGS: [(&str, &str, bool); 10] = [
    (
        "client-limited",
        "the client used up its processor, or the kernel dropped or refused messages on its side: the figures are those of the client",
        true,
    ),
    ("clock-stepped", "the clock of the wall was set during the run", true),
    (
        "closed-loop",
        "a send waits for an answer, so the client waits with a slow server: tails are a lower bound",
        false,
    ),
    ("connections-closed", "the server closed some of the connections, and the others carried on", true),
    (
        "dead-flows",
        "some source ports had no answer at all and others had one to everything: one path of several is broken",
        false,
    ),
    (
        "hurried",
        "a deadline ended the run while probes were still within their time; they count as lost",
        false,
    ),
    ("idle-closed", "the server closed some of the silent connections", true),
    (
        "left-out",
        "a mode that this machine does not have, or a row of the comparison that it cannot have",
        false,
    ),
    (
        "loop-guard",
        "datagrams were lost at a fixed step and nowhere else: the server withholds these answers on purpose",
        false,
    ),
    (
        "schedule-not-held",
        "more than 0.1 % of the probes were not sent within 10 ms of their planned moment",
        true,
    ),
];

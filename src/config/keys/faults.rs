//! The keys of a `[[faults]]`: a plan of what goes wrong on purpose, by the name that listeners call it by.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::config::{
    After, Chance, Chunk, Delay, DropBurst, Reorder, Stall, Truncate, everybody,
    fault_values::notations::{
        AFTER, BYTE_NUMBER, BYTE_RATE, CHANCE, CHUNK, DELAY, DROP_BURST, HOLD, REORDER, SEED, STALL, TRUNCATE,
    },
    keys::{
        Key,
        Preset::{Required, Unset, Value},
        Reload::Live,
        keys,
    },
    values::{NAME, NETWORKS, SWITCH},
};

keys! {
    /// One `[[faults]]`: a named plan of what goes wrong on purpose.
    FaultPlan, WrittenFaultPlan, FaultKeys = FAULTS;

    /// What a listener calls the plan by in its key `faults`.
    name: String = Key {
        value: &NAME, default: Required(|_| String::new()), needs: &[], reload: Live, example: "\"wifi\"",
    },
    /// The number that all decisions of the plan are computed from. The same seed makes the same decisions in every mode, with any
    /// number of workers, after every start. Without one it is drawn at the start; the log and `echod status` tell it.
    seed: Option<u64> = Key {
        value: &SEED, default: Unset("drawn at the start", |_| None), needs: &[], reload: Live, example: "42",
    },
    /// The networks whose clients the plan hits. Others are served as if there were no plan. A client of a unix socket has no
    /// address, so with this key none of them is hit.
    from: Arc<[IpNet]> = Key {
        value: &NETWORKS, default: Value(|_| everybody()), needs: &[], reload: Live,
        example: "[\"10.0.0.0/8\", \"127.0.0.0/8\"]",
    },
    /// Datagrams: how many replies are lost.
    drop: Chance = Key {
        value: &CHANCE, default: Value(|_| Chance(0)), needs: &[], reload: Live, example: "\"2%\"",
    },
    /// Datagrams: replies are lost in bursts (the model of Gilbert and Elliott). How likely a burst begins, and how likely it is over
    /// before the next reply: `"1% enter, 30% leave"` loses bursts of 3.3 replies on average.
    drop_burst: Option<DropBurst> = Key {
        value: &DROP_BURST, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"1% enter, 30% leave\"",
    },
    /// Datagrams: how many replies are sent twice. A sender that forges its address would double a flood, so a listener for other
    /// machines should name in `allow` which may use it.
    duplicate: Chance = Key {
        value: &CHANCE, default: Value(|_| Chance(0)), needs: &[], reload: Live, example: "\"0.5%\"",
    },
    /// Datagrams: how many replies are held until so many later ones to the same source have gone, for 100 ms at most, on top of
    /// a `delay`. A later one that is lost does not count, and one that is held itself only when it goes: of replies that are all
    /// held (`"100% by 1"`) none goes first, and each is 100 ms late.
    reorder: Option<Reorder> = Key {
        value: &REORDER, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"1% by 3\"",
    },
    /// Datagrams: in how many replies one bit is flipped. The place follows from the seed.
    corrupt: Chance = Key {
        value: &CHANCE, default: Value(|_| Chance(0)), needs: &[], reload: Live, example: "\"0.1%\"",
    },
    /// Datagrams: how many replies are cut short, and to which length. A reply that is not longer stays whole.
    truncate: Option<Truncate> = Key {
        value: &TRUNCATE, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"0.1% to 10B\"",
    },
    /// How late replies are: a time, `"20ms +-5ms"` (uniform) or `"normal 20ms, 5ms"` (mean and standard deviation), at most an hour.
    /// What a normal distribution has below zero counts as zero, and what it has above an hour as an hour. Each reply to a datagram is
    /// late by itself, so a spread also reorders them. On a stream it counts for each read, and for what a service says without being
    /// asked, and the order is kept.
    delay: Option<Delay> = Key {
        value: &DELAY, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"20ms +-5ms\"",
    },
    /// Streams: how long a new connection is neither read nor answered. The kernel completes the connection itself at once.
    accept_delay: Option<Duration> = Key {
        value: &HOLD, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"200ms\"",
    },
    /// Streams: answers leave in pieces of so many bytes at most, one in each such time.
    chunk: Option<Chunk> = Key {
        value: &CHUNK, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"7B every 1ms\"",
    },
    /// Streams: how many bytes a connection is answered in a second.
    rate: Option<u64> = Key {
        value: &BYTE_RATE, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"64kB/s\"",
    },
    /// Streams: the lowest bit of this byte of the answers is flipped; the first byte is `"1B"`.
    corrupt_at: Option<u64> = Key {
        value: &BYTE_NUMBER, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"1000B\"",
    },
    /// Streams: after so many bytes of answers, or so long after the connection was accepted, it is neither read nor answered for a
    /// while: the client's window fills. `"64KiB for ever"` ends with the limits of the listener, such as `idle-timeout`, or when the
    /// client resets the connection.
    stall_after: Option<Stall> = Key {
        value: &STALL, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"64KiB for 5s\"",
    },
    /// Streams: the connection is closed in order (FIN) after exactly so many bytes of answers, or so long after it was accepted.
    close_after: Option<After> = Key {
        value: &AFTER, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"4KiB\"",
    },
    /// Streams: the connection is reset (RST) after exactly so many bytes of answers, once the client's kernel has acknowledged
    /// them all, or so long after it was accepted. A unix socket knows a reset only while it has unread input.
    reset_after: Option<After> = Key {
        value: &AFTER, default: Unset("none", |_| None), needs: &[], reload: Live, example: "\"4KiB\"",
    },
    /// Streams: how many connections are reset as soon as they are accepted.
    reset_now: Chance = Key {
        value: &CHANCE, default: Value(|_| Chance(0)), needs: &[], reload: Live, example: "\"5%\"",
    },
    /// Streams: a client that has ended its side is not answered with an end of ours: the connection stays.
    ignore_half_close: bool = Key {
        value: &SWITCH, default: Value(|_| false), needs: &[], reload: Live, example: "true",
    },
}

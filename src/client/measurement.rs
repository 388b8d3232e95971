//! What a run has found out. The engines of `ping` and `bench` fill it, and the report is made of nothing else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::{histogram::Histogram, target::Target};

/// One run of `echod ping` or `echod bench`.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// `ping`, `bench` or `compare`.
    pub kind: &'static str,
    /// When it began, by the clock of the wall.
    pub started: SystemTime,
    /// From the first send to the last answer that was waited for, without the warm-up.
    pub duration: Duration,
    /// How long it sent without measuring.
    pub warm_up: Duration,
    /// Where receive times came from: `kernel` or `user`.
    pub timestamps: &'static str,
    /// What was asked for.
    pub settings: Settings,
    /// What each target did, in the order of the command line.
    pub targets: Vec<TargetResult>,
    /// What makes the figures doubtful.
    pub warnings: Vec<Warning>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bytes of a probe.
    pub size: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Time between the probes of `ping`.
    pub interval: Option<Duration>,
    /// Messages a second of an open loop.
    pub rate: Option<u64>,
    /// Connections or source ports.
    pub connections: u32,
    /// Messages in flight on each connection of a closed loop.
    pub window: Option<u32>,
    /// Rounds that were merged.
    pub rounds: u32,
    /// Silent connections beside.
    pub idle: u32,
}

/// How sends and answers depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Sends follow a plan, whatever comes back.
    Open,
    /// A send waits for an answer, so the client waits with a slow server.
    Closed,
}

/// What one target did.
#[derive(Clone, Debug)]
pub struct TargetResult {
    /// The server.
    pub target: Target,
    /// How it was asked.
    pub model: Model,
    /// What became of the probes: each has exactly one fate.
    pub fates: Fates,
    /// What the replies were besides.
    pub replies: Replies,
    /// From the planned moment of the send to the answer; only in an open loop with a plan.
    pub response: Option<Histogram>,
    /// From the send to the answer.
    pub service: Histogram,
    /// Time to connect.
    pub connect: Option<Histogram>,
    /// Time from our end of the connection to the server's.
    pub close: Option<Histogram>,
    /// Differences between successive times, without their sign (RFC 3393).
    pub ipdv: Option<Histogram>,
    /// How late sends were, against the plan.
    pub schedule_error: Option<Histogram>,
    /// The first probe, which pays for routes and caches, if it is kept apart.
    pub first: Option<u64>,
    /// The lowest and the highest TTL or hop limit of answers.
    pub ttl: Option<(u8, u8)>,
    /// Each round by itself.
    pub rounds: Vec<Round>,
    /// Each source port by itself.
    pub flows: Vec<Flow>,
    /// Errors by word: TIMEOUT, DNS, REFUSED, OTHER.
    pub errors: BTreeMap<&'static str, u64>,
    /// The server itself, where the client started it.
    pub server: Option<Server>,
}

impl TargetResult {
    /// That of a target of which nothing is known yet.
    pub fn new(target: Target, model: Model) -> TargetResult {
        TargetResult {
            target,
            model,
            fates: Fates::default(),
            replies: Replies::default(),
            response: None,
            service: Histogram::default(),
            connect: None,
            close: None,
            ipdv: None,
            schedule_error: None,
            first: None,
            ttl: None,
            rounds: Vec::new(),
            flows: Vec::new(),
            errors: BTreeMap::new(),
            server: None,
        }
    }

    /// Adds what the same target did in other rounds.
    pub fn add(&mut self, other: TargetResult) {
        self.fates.add(&other.fates);
        self.replies.add(&other.replies);
        self.service.add(&other.service);
        for (own, other) in [
            (&mut self.response, &other.response),
            (&mut self.connect, &other.connect),
            (&mut self.close, &other.close),
            (&mut self.ipdv, &other.ipdv),
            (&mut self.schedule_error, &other.schedule_error),
        ] {
            if let Some(other) = other {
                own.get_or_insert_default().add(other);
            }
        }
        self.rounds.extend(other.rounds);
        other.errors.into_iter().for_each(|(word, count)| *self.errors.entry(word).or_default() += count);
        if let (Some(own), Some(other)) = (&mut self.server, other.server) {
            own.add(&other);
        }
    }
}

/// A server that the client started to compare it with others: all its processes together.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its concurrency mode.
    pub mode: String,
    /// Silent connections that it held beside.
    pub idle: u32,
    /// Processor time, its own and the kernel's for it, while it was measured.
    pub cpu: Duration,
    /// Echoes in that time.
    pub echoes: u64,
    /// System calls for each of them, where something counts them.
    pub calls_per_echo: Option<f64>,
    /// Bytes of memory with all connections open (PSS).
    pub memory: Option<u64>,
    /// Open descriptors then.
    pub descriptors: Option<u64>,
    /// Processes then.
    pub processes: u32,
}

impl Server {
    /// Adds what it did in other rounds. Of what it held at once, the most counts.
    pub fn add(&mut self, other: &Server) {
        self.cpu += other.cpu;
        self.echoes += other.echoes;
        self.memory = self.memory.max(other.memory);
        self.descriptors = self.descriptors.max(other.descriptors);
        self.processes = self.processes.max(other.processes);
    }

    /// Processor time for an echo in nanoseconds, if there were any.
    pub fn cpu_per_echo(&self) -> Option<f64> {
        (self.echoes > 0).then(|| self.cpu.as_nanos() as f64 / self.echoes as f64)
    }
}

/// The exclusive fates of probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Probes that were to be sent: the sum of all others.
    pub planned: u64,
    /// Answered in time, every byte as sent.
    pub ok: u64,
    /// Answered after the time-out.
    pub late: u64,
    /// Sent, and not answered.
    pub lost: u64,
    /// The peer's host said that nobody listens there.
    pub refused: u64,
    /// The kernel of the client would not send it.
    pub unsent: u64,
    /// The plan could not be held.
    pub skipped: u64,
}

impl Fates {
    /// Probes that left.
    pub fn sent(&self) -> u64 {
        self.ok + self.late + self.lost + self.refused
    }

    /// Adds those of another round.
    pub fn add(&mut self, other: &Fates) {
        self.planned += other.planned;
        self.ok += other.ok;
        self.late += other.late;
        self.lost += other.lost;
        self.refused += other.refused;
        self.unsent += other.unsent;
        self.skipped += other.skipped;
    }
}

/// What replies were, besides the fates of their probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// Answers to a probe that had been answered.
    pub duplicate: u64,
    /// Answers that came after one to a later probe of the same flow.
    pub reordered: u64,
    /// Answers whose length or bytes differ from what was sent.
    pub corrupt: u64,
    /// What is no answer to this run.
    pub stray: u64,
    /// Answers over a connection that sent again meanwhile (`tcpi_total_retrans`, tcp(7)).
    pub retransmitted: u64,
}

impl Replies {
    /// Adds those of another round.
    pub fn add(&mut self, other: &Replies) {
        self.duplicate += other.duplicate;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.stray += other.stray;
        self.retransmitted += other.retransmitted;
    }
}

/// One round of several.
#[derive(Clone, Debug)]
pub struct Round {
    /// How long it was.
    pub duration: Duration,
    /// The fates of its probes.
    pub fates: Fates,
    /// From the planned moment, in an open loop.
    pub response: Option<Histogram>,
    /// From the send.
    pub service: Histogram,
    /// Processor time of the client's loop.
    pub cpu: Duration,
}

/// One source port of several.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Where its probes come from.
    pub source: Option<SocketAddr>,
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub ok: u64,
    /// The lowest and the highest TTL or hop limit of its answers.
    pub ttl: Option<(u8, u8)>,
}

/// What makes figures doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A stable word, such as `client-limited`.
    pub id: &'static str,
    /// The reason, with its figures.
    pub text: String,
    /// Whether the measurement is not valid because of it (`--strict`).
    pub is_fatal: bool,
}

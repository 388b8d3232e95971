//! The options of the client's commands.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{help, target::Families, variant::Variant};
use crate::config::Dscp;

// No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::PING)]
pub struct Ping {
    /// Send so many probes, then stop; without it, until Ctrl-C
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Time between probes; a number without unit is in seconds
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub interval: Duration,

    /// Bytes of a probe
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    pub size: usize,

    /// How long a probe may take; an answer that comes later is counted as late
    #[arg(short = 'W', long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub timeout: Duration,

    /// Stop after this time
    #[arg(short = 'w', long, value_name = "TIME", value_parser = duration)]
    pub deadline: Option<Duration>,

    /// Spread datagrams over so many source ports, and report each: shows a dead path of several (ECMP, LAG)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), conflicts_with = "connect")]
    pub flows: u16,

    /// A connection for each probe: measures connect, echo and close
    #[arg(long)]
    pub connect: bool,

    /// Print a summary of all so far at this interval
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub report_every: Option<Duration>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

// No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::BENCH)]
pub struct Bench {
    /// How long each round measures, and each step of --search
    #[arg(short, long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub duration: Duration,

    /// Open loop: send so many messages a second over all connections, on a plan that does not wait for answers
    #[arg(long, value_name = "N", value_parser = number, conflicts_with_all = ["window", "search"])]
    pub rate: Option<u64>,

    /// So many connections, or source ports of datagrams
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Closed loop: so many messages in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: u32,

    /// Find the highest rate at which this holds, such as 'p99<1ms'
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["compare"])]
    pub search: Option<String>,

    /// Hold so many silent connections beside; with --compare several numbers, one row each
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    pub idle: Vec<u32>,

    /// Send before the first round without measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warm_up: Duration,

    /// Measure so many rounds; their times are merged, and the spread of the rounds is told
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Bytes of a message
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    pub size: usize,

    /// How long a message may take; an answer that comes later is counted as late
    #[arg(short = 'W', long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub timeout: Duration,

    /// Wait for the moment of a send on the processor: exact, and at the cost of one core
    #[arg(long)]
    pub spin: bool,

    /// Measure a target that is not this machine
    #[arg(long)]
    pub remote: bool,

    /// Compare these modes of echod (also epoll-edge, with trigger "edge"), or all: each is started on a port of its own and measured in turn
    #[arg(long, value_name = "MODE,...", value_delimiter = ',', num_args = 0..=1, value_parser = Variant::read, conflicts_with = "remote")]
    pub compare: Option<Vec<Variant>>,

    /// With --compare and udp://: a row more, in which the kernel echoes (key `offload`); it needs Linux 6.6 and root
    #[arg(long, requires = "compare")]
    pub offload: bool,

    /// Draw the latency distributions, and with --compare the cost over idle connections, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

// No doc comment: it would stand in the help in place of the command's.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
#[command(after_help = help::SELFTEST)]
pub struct Selftest {
    /// How long an answer may take
    #[arg(short = 'W', long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub timeout: Duration,

    /// The service of the servers; left out, a well-known port tells (7, 9, 13, 17, 19, 37), else it is echo
    #[arg(long, value_name = "SERVICE", value_parser = ["echo", "discard", "chargen", "qotd", "daytime", "time", "whoami"])]
    pub service: Option<String>,

    /// The server to test; tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unix-seqpacket:PATH or unix-datagram:PATH
    #[arg(value_name = "URL", required = true)]
    pub targets: Vec<String>,
}

// What `ping` and `bench` have in common. No doc comment, as above.
#[allow(missing_docs)]
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Only IPv4 addresses of a name
    #[arg(short = '4', conflicts_with = "six", help_heading = "Sockets")]
    pub four: bool,

    /// Only IPv6 addresses of a name
    #[arg(short = '6', help_heading = "Sockets")]
    pub six: bool,

    /// Send from this address, and port
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = source, help_heading = "Sockets")]
    pub source: Option<SocketAddr>,

    /// Send through this interface
    #[arg(long, value_name = "INTERFACE", help_heading = "Sockets")]
    pub device: Option<String>,

    /// Mark packets: 0 to 63, or a name such as EF, AF41, CS6
    #[arg(long, value_name = "DSCP", value_parser = dscp, help_heading = "Sockets")]
    pub dscp: Option<u8>,

    /// Hops that packets may take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), help_heading = "Sockets")]
    pub ttl: Option<u8>,

    /// Set the bit that forbids routers to fragment
    #[arg(long, help_heading = "Sockets")]
    pub dont_fragment: bool,

    /// Which clock tells when an answer arrived: that of the kernel, where it stamps datagrams, or ours
    #[arg(long, value_enum, default_value_t = Timestamps::Kernel, help_heading = "Sockets")]
    pub timestamps: Timestamps,

    /// How the report is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text, help_heading = "Report")]
    pub output: Output,

    /// Write the JSON report to this file too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub save: Option<PathBuf>,

    /// Write the distribution of times to this file, as HdrHistogram plots it
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hdr: Option<PathBuf>,

    /// Exit with 1 if this is true, such as 'p99>2ms || loss>0.1%'; may be repeated
    #[arg(long, value_name = "CONDITION", help_heading = "Report")]
    pub fail_if: Vec<String>,

    /// Exit with 75 if the measurement itself was not valid
    #[arg(long, help_heading = "Report")]
    pub strict: bool,

    /// Only the summary, and no warning
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,

    /// The server; tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unix-seqpacket:PATH or unix-datagram:PATH, with @NAME for an abstract PATH
    #[arg(value_name = "URL")]
    pub targets: Vec<String>,
}

impl Common {
    /// The families of addresses that `-4` and `-6` leave.
    pub fn families(&self) -> Families {
        match (self.four, self.six) {
            (true, _) => Families::V4,
            (_, true) => Families::V6,
            _ => Families::Any,
        }
    }
}

/// The source of receive times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Timestamps {
    /// The kernel stamps datagrams when they arrive (SO_TIMESTAMPING, socket(7)).
    Kernel,
    /// The client reads the clock when it has received.
    User,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people, and for parsers of ping(8).
    Text,
    /// One object at the end.
    Json,
    /// A line for each probe, then the object.
    Jsonl,
    /// A line for each target.
    Csv,
    /// A table.
    Markdown,
}

/// `250us`, `1.5s`, `2m`; without unit in seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{}` is no time; write a number and ns, us, ms, s, m or h, such as 250ms",
            text.escape_debug()
        )
    };
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

/// `20000`, `20k`, `1.5M`.
fn number(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{}` is no number; write one such as 20000, 20k or 1M", text.escape_debug());
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let number = number * factor;
    if !(1.0..=1e12).contains(&number) || number.fract() != 0.0 {
        return Err(wrong());
    }
    // In the range of an f64 that holds whole numbers exactly.
    Ok(number as u64)
}

/// `192.0.2.7`, `192.0.2.7:9`, `[::1]:9`.
fn source(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, 0));
    text.parse().or_else(|_| alone()).map_err(|_| {
        format!("`{}` is no address; write one such as 192.0.2.7 or [2001:db8::7]:4000", text.escape_debug())
    })
}

fn dscp(text: &str) -> Result<u8, String> {
    // A short form of VOICE-ADMIT.
    let name = if text.eq_ignore_ascii_case("VA") { "VOICE-ADMIT" } else { text };
    let value = Dscp::named(name).or_else(|| text.parse().ok()).filter(|value| *value < 64);
    value.ok_or_else(|| {
        format!("`{}` is no DSCP; write 0 to 63, or a name such as EF, AF41 or CS6", text.escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("250µs"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "1 day", "-1s", "1e400s", "ms1"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_may_be_in_thousands() {
        assert_eq!(number("20k"), Ok(20_000));
        assert_eq!(number("1.5M"), Ok(1_500_000));
        for text in ["0", "-1", "1.5", "k", "1e99", "nan"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_source_may_have_a_port() {
        assert_eq!(source("192.0.2.7"), Ok("192.0.2.7:0".parse().unwrap()));
        assert_eq!(source("[::1]"), Ok("[::1]:0".parse().unwrap()));
        assert_eq!(source("[::1]:9"), Ok("[::1]:9".parse().unwrap()));
        assert!(source("localhost").is_err());
    }

    #[test]
    fn marks_have_names() {
        assert_eq!((dscp("ef"), dscp("AF41"), dscp("63")), (Ok(46), Ok(34), Ok(63)));
        assert!(dscp("64").is_err() && dscp("best").is_err());
    }
}

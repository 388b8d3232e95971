//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
    parser::ValueSource,
};

#[cfg(feature = "client")]
use crate::client::options;
use crate::config::{Inputs, Log, LogFormat, LogLevel, LogTarget};
#[cfg(feature = "observe")]
use crate::observe;

mod advice;
mod question;

pub use question::{Explain, FaultsCommand, FaultsQuestion, Preview, PreviewOutput};

/// A standalone echo daemon: tcp, udp and unix sockets, each with its own concurrency mode and service.
///
/// Without a file and without `--listen` it serves echo on tcp and udp port 7777 of this machine only, and on the unix
/// socket echod.sock in the runtime directory, if there is one.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = KEYS, after_long_help = LONG_END)]
pub struct Cli {
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Read the listeners from a TOML file
    #[arg(short, long, value_name = "FILE", help_heading = "What to serve")]
    pub config: Option<PathBuf>,

    /// Serve a listener written as a URL, beside those of the file; may be repeated
    ///
    /// Forms are tcp://HOST:PORT, udp://HOST:PORT, unix:PATH, unix-seqpacket:PATH and unix-datagram:PATH, or @NAME in the place of PATH.
    /// Every key of a listener may follow as a parameter: ?mode=forking&service=upper&allow=192.0.2.0/24,::1.
    #[arg(short, long, value_name = "URL", help_heading = "What to serve")]
    pub listen: Vec<String>,

    /// Check everything, print what would run, and exit
    #[arg(long, help_heading = "Instead of serving", conflicts_with = "print_config")]
    pub check: bool,

    /// Print the configuration with every value that is in effect, as TOML, and exit
    #[arg(long, help_heading = "Instead of serving")]
    pub print_config: bool,

    /// Serve the client on standard input, and exit: for inetd, a socket unit with Accept=yes, or a pair of pipes
    #[arg(long, help_heading = "Instead of serving", conflicts_with_all = ["config", "listen", "check", "print_config", "announce"])]
    pub inetd: bool,

    /// Service for that client; without it, echo
    #[arg(long, value_name = "SERVICE", value_parser = SERVICES, help_heading = "Instead of serving", requires = "inetd", conflicts_with_all = ["config", "listen", "check", "print_config", "probe", "daemonize", "announce"])]
    pub service: Option<String>,

    /// Send a message to a listener, and exit: with 0 if it has come back within 2 seconds, else with 69
    ///
    /// A check of health. The URL is that of --listen, without parameters; the service must be echo, or whoami, whose answer counts too.
    #[arg(long, value_name = "URL", help_heading = "Instead of serving", conflicts_with_all = ["config", "listen", "check", "print_config", "inetd", "daemonize", "announce", "verbose", "quiet", "log_level", "log_format"])]
    pub probe: Option<String>,

    /// Leave the terminal: exit once all are served, with the daemon in the background, or with what prevented that
    #[arg(short, long, help_heading = "Output", conflicts_with_all = ["check", "print_config", "inetd"])]
    pub daemonize: bool,

    /// Print a line of JSON for each socket on standard output, then close it, once all are served
    #[arg(long, help_heading = "Output", conflicts_with_all = ["check", "print_config"])]
    pub announce: bool,

    /// Log one level more; may be repeated
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,

    /// Log one level less; may be repeated
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub quiet: u8,

    /// Log up to this level, whatever the file and ECHOD_LOG say
    #[arg(long, value_name = "LEVEL", value_parser = level_parser(), help_heading = "Output")]
    pub log_level: Option<LogLevel>,

    /// Write log lines for people or for programs
    #[arg(long, value_name = "FORMAT", value_parser = format_parser(), help_heading = "Output")]
    pub log_format: Option<LogFormat>,
}

/// What to do instead of serving.
#[derive(Clone, Debug, Subcommand)]
#[command(defer = true)] // Options are defined when their command is asked for: a daemon would hold all in memory.
pub enum Command {
    /// Explain decision by decision whether a listener admits a client
    ///
    /// The exit code is 0 if it is admitted, as far as the limits allow, and 77 if it is refused.
    Explain(Explain),

    /// Tell beforehand what a plan of faults will do, or what plans can do
    Faults(FaultsQuestion),

    /// Send a probe a second to an echo server, this one or any other, and tell how long each took
    ///
    /// Every byte of an answer is checked. The summary at the end is in the words of ping(8).
    #[cfg(feature = "client")]
    Ping(options::Ping),

    /// Measure how fast servers answer, and how much they can do
    ///
    /// The server may be any that echoes. The exit code is 0 if it has answered, 1 if a condition of --fail-if is true, 69 if it has
    /// not answered, and 75 with --strict if the figures are doubtful.
    #[cfg(feature = "client")]
    Bench(Box<options::Bench>),

    /// Hold a live server, this one or any other, to the RFC of its service
    ///
    /// Prints a line for each check (TAP version 14). The exit code is 0 if all is as the RFC says, 1 if something is not, and 69 if
    /// nobody answered.
    #[cfg(feature = "client")]
    Selftest(options::Selftest),

    /// Show what a running daemon serves, and what has happened since its start
    ///
    /// The daemon is asked at its HTTP endpoint, which [observe] of its configuration switches on. The exit code is 0 if it
    /// answers, 69 if nobody does, and 77 if the permission to ask is missing.
    #[cfg(feature = "observe")]
    Status(observe::options::StatusOptions),

    /// Show the listeners of a running daemon and their connections, with rates, and renew that every second
    ///
    /// Connections are read from the kernel, so their list costs the daemon nothing. On a terminal, q quits and s changes the order.
    #[cfg(feature = "observe")]
    Top(observe::options::TopOptions),

    /// Print the metrics of a running daemon, or the list of them
    #[cfg(feature = "observe")]
    Metrics(observe::options::MetricsOptions),
}

impl Cli {
    /// Parses a command line, whose first argument is the name of the program. Options without effect are refused.
    ///
    /// # Errors
    /// The command line is wrong (with advice, if the intention can be guessed), or help or the version was requested.
    pub fn read(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let matches = command
            .try_get_matches_from_mut(&arguments)
            .map_err(|error| advice::add(error, advice::Context::of(&arguments)))?;
        if let Some((name, _)) = matches.subcommand() {
            // `explain` and `faults` read the same inputs, wherever they stand.
            let shared = if matches!(name, "explain" | "faults") { &["config", "listen"][..] } else { &[] };
            let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            let mut options = command.get_arguments().map(|option| option.get_id().as_str());
            let option = options.find(|id| !shared.contains(id) && given(id)).map(|id| id.replace('_', "-"));
            drop(options);
            if let Some(option) = option {
                let text = format!("the argument '--{option}' cannot be used with the command '{name}'");
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Self::from_arg_matches(&matches)
    }

    /// The inputs of the configuration.
    pub fn inputs(&self) -> Inputs {
        let mut inputs = Inputs { file: self.config.clone(), listen: self.listen.clone() };
        let own = match &self.command {
            Some(Command::Explain(question)) => Some((&question.config, &question.listen)),
            Some(Command::Faults(FaultsQuestion { command: FaultsCommand::Preview(preview) })) => {
                Some((&preview.config, &preview.listen))
            }
            _ => None,
        };
        if let Some((config, listen)) = own {
            inputs.file = config.clone().or(inputs.file);
            inputs.listen.extend(listen.iter().cloned());
        }
        inputs
    }

    /// Adjusts `log`: `--log-level` wins over `ECHOD_LOG`, which wins over the file; then each `-v` and `-q` adds or removes
    /// a level.
    pub fn adjust(&self, log: &mut Log, echod_log: Option<&str>) -> Result<(), String> {
        let from_environment = match echod_log.filter(|word| self.log_level.is_none() && !word.is_empty()) {
            Some(word) => Some(LogLevel::from_word(word).ok_or_else(|| unknown_level(word))?),
            None => None,
        };
        let level = self.log_level.or(from_environment).unwrap_or(log.level);
        let more = isize::from(i16::from(self.verbose) - i16::from(self.quiet));
        log.level = level.louder(more);
        log.format = self.log_format.unwrap_or(log.format);
        if self.daemonize && log.target == LogTarget::Auto {
            log.target = LogTarget::Syslog;
        }
        Ok(())
    }
}

const KEYS: &str = "`man echod.toml` explains every key of the file; `echod --print-config` prints them all. \
                    `echod --help` says more.";

const LONG_END: &str = "\
Examples:
  echod                                  serve the default
  echod -l tcp://127.0.0.1:7777 -vv      one listener, all that can be logged
  echod -l 'udp://[::1]:7?mode=forking'  the address decides about IPv4 and IPv6
  echod -l 'unix:@test?service=upper&payload=text'
  echod -c echod.toml --check            is the file right?
  echod --print-config > echod.toml      a file to begin with
  echod explain -c echod.toml --listener udp --from 192.0.2.7
                                         would that address be let in?

Modes, for ?mode= and the key `mode` (left out, it is epoll):
  iterative            one client after the other
  threading, forking   a thread or a process for each connection
  select, poll, epoll  an event loop: one thread for many connections
  io-uring             the same, but the kernel carries the bytes: fewest calls
                       (Linux 6.1; ?fallback=epoll where it may be denied)

Environment:
  ECHOD_LOG          off, error, warn, info, debug or trace
  FDSTORE            how many sockets the service manager keeps over a restart
                     (FileDescriptorStoreMax=); systemd sets it since 254
  ECHOD_FDSTORE      the same, where FDSTORE is not set
  RUNTIME_DIRECTORY  what %t in the path of a unix socket stands for; else it is
                     XDG_RUNTIME_DIR, else /run for root
  ECHOD_NODE         the node, which service whoami tells
  ECHOD_POD          the pod, the same

Signals:
  TERM, INT  answer what has arrived, then exit; a second one exits at once
  QUIT       exit at once
  HUP        read the configuration again
  USR1       log the state of every listener

Exit codes:
  0   stopped as asked, or nothing was left to serve
  64  wrong command line
  66  the file cannot be read
  69  an address cannot be bound; --probe: no echo
  70  a fault of echod itself
  74  --inetd: standard output cannot be written
  75  the pid file is held by another process
  77  permission denied; explain: refused
  78  wrong configuration

`man echod.toml` explains every key of the file and its default;
`echod --print-config` prints the values that are in effect.";

/// Values of `--service`.
const SERVICES: [&str; 8] = ["echo", "upper", "discard", "chargen", "qotd", "daytime", "time", "whoami"];

/// Names of [`LogLevel::ALL`].
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn level_parser() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(LEVELS)
        .try_map(|word| LogLevel::from_word(&word).ok_or_else(|| unknown_level(&word)))
}

fn format_parser() -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new(["text", "json"]).map(|word| match word.as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    })
}

fn unknown_level(word: &str) -> String {
    let words = LEVELS.join(", ");
    format!(
        "cannot use log level `{}` of ECHOD_LOG: there is no such level; use one of {words}",
        word.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(arguments: &[&str], echod_log: Option<&str>) -> Result<Log, String> {
        let cli = Cli::try_parse_from(["echod"].iter().chain(arguments)).unwrap();
        let (format, target) = (LogFormat::Text, LogTarget::Auto);
        let mut log = Log { level: LogLevel::Info, format, target, file: None };
        cli.adjust(&mut log, echod_log).map(|()| log)
    }

    fn level(arguments: &[&str], echod_log: Option<&str>) -> LogLevel {
        adjusted(arguments, echod_log).unwrap().level
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        assert_eq!(LEVELS.map(LogLevel::from_word), LogLevel::ALL.map(Some));
    }

    #[test]
    fn the_most_specific_level_wins() {
        assert_eq!(level(&[], None), LogLevel::Info);
        assert_eq!(level(&[], Some("")), LogLevel::Info);
        assert_eq!(level(&[], Some("error")), LogLevel::Error);
        assert_eq!(level(&["--log-level", "trace"], Some("error")), LogLevel::Trace);
        assert_eq!(level(&["--log-level", "warn", "-v"], None), LogLevel::Info);
        assert_eq!(level(&["-q"], Some("error")), LogLevel::Off);
        assert_eq!(level(&["-qqqq", "-v"], None), LogLevel::Off);
        assert_eq!(level(&["-vvvvvv"], None), LogLevel::Trace);
        assert_eq!(adjusted(&["--log-format", "json"], None).unwrap().format, LogFormat::Json);
        assert_eq!(adjusted(&[], None).unwrap().target, LogTarget::Auto);
        assert_eq!(adjusted(&["--daemonize"], None).unwrap().target, LogTarget::Syslog);
    }

    #[test]
    fn a_bad_level_in_the_environment_is_an_error() {
        let text = adjusted(&[], Some("loud")).unwrap_err();
        assert!(text.starts_with("cannot use log level `loud` of ECHOD_LOG: "), "{text}");
        assert!(text.ends_with("use one of off, error, warn, info, debug, trace"), "{text}");
        assert_eq!(level(&["--log-level", "warn"], Some("loud")), LogLevel::Warn);
    }

    #[test]
    fn listeners_are_collected() {
        let cli =
            Cli::try_parse_from(["echod", "-c", "a", "-l", "tcp://[::1]:7", "--listen", "unix:@x"]).unwrap();
        let expected =
            Inputs { file: Some("a".into()), listen: vec!["tcp://[::1]:7".into(), "unix:@x".into()] };
        assert_eq!(cli.inputs(), expected);
        assert!(Cli::try_parse_from(["echod", "--check", "--print-config"]).is_err());
    }

    #[test]
    fn options_that_would_have_no_effect_are_refused() {
        let refused = |line: &str| match Cli::read(line.split(' ')) {
            Ok(_) => panic!("{line} was taken"),
            Err(error) => error.to_string(),
        };
        let explain = "explain --listener tcp --from 192.0.2.1";
        let others = [
            "-c f",
            "-l tcp://[::1]:7",
            "--check",
            "--print-config",
            "-d",
            "--announce",
            "--probe tcp://[::1]:7",
        ];
        for other in others {
            for line in
                [format!("echod --inetd --service upper {other}"), format!("echod {other} --service upper")]
            {
                assert!(refused(&line).contains("cannot be used with"), "{line}: {}", refused(&line));
            }
        }
        assert!(refused("echod --service upper").contains("--inetd"));
        for other in &others[2..] {
            let text = refused(&format!("echod {other} {explain}"));
            assert!(text.contains("cannot be used with the command 'explain'"), "{other}: {text}");
        }
        for other in ["-v", "-q", "--log-level info", "--log-format json"] {
            assert!(refused(&format!("echod {other} {explain}")).contains("cannot be used with"), "{other}");
            assert!(
                refused(&format!("echod {other} --probe unix:x")).contains("cannot be used with"),
                "{other}"
            );
        }
        for other in &others[..2] {
            assert!(Cli::read(format!("echod {other} {explain}").split(' ')).is_ok(), "{other}");
            assert!(Cli::read(format!("echod {explain} {other}").split(' ')).is_ok(), "{other}");
        }
    }

    #[test]
    fn help_names_what_it_should() {
        let help = Cli::command().render_long_help().to_string();
        for word in [
            "ECHOD_LOG",
            "Examples:",
            "Modes, ",
            "Exit codes:",
            "man echod.toml",
            "echod --print-config",
            "What to serve:",
            "possible values",
        ] {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }
}

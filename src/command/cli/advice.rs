//! Advice for a wrong command line: words and options of other daemons, and values written without their option.

use std::ffi::OsString;

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::config;

/// Which command the line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// None, or one that is unknown.
    Daemon,
    /// `explain`.
    Explain,
    /// One that measures a server.
    Client,
}

impl Context {
    /// That of a whole command line.
    pub(super) fn of(arguments: &[OsString]) -> Context {
        let has = |name: &str| arguments.iter().any(|word| word == name);
        match CLIENT.iter().find(|name| has(name)) {
            _ if has("explain") => Context::Explain,
            Some(_) => Context::Client,
            None => Context::Daemon,
        }
    }
}

/// The commands that measure a server.
const CLIENT: &[&str] = if cfg!(feature = "client") { &["ping", "bench", "selftest"] } else { &[] };

/// Adds the likely intention to `error`.
pub(super) fn add(mut error: Error, context: Context) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let word = text(ContextKind::InvalidSubcommand).or_else(|| text(ContextKind::InvalidArg));
    let wrong = matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument);
    let Some(tip) = word.filter(|_| wrong).and_then(|word| intention(&word, context)) else { return error };
    // The similarly spelled option that clap suggests is mostly unrelated.
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    error
}

/// What to type instead of `word`.
fn intention(word: &str, context: Context) -> Option<String> {
    let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
    match word.strip_prefix('-') {
        Some(_) if context == Context::Client => client_option(name).map(str::to_owned),
        Some(_) => option(name),
        None if context == Context::Explain => {
            Some("`echod explain --listener NAME --from ADDRESS[:PORT]`".to_owned())
        }
        None => argument(word),
    }
}

/// What to type instead of an unknown option.
fn option(name: &str) -> Option<String> {
    Some(match name {
        "p" | "P" | "port" | "host" | "bind" | "b" | "address" | "ip" | "interface" | "tcp" | "udp"
        | "unix" | "protocol" | "socket" | "u" | "t" | "a" | "4" | "6" => {
            "a listener is one URL: `echod --listen tcp://127.0.0.1:7777`, `udp://…` or `unix:PATH`"
                .to_owned()
        }
        "f" | "file" | "conf" | "configuration" | "config-file" | "C" | "cfg" => {
            "`echod --config FILE`".to_owned()
        }
        "foreground" | "F" | "n" | "no-daemon" | "nodaemon" | "no-fork" => {
            "leave it out: echod stays in the foreground, unless it is told to `--daemonize`".to_owned()
        }
        "D" | "daemon" | "background" | "fork" | "detach" => "`echod --daemonize`".to_owned(),
        "debug" | "x" => "`echod -v` logs one level more, `--log-level debug` that much".to_owned(),
        "silent" => "`echod --quiet`".to_owned(),
        "test" | "T" | "dry-run" | "validate" | "configtest" | "check-config" => "`echod --check`".to_owned(),
        "user" | "group" | "pid-file" | "pidfile" | "drain-timeout" | "sandbox" | "exit-idle-time"
        | "chroot" => "that is said in a file: `man echod.toml`, section [daemon]".to_owned(),
        "log-file" | "logfile" | "log-target" | "syslog" => {
            "that is said in a file: `man echod.toml`, section [log]".to_owned()
        }
        "connect" | "client" | "ping" | "send" | "health" | "healthcheck" | "health-check" => {
            "`echod --probe URL` asks a listener for an echo".to_owned()
        }
        "s" | "k" | "signal" => {
            "send it a signal: `kill -HUP PID` reads the configuration again, `kill -TERM PID` stops it"
                .to_owned()
        }
        "json" => "`echod --log-format json`".to_owned(),
        "list" | "show" | "defaults" | "dump" | "dump-config" => "`echod --print-config`".to_owned(),
        "stop" | "reload" | "restart" | "status" | "start" | "serve" | "quit" => argument(name)?,
        name if config::is_listener_key(name) => {
            format!(
                "that is said of each listener: `echod --listen 'tcp://127.0.0.1:7777?{name}=…'`, or in a file"
            )
        }
        _ => return None,
    })
}

/// What to type instead of an option that other clients have.
fn client_option(name: &str) -> Option<&'static str> {
    Some(match name {
        "p" | "P" | "port" | "host" | "H" | "tcp" | "udp" | "unix" | "protocol" | "u" | "l" | "listen" => {
            "the server is one URL: `echod ping udp://HOST:7`, `tcp://…` or `unix:PATH`"
        }
        "I" | "interface" => "`--device INTERFACE` or `--source ADDR`",
        "Q" | "tos" | "z" => "`--dscp EF`",
        "M" | "df" | "pmtudisc" => "`--dont-fragment`",
        "t" | "hops" | "m" => "`--ttl N`",
        "f" | "flood" | "A" | "adaptive" => "`echod bench URL` sends as fast as answers come",
        "n" | "numeric" | "D" | "O" => "leave it out: addresses are printed, and each probe that is lost",
        "json" | "csv" | "format" => "`--output json`, `jsonl`, `csv` or `markdown`",
        "packets" | "number" => "`--count N`",
        "ports" | "paths" | "ecmp" => "`--flows N`",
        _ => return None,
    })
}

/// What to type instead of an argument without an option.
fn argument(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let known = match lower.as_str() {
        "serve" | "start" | "run" | "server" | "up" | "listen" | "daemon" | "launch" | "foreground" => {
            "leave the word out: `echod` serves the default, `echod --config FILE` or `--listen URL` what they say; with \
             systemd `systemctl start echod`"
        }
        "stop" | "quit" | "exit" | "kill" | "shutdown" | "down" | "end" | "terminate" => {
            "send it a signal: `kill -TERM PID` lets clients end; with systemd `systemctl stop echod`"
        }
        "reload" | "refresh" | "rehash" | "hup" => {
            "send it a signal: `kill -HUP PID` reads the configuration again; with systemd `systemctl reload echod`"
        }
        "restart" | "upgrade" => {
            "`kill -HUP PID` reads the configuration again without a restart; with systemd `systemctl restart echod`"
        }
        "stats" | "state" | "info" | "list" | "show" | "ps" if cfg!(feature = "observe") => {
            "`echod status` shows the listeners of a running daemon, `echod top` its connections"
        }
        "status" | "stats" | "state" | "info" | "top" | "list" | "show" | "ps" => {
            "`kill -USR1 PID` logs the state of every listener; with systemd `systemctl status echod`; `echod --probe URL` \
             asks one for an echo"
        }
        "check" | "test" | "validate" | "configtest" | "verify" | "lint" | "dry-run" => {
            "`echod --check`, with `--config FILE`"
        }
        "config" | "print-config" | "printconfig" | "dump" | "defaults" | "keys" => {
            "`echod --config FILE` reads a file, `echod --print-config` prints the values that are in effect"
        }
        "fping" | "echoping" | "tcping" | "tcpping" | "udpping" | "hping3" | "nping" | "pong" | "rtt"
        | "latency" | "measure" | "monitor" | "client" | "connect"
            if cfg!(feature = "client") =>
        {
            "`echod ping URL` sends a probe a second, `echod --probe URL` asks once for an echo"
        }
        "ping" => "`echod --probe URL` asks a listener for an echo; this echod was built without its client",
        "probe" | "connect" | "client" | "health" | "healthcheck" | "send" => {
            "`echod --probe URL` asks a listener for an echo"
        }
        "version" => "`echod --version`",
        "inetd" => "`echod --inetd`",
        "why" | "allow" => "`echod explain --listener NAME --from ADDRESS`",
        "logs" | "log" => "with systemd `journalctl -u echod`",
        "tcp" | "udp" | "unix" => "a listener is one URL: `echod --listen tcp://127.0.0.1:7777`",
        _ => "",
    };
    if !known.is_empty() {
        return Some(known.to_owned());
    }
    if lower.ends_with(".toml") || lower.ends_with(".conf") {
        return Some(format!("`echod --config {word}`"));
    }
    match config::listener_url(word) {
        Some(url) => Some(format!("`echod --listen {url}`")),
        None if word.contains('/') || std::path::Path::new(word).is_file() => {
            Some(format!("`echod --config {word}`"))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;

    #[test]
    fn the_intention_is_suggested() {
        for (line, tip) in [
            ("serve", "`echod --config FILE`"),
            ("start", "systemctl start echod"),
            #[cfg(feature = "observe")]
            ("stats", "`echod status`"),
            ("stop", "systemctl stop echod"),
            ("reload", "kill -HUP"),
            ("check", "`echod --check`"),
            ("health", "`echod --probe URL`"),
            #[cfg(feature = "client")]
            ("fping", "`echod ping URL`"),
            #[cfg(feature = "client")]
            ("ping --port 7", "`echod ping udp://HOST:7`"),
            #[cfg(feature = "client")]
            ("ping -I lo", "`--device INTERFACE`"),
            #[cfg(not(feature = "client"))]
            ("ping", "without its client"),
            ("my.toml", "`echod --config my.toml`"),
            ("/etc/echod", "`echod --config /etc/echod`"),
            ("tcp://127.0.0.1:7", "`echod --listen tcp://127.0.0.1:7`"),
            ("127.0.0.1:7", "`echod --listen tcp://127.0.0.1:7`"),
            ("7777", "`echod --listen tcp://127.0.0.1:7777`"),
            ("unix:@x", "`echod --listen unix:@x`"),
            ("--port 7", "`echod --listen tcp://127.0.0.1:7777`"),
            ("--bind=x", "`echod --listen tcp://127.0.0.1:7777`"),
            ("--mode forking", "?mode=…"),
            ("--user nobody", "[daemon]"),
            ("explain tcp 192.0.2.1", "--listener NAME --from ADDRESS"),
            ("--foreground", "leave it out"),
            ("-D", "`echod --daemonize`"),
        ] {
            let line = format!("echod {line}");
            let Err(error) = Cli::read(line.split(' ')) else { panic!("{line} was taken") };
            let error = error.to_string();
            assert!(error.contains("tip: ") && error.contains(tip), "{line}: {error}");
        }
        let Err(error) = Cli::read(["echod", "nonsense"]) else { panic!("it was taken") };
        assert!(error.to_string().contains("'nonsense'"), "{error}");
    }
}

//! The events of the log by name, each with its level and its fields. Scripts and tests look for these names; the text of a line
//! is for people and may change.
//!
//! A line with `format = "json"` has them as fields, the journal as `ECHOD_EVENT` and so on, and lines of text show the message alone.
//! docs/reference/log-events.md is made from this table, and a test compares it with every line that the source logs.

use std::time::Duration;

use log::kv::{ToValue, Value};

/// Defines [`LogEvent`] with its table, so that no event can be logged that is not in it.
macro_rules! events {
    ($($name:ident = $word:literal, $level:literal, [$($field:ident),*], $about:literal;)*) => {
        /// What a line of the log tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum LogEvent {
            $(#[doc = $about] $name,)*
        }

        impl LogEvent {
            /// All of them.
            pub const ALL: [LogEvent; [$($word),*].len()] = [$(LogEvent::$name),*];

            /// Its name.
            pub const fn word(self) -> &'static str {
                match self { $(LogEvent::$name => $word,)* }
            }

            /// The levels that it is logged at.
            pub const fn level(self) -> &'static str {
                match self { $(LogEvent::$name => $level,)* }
            }

            /// Its fields, but for the name. One that does not apply is left out of the line.
            pub const fn fields(self) -> &'static [&'static str] {
                match self { $(LogEvent::$name => &[$(stringify!($field)),*],)* }
            }

            /// When it is logged.
            pub const fn about(self) -> &'static str {
                match self { $(LogEvent::$name => $about,)* }
            }
        }
    };
}

events! {
    // Clients.
    ConnectionOpened = "connection.opened", "debug", [listener, peer],
        "A client was accepted.";
    ConnectionClosed = "connection.closed", "info, debug",
        [listener, peer, bytes_received, bytes_sent, duration_us, lingered_us, reason, errno],
        "A connection has ended. At debug if it ended without a byte in either direction, unless `log-empty-connections` is set.";
    ConnectionLost = "connection.lost", "warn", [listener, peer, duration_us, reason, signal],
        "A connection has ended by a fault of echod.";
    ConnectionRefused = "connection.refused", "debug", [listener, peer, duration_us, reason],
        "A client was refused. It has a duration if the PROXY header decided.";
    ConnectionUnwatchable = "connection.unwatchable", "warn", [listener, peer, error, suppressed],
        "A client was closed because the poller cannot watch it; at most once in ten seconds.";
    ClientsRefused = "clients.refused", "warn", [listener, count, reason, source],
        "Connections or datagrams were refused; at most once a minute for each reason.";
    PayloadReceived = "payload.received", "info", [listener, peer, bytes],
        "What a client wrote, if `payload` shows it.";
    DatagramReceived = "datagram.received", "debug", [listener, peer, bytes],
        "A datagram was let in.";
    DatagramLost = "datagram.lost", "warn, error", [listener, reason],
        "A datagram was not answered by a fault of echod.";
    AnswersUnsent = "answers.unsent", "warn", [listener, address, count, error],
        "Answers to datagrams could not be sent; at most once a minute for each kind of error.";
    // Listeners.
    ListenerServing = "listener.serving", "info", [listener, service, address, mode, workers],
        "A socket is served from now on; one line for each, at the start and after a reload.";
    ListenerState = "listener.state", "info", [listener, state],
        "The answer to SIGUSR1. Every counter is a field by its name, and so is every reason for which something was refused.";
    ListenerRemoved = "listener.removed", "info", [listener],
        "A reload has removed the listener.";
    ListenerCut = "listener.cut", "warn", [listener, connections],
        "The drain time of a removed listener is over.";
    ListenerFailed = "listener.failed", "error", [listener, error],
        "The listener cannot be served any more.";
    ListenerRemnantFailed = "listener.remnant-failed", "warn", [listener, error],
        "What a reload has left of a listener to drain has failed.";
    ListenerLate = "listener.late", "warn", [listener],
        "After a reload the listener still accepts by its old settings.";
    BacklogRefused = "backlog.refused", "warn", [listener, error],
        "At the stop the clients in the backlog could not be served.";
    // Faults on purpose.
    FaultsOn = "faults.on", "warn", [listener, plan, seed, faults],
        "The listener misbehaves on purpose, as a plan of `[[faults]]` says; at the start and after each reload.";
    FaultsOff = "faults.off", "info", [listener],
        "A reload has taken the plan of faults off the listener.";
    OffloadChanged = "offload.changed", "info, warn", [listener, interfaces],
        "The kernel echoes for the listener on these interfaces from now on, or on none, which is a warning if the listener insists.";
    OffloadUnavailable = "offload.unavailable", "info, warn", [listener, reason],
        "The kernel does not echo for a listener that asks for it; a warning if the listener insists and a reload finds it out.";
    OffloadBypasses = "offload.bypasses", "warn", [listener, reason],
        "The kernel echoes for a listener that insists, past the rules of the packet filter.";
    OffloadFailed = "offload.failed", "warn", [interface, error],
        "The kernel cannot echo any more, or not on an interface.";
    // Sockets.
    SocketKept = "socket.kept", "info", [count],
        "Sockets were kept by the service manager over a restart.";
    SocketDiscarded = "socket.discarded", "info", [address, reason],
        "A kept socket was closed.";
    SocketStoreFailed = "socket.store-failed", "warn", [error],
        "A socket could not be given to the service manager to keep.";
    SocketOptionsFailed = "socket.options-failed", "warn", [listener, address, error],
        "Options of a socket could not be set at a reload.";
    SocketFilterFailed = "socket.filter-failed", "warn", [listener, error],
        "The socket filter could not be attached.";
    SocketFileFailed = "socket.file-failed", "warn", [listener, path, error],
        "The file of a unix socket could not be given its owner and mode.";
    SocketReceiveFailed = "socket.receive-failed", "warn", [listener, address, error],
        "Receiving has failed; at most once in ten seconds.";
    SocketsParked = "socket.parking-failed", "warn", [error],
        "Clients of passed sockets that no listener serves could not be refused, and wait.";
    // The endpoint.
    ObserveServing = "observe.serving", "info", [address],
        "The HTTP endpoint of `[observe]` is served here; one line for each address.";
    ObserveFailed = "observe.failed", "warn", [error],
        "The HTTP endpoint cannot wait for its clients for the moment.";
    // Workers.
    WorkerLost = "worker.lost", "warn", [listener, error, retry_ms],
        "A worker has ended and is started again.";
    WorkerFailed = "worker.failed", "error", [listener, error, failures],
        "A worker cannot serve. After several failures in a row the listener stops.";
    ProcessLost = "process.lost", "warn", [listener, status, retry_ms],
        "The process of a forking listener has ended, and its connections with it.";
    ProcessFailed = "process.failed", "error", [listener, error, retry_ms],
        "The process of a forking listener could not be started.";
    ForkFailed = "fork.failed", "error", [listener, error],
        "A worker or a process for a client could not be forked.";
    ThreadFailed = "thread.failed", "warn", [error],
        "A thread for a client could not be started; at most once in ten seconds.";
    ThreadPanicked = "thread.panicked", "error", [],
        "A fault of echod; it ends one connection at most.";
    ResourcesExhausted = "resources.exhausted", "warn", [listener, error, suppressed],
        "Accepting pauses because descriptors or memory have run out; at most once in ten seconds.";
    // The daemon.
    ConfigNote = "config.note", "warn", [listener, address, keys],
        "What an administrator should look at, though it is served; at the start and at each reload.";
    DaemonReady = "daemon.ready", "info", [listeners],
        "The start is complete: all listeners are served.";
    DescriptorsLimited = "descriptors.limited", "warn, debug", [limit, wanted, error],
        "The limit of open files is lower than the listeners may need.";
    PrivilegesDropped = "privileges.dropped", "info", [user, group],
        "The daemon has changed its user or group.";
    PrivilegesKept = "privileges.kept", "warn", [address],
        "The daemon serves others as root.";
    FilesLeft = "files.left", "warn", [user, files],
        "The daemon will not be allowed to remove these files at its end.";
    SandboxEntered = "sandbox.entered", "info, warn", [layers, missing],
        "The sandbox is on; a warning if a layer is missing.";
    SandboxShared = "sandbox.shared", "warn", [files],
        "The sandbox does not keep the daemon from other files beside these.";
    AnnounceFailed = "announce.failed", "warn", [error],
        "Standard output did not take what `--announce` prints.";
    ManagerUnreachable = "manager.unreachable", "warn", [error],
        "The service manager could not be told; at most once a minute.";
    WatchdogMissed = "watchdog.missed", "warn", [listener],
        "The watchdog is not pinged because this listener does not answer.";
    WatchdogResumed = "watchdog.resumed", "info", [],
        "All listeners answer again.";
    ReloadDone = "reload.done", "info", [listeners, failed],
        "A reload is complete.";
    ReloadFault = "reload.fault", "error", [],
        "A line about what prevents a reload; `reload.refused` follows.";
    ReloadRefused = "reload.refused", "error, info", [reason],
        "The configuration before stays in effect.";
    LogReopenFailed = "log.reopen-failed", "warn", [error],
        "The log file could not be opened again and the one before stays open.";
    LogLost = "log.lost", "warn, error", [lines],
        "Lines found no room in the target of the log.";
    DaemonStopping = "daemon.stopping", "info", [reason, connections, drain_timeout_ms],
        "The daemon accepts no more clients and drains its connections.";
    DaemonCut = "daemon.cut", "info, warn", [reason, connections],
        "The daemon ends at once; a warning if connections are cut.";
    DaemonStopped = "daemon.stopped", "info", [],
        "All listeners have ended.";
}

/// The fields of all events, and what each has.
pub const FIELDS: &[(&str, &str)] = &[
    ("address", "a socket of echod, as a URL"),
    ("bytes", "the length of a message"),
    ("bytes_received", "bytes from the client"),
    ("bytes_sent", "bytes to the client"),
    ("connections", "connections that are open, or were cut"),
    ("count", "how many clients, answers or sockets"),
    ("drain_timeout_ms", "the time that they have at most, in milliseconds"),
    (
        "duration_us",
        "microseconds from accept(2) until the connection was closed or echod decided to close it",
    ),
    ("errno", "the error number, with reason `error`"),
    ("error", "the error as text"),
    ("failed", "listeners that are not served because they failed"),
    ("failures", "failures in a row"),
    ("faults", "the kinds of faults that the plan asks for, separated by `, `"),
    ("files", "paths, separated by `, `"),
    ("group", "the group id"),
    ("interface", "the network interface"),
    ("interfaces", "the network interfaces, separated by `, `"),
    ("keys", "the keys of the configuration that decide, separated by `, `"),
    ("layers", "layers of the sandbox that are in effect"),
    ("limit", "the limit in effect"),
    ("lines", "lines that were lost"),
    ("lingered_us", "microseconds that echod lingered after that until the client had read all, if it did"),
    ("listener", "the name of the listener"),
    ("listeners", "listeners that are served"),
    ("missing", "layers that are not in effect, and why"),
    ("mode", "`mode` of the listener"),
    ("path", "the path of the file"),
    ("peer", "the client, as in the message"),
    ("plan", "the name of a plan of `[[faults]]`"),
    ("reason", "why: a word for connections and refusals, otherwise text"),
    ("retry_ms", "milliseconds until the next attempt, if there is one"),
    ("seed", "the number that all decisions of the plan are computed from"),
    ("service", "`service` of the listener"),
    ("signal", "the signal that killed the process of a client, with reason `killed`"),
    ("source", "where the last one came from"),
    ("state", "`serving`, `failed`, `ended`, or `superseded` by a reload"),
    ("status", "how the process ended"),
    ("suppressed", "such lines left out since the last one"),
    ("user", "the user id"),
    ("wanted", "the limit that would be enough"),
    ("workers", "`workers` of the listener"),
];

impl ToValue for LogEvent {
    fn to_value(&self) -> Value<'_> {
        Value::from(self.word())
    }
}

/// A time as fields in microseconds have it.
pub fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

/// A time as fields in milliseconds have it.
pub fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique_and_every_field_is_explained() {
        let mut words: Vec<_> = LogEvent::ALL.map(LogEvent::word).to_vec();
        let fields: Vec<_> = LogEvent::ALL.iter().flat_map(|event| event.fields()).collect();
        assert!(words.iter().all(|word| word.contains('.')), "{words:?}");
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), LogEvent::ALL.len(), "a name twice");
        assert!(FIELDS.is_sorted());
        for field in &fields {
            assert!(FIELDS.iter().any(|(name, _)| name == *field), "{field} is not explained");
        }
        for (name, _) in FIELDS {
            assert!(fields.contains(&name), "no event has {name}");
        }
    }
}

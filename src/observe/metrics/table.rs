//! The table of metrics.

use super::{
    Kind, Measure, Metric, Series, Value,
    look::{Look, of},
};
use crate::{
    observe::{
        health,
        snapshot::{ListenerView, State},
    },
    report::{
        close_reason::CloseKind,
        fault_kind::FaultKind,
        refusal_reason::RefusalReason,
        stats::{HANDED_ON, Totals},
    },
};

const fn metric(
    stem: &'static str,
    kind: Kind,
    unit: Option<Measure>,
    labels: &'static [&'static str],
    help: &'static str,
    series: fn(&Look<'_>, &mut Series),
) -> Metric {
    Metric { stem, kind, unit, labels, help, series }
}

const NONE: &[&str] = &[];
const LISTENER: &[&str] = &["listener"];
const REASON: &[&str] = &["listener", "reason"];

/// All metrics, in the order of `/metrics`.
pub const METRICS: [Metric; 38] = {
    use Kind::{Counter, Gauge, Histogram};
    use Measure::{Bytes, Seconds};
    [
        metric(
            "echod_build_info",
            Gauge,
            None,
            &["version", "target"],
            "1, with the version of echod and the machine that it was built for.",
            |look, to| {
                let target = built_for();
                to.count(&[&look.seen.daemon.version, &target], 1);
            },
        ),
        metric(
            "echod_ready",
            Gauge,
            None,
            NONE,
            "Whether the daemon is ready for clients: every listener serves, and it does not drain. Signs of life are asked for \
             by /readyz only.",
            |look, to| {
                let is_ready = health::unready(look.seen.daemon).is_empty();
                to.count(&[], is_ready.into());
            },
        ),
        metric(
            "echod_processes",
            Gauge,
            None,
            NONE,
            "Processes of the daemon: itself, and those of its forking listeners.",
            |look, to| to.count(&[], look.process.processes),
        ),
        metric(
            "echod_draining",
            Gauge,
            None,
            NONE,
            "Whether the daemon was told to stop, and serves its last clients.",
            |look, to| to.count(&[], look.seen.daemon.draining.into()),
        ),
        metric(
            "echod_config_last_reload_successful",
            Gauge,
            None,
            NONE,
            "Whether the last reading of the configuration was taken. The start counts as one.",
            |look, to| to.count(&[], look.seen.daemon.reload.successful.into()),
        ),
        metric(
            "echod_config_last_reload_success_timestamp",
            Gauge,
            Some(Seconds),
            NONE,
            "When a configuration was last taken, in seconds since 1970.",
            |look, to| to.number(&[], look.seen.daemon.reload.success_time),
        ),
        metric(
            "echod_listener_info",
            Gauge,
            None,
            &["listener", "protocol", "mode", "service"],
            "1 for each listener, with what it serves and how.",
            |look, to| {
                for ListenerView { name, protocol, mode, service, .. } in look.listeners() {
                    to.count(&[name, protocol, mode, service], 1);
                }
            },
        ),
        metric(
            "echod_listener_up",
            Gauge,
            None,
            LISTENER,
            "Whether the listener serves. One that cannot be served any more has failed, and a reload tries again.",
            |look, to| look.each(to, |listener| (listener.state == State::Serving).into()),
        ),
        metric(
            "echod_workers",
            Gauge,
            None,
            LISTENER,
            "How many threads, processes or event loops share the work; 0 is one for each connection or datagram.",
            |look, to| look.each(to, |listener| listener.workers.into()),
        ),
        metric(
            "echod_open_connections",
            Gauge,
            None,
            LISTENER,
            "Connections that are open now, and datagrams that a thread or process of their own is answering.",
            |look, to| look.each(to, |listener| listener.open.into()),
        ),
        metric(
            "echod_connections_limit",
            Gauge,
            None,
            LISTENER,
            "How many connections may be open (max-connections).",
            |look, to| {
                let streams = look.listeners().filter(|listener| listener.is_stream());
                streams.for_each(|listener| to.count(&[&listener.name], listener.limit.into()));
            },
        ),
        metric("echod_connections", Counter, None, LISTENER, "Connections that were let in.", |look, to| {
            look.each_of(true, to, |totals| totals.served)
        }),
        metric(
            "echod_empty_connections",
            Counter,
            None,
            LISTENER,
            "Connections that ended without a byte in either direction, as those of many health checks do.",
            |look, to| look.each_of(true, to, |totals| totals.empty),
        ),
        metric(
            "echod_connections_ended",
            Counter,
            None,
            REASON,
            "Connections that have ended, by the reason.",
            |look, to| {
                for listener in look.listeners().filter(|listener| listener.is_stream()) {
                    for kind in CloseKind::ALL {
                        let word = kind.word();
                        to.count(&[&listener.name, word], of(&listener.totals.ended, word));
                    }
                }
            },
        ),
        metric(
            "echod_connection_duration",
            Histogram,
            Some(Seconds),
            LISTENER,
            "How long connections were open.",
            |look, to| {
                for listener in look.listeners().filter(|listener| listener.is_stream()) {
                    let Totals { durations, duration_seconds_sum, .. } = &listener.totals;
                    to.push(&[&listener.name], Value::Spread(durations.clone(), *duration_seconds_sum));
                }
            },
        ),
        metric("echod_datagrams", Counter, None, LISTENER, "Datagrams that were let in.", |look, to| {
            look.each_of(false, to, |totals| totals.served)
        }),
        metric(
            "echod_offloaded_datagrams",
            Counter,
            None,
            LISTENER,
            "Datagrams that the kernel has answered itself (offload). They are counted as let in, too.",
            |look, to| look.each_of_udp(to, |listener| listener.totals.offloaded),
        ),
        metric(
            "echod_offload_left",
            Counter,
            None,
            REASON,
            "Datagrams that the echo in the kernel has left to the socket, which decides about them, by the reason.",
            |look, to| {
                for listener in look.of_udp() {
                    for (word, _) in HANDED_ON {
                        to.count(&[&listener.name, word], of(&listener.totals.handed_on, word));
                    }
                }
            },
        ),
        metric(
            "echod_offload_interfaces",
            Gauge,
            None,
            LISTENER,
            "Network interfaces on which the kernel echoes for the listener.",
            |look, to| look.each_of_udp(to, |listener| listener.offload.as_ref().map_or(0, Vec::len) as u64),
        ),
        metric("echod_received", Counter, Some(Bytes), LISTENER, "Bytes from clients.", |look, to| {
            look.each(to, |listener| listener.totals.received);
        }),
        metric("echod_sent", Counter, Some(Bytes), LISTENER, "Bytes to clients.", |look, to| {
            look.each(to, |listener| listener.totals.sent);
        }),
        metric(
            "echod_refused",
            Counter,
            None,
            REASON,
            "Connections and datagrams that were refused, by the reason.",
            |look, to| {
                for listener in look.listeners() {
                    let fits = |reason: &RefusalReason| {
                        listener.known_protocol().is_none_or(|protocol| reason.applies_to(protocol))
                    };
                    for reason in RefusalReason::ALL.into_iter().filter(fits) {
                        let word = reason.word();
                        to.count(&[&listener.name, word], of(&listener.totals.refused, word));
                    }
                }
            },
        ),
        metric(
            "echod_replies_dropped",
            Counter,
            None,
            REASON,
            "Answers to datagrams that could not be sent, by the reason.",
            |look, to| {
                for listener in look.listeners().filter(|listener| !listener.is_stream()) {
                    let Totals { dropped, forbidden, unreachable, oversize, .. } = &listener.totals;
                    for (reason, count) in [
                        ("queue-full", dropped),
                        ("forbidden", forbidden),
                        ("unreachable", unreachable),
                        ("oversize", oversize),
                    ] {
                        to.count(&[&listener.name, reason], *count);
                    }
                }
            },
        ),
        metric(
            "echod_kernel_dropped",
            Counter,
            None,
            LISTENER,
            "Datagrams that the kernel dropped before echod saw them: refused by the socket filter, a full receive buffer, or a \
             wrong checksum; the kernel does not keep these apart.",
            |look, to| look.each_of_udp(to, |listener| listener.totals.undelivered),
        ),
        metric(
            "echod_datagrams_truncated",
            Counter,
            None,
            LISTENER,
            "Datagrams that were longer than the buffer, and dropped.",
            |look, to| look.each_of(false, to, |totals| totals.truncated),
        ),
        metric(
            "echod_accept_rests",
            Counter,
            None,
            LISTENER,
            "Times that accepting paused because descriptors or memory had run out.",
            |look, to| look.each(to, |listener| listener.totals.exhausted),
        ),
        metric(
            "echod_workers_died",
            Counter,
            None,
            LISTENER,
            "Processes that ended without having been asked to, and services that panicked.",
            |look, to| look.each(to, |listener| listener.totals.died),
        ),
        metric(
            "echod_errors",
            Counter,
            None,
            LISTENER,
            "System calls that failed, and connections or datagrams lost to a fault of echod.",
            |look, to| look.each(to, |listener| listener.totals.errors),
        ),
        metric(
            "echod_faults_enabled",
            Gauge,
            None,
            LISTENER,
            "Whether the listener misbehaves on purpose, by a plan of faults.",
            |look, to| look.each(to, |listener| listener.faults.is_some().into()),
        ),
        metric(
            "echod_faults_injected",
            Counter,
            None,
            &["listener", "fault"],
            "Faults on purpose, by their kind; of listeners that have a plan, or had one before a reload.",
            |look, to| {
                for listener in look.listeners().filter(|listener| listener.has_faults()) {
                    let fits = |kind: &FaultKind| kind.can_happen(listener.is_stream());
                    for kind in FaultKind::ALL.into_iter().filter(fits) {
                        let word = kind.word();
                        to.count(&[&listener.name, word], of(&listener.totals.faults, word));
                    }
                }
            },
        ),
        metric(
            "echod_faults_untracked",
            Counter,
            None,
            LISTENER,
            "Sources whose running number began anew, because the table of a plan of faults had no room for all.",
            |look, to| {
                let faulty = look.listeners().filter(|listener| listener.has_faults());
                faulty.for_each(|listener| to.count(&[&listener.name], listener.totals.faults_untracked));
            },
        ),
        metric(
            "echod_observe_requests",
            Counter,
            None,
            &["path", "code"],
            "Requests to this endpoint, by path and status.",
            |look, to| {
                for (path, status, count) in look.seen.requests.all() {
                    to.count(&[path, &status.code().to_string()], count);
                }
            },
        ),
        metric(
            "process_start_time",
            Gauge,
            Some(Seconds),
            NONE,
            "When the daemon was started, in seconds since 1970.",
            |look, to| to.number(&[], look.seen.daemon.started),
        ),
        metric(
            "process_cpu",
            Counter,
            Some(Seconds),
            NONE,
            "Processor time of the daemon, with that of its forked processes that have ended.",
            |look, to| to.number(&[], look.process.cpu_seconds),
        ),
        metric(
            "process_resident_memory",
            Gauge,
            Some(Bytes),
            NONE,
            "Resident memory of the daemon and of the processes of its forking listeners.",
            |look, to| to.count(&[], look.process.resident_bytes),
        ),
        metric("process_threads", Gauge, None, NONE, "Threads of the daemon.", |look, to| {
            to.count(&[], look.process.threads);
        }),
        metric("process_open_fds", Gauge, None, NONE, "Open descriptors of the daemon.", |look, to| {
            to.count(&[], look.process.open_fds);
        }),
        metric(
            "process_max_fds",
            Gauge,
            None,
            NONE,
            "How many descriptors the daemon may have.",
            |look, to| {
                to.count(&[], look.process.max_fds);
            },
        ),
    ]
};

fn built_for() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

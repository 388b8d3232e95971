//! Every field of a report. Within version 1 fields are only added; one that is there keeps its name, its unit and its meaning.

use super::{
    json::Json,
    quantity,
    shape::{Form, Object, Shape, always, list, maybe},
    verdict::{Outcome, Verdict},
};
use crate::client::measurement::{Measurement, Settings, Warning};

mod target;

/// A run and what came of its conditions.
pub struct Report<'a> {
    /// What was measured.
    pub measurement: &'a Measurement,
    /// What came of the conditions.
    pub verdict: &'a Verdict,
}

/// The shape of the whole.
pub fn shape() -> Shape {
    report().shape()
}

/// The whole.
pub fn report<'a>() -> Object<Report<'a>> {
    Object::new(
        "report",
        "One run of `echod ping` or `echod bench`. Times are whole nanoseconds and end in `_ns`",
        vec![
            always("format", Form::Word(&["echod-report"]), "What this is", |_| Some("echod-report".into())),
            always(
                "version",
                Form::Only(1),
                "Fields are added within a version, and none is changed or removed",
                |_| Some(1u64.into()),
            ),
            always("kind", Form::Word(&["ping", "bench", "compare"]), "Which command made it", |r| {
                Some(r.measurement.kind.into())
            }),
            always("echod", Form::Text, "The version of the program", |_| {
                Some(env!("CARGO_PKG_VERSION").into())
            }),
            always("environment", Form::Object(|| environment().shape()), "The machine of the client", |r| {
                Some(environment().json(r.measurement))
            }),
            always("started", Form::Moment, "When it began", |r| Some(moment(r.measurement).into())),
            always(
                "duration_ns",
                Form::Whole,
                "From the first send to the end of the wait for the last answer, without the warm-up",
                |r| Some(r.measurement.duration.into()),
            ),
            always("warm_up_ns", Form::Whole, "How long it sent before without measuring", |r| {
                Some(r.measurement.warm_up.into())
            }),
            always("settings", Form::Object(|| settings().shape()), "What was asked for", |r| {
                Some(settings().json(&r.measurement.settings))
            }),
            always(
                "targets",
                list(|| target::target().shape()),
                "What each target did, in the order of the command line",
                |r| Some(target::target().list(&r.measurement.targets)),
            ),
            always("warnings", list(|| warning().shape()), "What makes the figures doubtful", |r| {
                Some(warning().list(&r.measurement.warnings))
            }),
            always(
                "verdict",
                Form::Object(|| verdict().shape()),
                "What came of the conditions of --fail-if",
                |r| Some(verdict().json(r.verdict)),
            ),
        ],
    )
}

fn moment(measurement: &Measurement) -> String {
    // Years that a clock can show.
    jiff::Timestamp::try_from(measurement.started).unwrap_or_default().to_string()
}

fn environment() -> Object<Measurement> {
    Object::new(
        "environment",
        "The machine of the client",
        vec![
            maybe("kernel", Form::Text, "The release of the kernel, as `uname -r` tells it", |_| {
                told_by("/proc/sys/kernel/osrelease")
            }),
            maybe("cpus", Form::Whole, "The processors that the client may use", |_| {
                std::thread::available_parallelism().ok().map(|cpus| cpus.get().into())
            }),
            maybe("hostname", Form::Text, "The name of the machine", |_| {
                told_by("/proc/sys/kernel/hostname")
            }),
            maybe("clocksource", Form::Text, "The hardware clock that the kernel reads", |_| {
                told_by("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            }),
            always(
                "timestamps",
                Form::Word(&["kernel", "user"]),
                "What stamped the answers: the kernel on arrival, or the client when it had received them",
                |m| Some(m.timestamps.into()),
            ),
        ],
    )
}

fn told_by(path: &str) -> Option<Json> {
    Some(std::fs::read_to_string(path).ok()?.trim().into())
}

fn settings() -> Object<Settings> {
    Object::new(
        "settings",
        "What was asked for",
        vec![
            always("size", Form::Whole, "Bytes of a probe", |s| Some(s.size.into())),
            always(
                "timeout_ns",
                Form::Whole,
                "How long an answer may take; one that comes later is `late`",
                |s| Some(s.timeout.into()),
            ),
            maybe("interval_ns", Form::Whole, "Time between the probes of `ping`", |s| {
                s.interval.map(Json::from)
            }),
            maybe("rate", Form::Whole, "Messages a second of an open loop, over all connections", |s| {
                s.rate.map(Json::from)
            }),
            always("connections", Form::Whole, "Connections, or source ports of datagrams", |s| {
                Some(s.connections.into())
            }),
            maybe("window", Form::Whole, "Messages in flight on each connection of a closed loop", |s| {
                s.window.map(Json::from)
            }),
            always("rounds", Form::Whole, "Rounds whose times are merged", |s| Some(s.rounds.into())),
            always("idle", Form::Whole, "Silent connections that were held beside", |s| Some(s.idle.into())),
        ],
    )
}

fn warning() -> Object<Warning> {
    Object::new(
        "warning",
        "What makes the figures doubtful",
        vec![
            always("id", Form::Text, "A word that stays the same", |w| Some(w.id.into())),
            always("text", Form::Text, "The reason, with its figures", |w| Some(w.text.as_str().into())),
            always(
                "fatal",
                Form::Flag,
                "Whether the measurement is not valid because of it: --strict exits with 75 then",
                |w| Some(w.is_fatal.into()),
            ),
        ],
    )
}

fn verdict() -> Object<Verdict> {
    Object::new(
        "verdict",
        "What came of the conditions of --fail-if",
        vec![
            always("failed", Form::Flag, "Whether a condition is true", |v| Some(v.has_failed().into())),
            always("conditions", list(|| outcome().shape()), "Each condition for each target", |v| {
                Some(outcome().list(&v.outcomes))
            }),
        ],
    )
}

fn outcome() -> Object<Outcome> {
    use quantity::Reading;
    Object::new(
        "condition",
        "One condition for one target",
        vec![
            always("expr", Form::Text, "The condition", |o| Some(o.condition.to_string().into())),
            always("url", Form::Text, "The target", |o| Some(o.subject.as_str().into())),
            maybe("value_ns", Form::Whole, "The value of the quantity, if it is a time", |o| {
                match o.reading {
                    Reading::Time(time) => Some((time.round() as u64).into()),
                    _ => None,
                }
            }),
            maybe("value", Form::Whole, "The value, if it is a number", |o| match o.reading {
                Reading::Count(count) => Some(count.into()),
                _ => None,
            }),
            maybe("value_ratio", Form::Share, "The value, if it is a part of all probes", |o| {
                match o.reading {
                    Reading::Share(share) => Some(share.into()),
                    _ => None,
                }
            }),
            maybe("value_per_s", Form::Real, "The value, if it is a rate", |o| match o.reading {
                Reading::Rate(rate) => Some(rate.into()),
                _ => None,
            }),
            maybe(
                "true",
                Form::Flag,
                "Whether it is true; left out if it cannot be told, as with too few times for a percentile",
                |o| o.is_true().map(Json::from),
            ),
        ],
    )
}

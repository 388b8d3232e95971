//! The fields about a target.

use crate::client::{
    histogram::Histogram,
    measurement::{Fates, Flow, Model, Replies, Round, Server, TargetResult},
    report::{
        json::Json,
        quantity::QUANTILES,
        shape::{Form, Object, always, list, maybe},
    },
};

/// What one target did.
pub(super) fn target() -> Object<TargetResult> {
    let times = || Form::Object(|| histogram().shape());
    Object::new(
        "target",
        "What one target did",
        vec![
            always("url", Form::Text, "The target, as it was written", |t| {
                Some(t.target.url.as_str().into())
            }),
            always(
                "peer",
                Form::Text,
                "Where the probes went: the first address of the name, with its port",
                |t| Some(t.target.peer.to_string().into()),
            ),
            always(
                "model",
                Form::Word(&["open", "closed"]),
                "open: sends follow a plan whatever comes back. closed: a send waits for an answer, so tails are a lower bound",
                |t| Some(if t.model == Model::Open { "open" } else { "closed" }.into()),
            ),
            maybe(
                "server",
                Form::Object(|| server().shape()),
                "The server itself, where the client started it (`--compare`)",
                |t| t.server.as_ref().map(|s| server().json(s)),
            ),
            always("probes", Form::Object(|| probes().shape()), "What became of the probes", |t| {
                Some(probes().json(&t.fates))
            }),
            always("replies", Form::Object(|| replies().shape()), "What the replies were besides", |t| {
                Some(replies().json(&t.replies))
            }),
            maybe(
                "response_ns",
                times(),
                "From the planned moment of the send to the answer: what a client that keeps to its plan waits for. In an open loop",
                |t| some(&t.response),
            ),
            always("service_ns", times(), "From the send to the answer", |t| {
                Some(histogram().json(&t.service))
            }),
            maybe("connect_ns", times(), "To connect", |t| some(&t.connect)),
            maybe(
                "close_ns",
                times(),
                "From the end of what the client sends to the end of what the server sends",
                |t| some(&t.close),
            ),
            maybe(
                "ipdv_ns",
                times(),
                "Differences of successive times, without their sign (RFC 3393)",
                |t| some(&t.ipdv),
            ),
            maybe("schedule_error_ns", times(), "How much later than planned probes were sent", |t| {
                some(&t.schedule_error)
            }),
            maybe(
                "first_ns",
                Form::Whole,
                "The first probe, where it is kept apart: it pays for routes and caches",
                |t| t.first.map(Json::from),
            ),
            maybe(
                "ttl",
                pair(),
                "The lowest and the highest TTL or hop limit of the answers; two values mean that the path changed",
                |t| t.ttl.map(Json::from),
            ),
            always("rounds", list(|| round().shape()), "Each round by itself", |t| {
                Some(round().list(&t.rounds))
            }),
            always("flows", list(|| flow().shape()), "Each source port by itself", |t| {
                Some(flow().list(&t.flows))
            }),
            always("errors", list(|| error().shape()), "Errors by their word", |t| {
                Some(Json::List(
                    t.errors.iter().map(|(word, count)| error().json(&(*word, *count))).collect(),
                ))
            }),
        ],
    )
}

fn some(histogram: &Option<Histogram>) -> Option<Json> {
    histogram.as_ref().map(|times| self::histogram().json(times))
}

fn pair() -> Form {
    Form::Tuple(vec![Form::Whole, Form::Whole])
}

fn server() -> Object<Server> {
    Object::new(
        "server",
        "A server that the client started, all its processes together",
        vec![
            always(
                "mode",
                Form::Text,
                "Its concurrency mode; `epoll-edge` is epoll with trigger \"edge\"",
                |s| Some(s.mode.as_str().into()),
            ),
            always("idle", Form::Whole, "Silent connections that it held beside", |s| Some(s.idle.into())),
            maybe(
                "cpu_ns",
                Form::Whole,
                "Processor time, its own and the kernel's for it, while it was measured",
                |s| Some(s.cpu.into()),
            ),
            maybe("cpu_per_echo_ns", Form::Real, "That time for each answered probe", |s| {
                s.cpu_per_echo().map(Json::from)
            }),
            maybe(
                "calls_per_echo",
                Form::Real,
                "System calls for each answered probe, where something on the machine counts them",
                |s| s.calls_per_echo.map(Json::from),
            ),
            maybe(
                "memory_bytes",
                Form::Whole,
                "Memory with its connections open: shared pages are divided by those that share them (PSS)",
                |s| s.memory.map(Json::from),
            ),
            maybe("descriptors", Form::Whole, "Open descriptors then", |s| s.descriptors.map(Json::from)),
            always("processes", Form::Whole, "Processes then", |s| Some(s.processes.into())),
        ],
    )
}

fn probes() -> Object<Fates> {
    Object::new(
        "probes",
        "Every probe has exactly one fate: planned = ok + late + lost + refused + unsent + skipped",
        vec![
            always("planned", Form::Whole, "Probes that were to be sent", |f| Some(f.planned.into())),
            always("sent", Form::Whole, "Probes that left: ok + late + lost + refused", |f| {
                Some(f.sent().into())
            }),
            always("ok", Form::Whole, "Answered in time, every byte as sent", |f| Some(f.ok.into())),
            always("late", Form::Whole, "Answered after the time-out, before the end of the run", |f| {
                Some(f.late.into())
            }),
            always("lost", Form::Whole, "Not answered", |f| Some(f.lost.into())),
            always("refused", Form::Whole, "The host of the target said that nothing listens there", |f| {
                Some(f.refused.into())
            }),
            always("unsent", Form::Whole, "The kernel of the client would not send it", |f| {
                Some(f.unsent.into())
            }),
            always("skipped", Form::Whole, "The client came too late to send it as planned", |f| {
                Some(f.skipped.into())
            }),
        ],
    )
}

fn replies() -> Object<Replies> {
    Object::new(
        "replies",
        "What replies were, besides the fates of their probes",
        vec![
            always("duplicate", Form::Whole, "Answers to a probe that had been answered", |r| {
                Some(r.duplicate.into())
            }),
            always(
                "reordered",
                Form::Whole,
                "Answers that came after that to a later probe of the same flow",
                |r| Some(r.reordered.into()),
            ),
            always(
                "corrupt",
                Form::Whole,
                "Answers with other bytes, or another length, than was sent",
                |r| Some(r.corrupt.into()),
            ),
            always("stray", Form::Whole, "What is no answer to this run", |r| Some(r.stray.into())),
            always(
                "retransmitted",
                Form::Whole,
                "Answers over a connection that had to send again meanwhile: loss that TCP hides as time",
                |r| Some(r.retransmitted.into()),
            ),
        ],
    )
}

fn histogram() -> Object<Histogram> {
    Object::new(
        "times",
        "A distribution of times in nanoseconds",
        vec![
            always("n", Form::Whole, "How many times", |h| Some(h.count().into())),
            maybe("min", Form::Whole, "The shortest", |h| h.min().map(Json::from)),
            maybe("mean", Form::Whole, "The mean", |h| h.mean().map(|mean| (mean.round() as u64).into())),
            maybe("max", Form::Whole, "The longest", |h| h.max().map(Json::from)),
            maybe("stddev", Form::Whole, "The standard deviation of these times", |h| {
                h.deviation().map(|deviation| (deviation.round() as u64).into())
            }),
            always(
                "quantiles",
                Form::List(Box::new(Form::Tuple(vec![Form::Share, Form::Whole]))),
                "Pairs of q and the time that the part q of all does not exceed, to a thousandth; only where at least ten times lie beyond it",
                |h| {
                    let told = |q: &f64| Some(Json::List(vec![(*q).into(), h.quantile(*q)?.into()]));
                    Some(Json::List(QUANTILES.iter().filter_map(told).collect()))
                },
            ),
            always(
                "buckets",
                Form::List(Box::new(pair())),
                "Pairs of an upper bound and how many times lie between the bound before it and this one. The bounds are the same in every report, so counts of several reports can be added; a time of more than a minute counts as a minute",
                |h| Some(buckets(h)),
            ),
        ],
    )
}

/// Ten bounds to a power of ten, from 100 ns to 100 s: those of preferred numbers (ISO 3, R10).
fn buckets(histogram: &Histogram) -> Json {
    const STEPS: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];
    let bounds = (0..9).flat_map(|power| STEPS.map(|step| step * 10u64.pow(power)));
    let counts = histogram.counts(bounds).into_iter().filter(|(_, count)| *count > 0);
    Json::List(counts.map(|(bound, count)| Json::List(vec![bound.into(), count.into()])).collect())
}

fn round() -> Object<Round> {
    let times = || Form::Object(|| histogram().shape());
    Object::new(
        "round",
        "One round of several",
        vec![
            always("duration_ns", Form::Whole, "How long it was", |r| Some(r.duration.into())),
            always("cpu_ns", Form::Whole, "Processor time of the client in it", |r| Some(r.cpu.into())),
            always("probes", Form::Object(|| probes().shape()), "What became of its probes", |r| {
                Some(probes().json(&r.fates))
            }),
            maybe("response_ns", times(), "From the planned moment of the send, in an open loop", |r| {
                some(&r.response)
            }),
            always("service_ns", times(), "From the send to the answer", |r| {
                Some(histogram().json(&r.service))
            }),
        ],
    )
}

fn flow() -> Object<Flow> {
    Object::new(
        "flow",
        "One source port",
        vec![
            maybe("source", Form::Text, "The address and port that its probes came from", |f| {
                f.source.map(|source| source.to_string().into())
            }),
            always("sent", Form::Whole, "Probes that left", |f| Some(f.sent.into())),
            always(
                "ok",
                Form::Whole,
                "Those answered in time. A flow without any, among others with some, tells of a dead path (ECMP, LAG)",
                |f| Some(f.ok.into()),
            ),
            maybe("ttl", pair(), "The lowest and the highest TTL or hop limit of its answers", |f| {
                f.ttl.map(Json::from)
            }),
        ],
    )
}

fn error() -> Object<(&'static str, u64)> {
    Object::new(
        "error",
        "Errors of one kind",
        vec![
            always("word", Form::Word(&["TIMEOUT", "DNS", "REFUSED", "OTHER"]), "The kind", |(word, _)| {
                Some((*word).into())
            }),
            always("count", Form::Whole, "How many", |(_, count)| Some((*count).into())),
        ],
    )
}

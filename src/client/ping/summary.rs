//! The summary: first the lines that parsers of ping(8) read, in their words and order, then what that program does not know.

use std::{fmt::Write as _, time::Duration};

use super::{
    books::Books,
    screen::{milliseconds, seconds},
    wire::Connections,
};
use crate::{
    client::{histogram::Histogram, target::Target},
    config::Protocol,
    socket::address::Peer,
};

/// Flows named by their port in the summary; the report has them all.
const NAMED: usize = 4;

/// The summary of one target, with what makes its figures worth a remark.
pub(super) fn summary(
    target: &Target,
    books: &Books,
    connections: Connections<'_>,
    waited: Duration,
) -> String {
    let (fates, replies) = (&books.fates, &books.replies);
    let mut text = format!("\n--- {} ping statistics ---\n", title(target));
    let _ = writeln!(text, "{}, time {}ms", packets(books), elapsed(books).as_millis());
    let _ = match times(&books.service) {
        Some([min, mean, max, deviation]) => {
            writeln!(text, "rtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms")
        }
        // Parsers expect the end of what they read here.
        None => writeln!(text),
    };
    let mut counts = format!(
        "late {}, duplicate {}, reordered {}, corrupt {}",
        fates.late, replies.duplicate, replies.reordered, replies.corrupt
    );
    let others = [
        ("stray", replies.stray),
        ("refused", fates.refused),
        ("unsent", fates.unsent),
        ("skipped", fates.skipped),
        ("sent again by TCP", replies.retransmitted),
    ];
    for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(counts, ", {name} {count}");
    }
    if let Some((least, most)) = ttl(books) {
        let _ = write!(
            counts,
            "; ttl {least}{}",
            if least == most { String::new() } else { format!("..{most}") }
        );
    }
    let _ = writeln!(text, "{counts}{}", flows(books));
    text.push_str(&percentiles(books));
    for (name, times_of) in [("connect", connections.connect), ("close", connections.close)] {
        if let Some(histogram) = times_of
            && let Some([min, mean, max, _]) = times(histogram)
        {
            let count = histogram.count();
            let _ = writeln!(text, "{name} {min:.3} to {max:.3} ms, mean {mean:.3} ms (n {count})");
        }
    }
    if !waited.is_zero() {
        let waited = Duration::from_millis(waited.as_millis() as u64);
        let _ = writeln!(text, "waited {} after the last probe for what was missing", seconds(waited));
    }
    for remark in remarks(books) {
        let _ = writeln!(text, "{remark}");
    }
    text
}

/// `reflector.example (192.0.2.7 udp port 7)`: without slashes and brackets, at which parsers stumble.
fn title(target: &Target) -> String {
    let Peer::Inet(address) = &target.peer else { return target.url.clone() };
    let rest = target.url.split_once("://").map_or(target.url.as_str(), |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host).trim_matches(['[', ']']);
    let protocol = if target.protocol == Protocol::Tcp { "tcp" } else { "udp" };
    let (ip, port) = (address.ip().to_string(), address.port());
    match host == ip {
        true => format!("{host} ({protocol} port {port})"),
        false => format!("{host} ({ip} {protocol} port {port})"),
    }
}

/// `5 packets transmitted, 4 received, +1 duplicates, 20% packet loss`.
fn packets(books: &Books) -> String {
    let sent = books.fates.sent();
    let received = books.fates.ok + books.fates.late;
    let mut text = format!("{sent} packets transmitted, {received} received");
    let more = [
        ("duplicates", books.replies.duplicate),
        ("corrupted", books.replies.corrupt),
        ("errors", books.fates.refused),
    ];
    for (name, count) in more.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(text, ", +{count} {name}");
    }
    let loss = if sent == 0 { 0.0 } else { (sent - received) as f64 * 100.0 / sent as f64 };
    let _ = write!(text, ", {}% packet loss", six_digits(loss));
    text
}

/// As `%g` of printf(3) writes a number up to 100: six digits.
fn six_digits(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let decimals = (5.0 - number.log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// From the first probe to what came last.
fn elapsed(books: &Books) -> Duration {
    let first = books.first_sent.unwrap_or(books.last_event);
    Duration::from_nanos(books.last_event.saturating_sub(first))
}

/// The least, mean and longest time, and their deviation, in milliseconds.
fn times(histogram: &Histogram) -> Option<[f64; 4]> {
    let (min, max) = (histogram.min()?, histogram.max()?);
    Some([min as f64, histogram.mean()?, max as f64, histogram.deviation()?].map(|time| time / 1e6))
}

fn percentiles(books: &Books) -> String {
    let told = |name: &str, histogram: &Histogram| {
        let told = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")]
            .into_iter()
            .filter_map(|(q, word)| Some(format!("{word} {} ms", milliseconds(histogram.quantile(q)?))));
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| format!("{name} {} (n {})", told.join(", "), histogram.count()))
    };
    let lines = [told("rtt", &books.service), told("delay variation", &books.ipdv)];
    lines.into_iter().flatten().map(|line| line + "\n").collect()
}

/// The lowest and the highest TTL of all flows.
pub(super) fn ttl(books: &Books) -> Option<(u8, u8)> {
    let all = books.flows().filter_map(|flow| flow.ttl);
    all.reduce(|(least, most), (other_least, other_most)| (least.min(other_least), most.max(other_most)))
}

/// `; flow 3 (port 41207) lost 1 of 1`.
fn flows(books: &Books) -> String {
    let all = books.flows();
    if all.len() < 2 {
        return String::new();
    }
    let missing = all.enumerate().filter_map(|(index, flow)| {
        let missing = flow.sent.saturating_sub(flow.ok + books.late_of(index));
        let port = flow.source.map(|source| format!(" (port {})", source.port())).unwrap_or_default();
        (missing > 0).then(|| format!("flow {}{port} lost {missing} of {}", index + 1, flow.sent))
    });
    let mut missing: Vec<String> = missing.collect();
    let more = missing.len().saturating_sub(NAMED);
    missing.truncate(NAMED);
    if more > 0 {
        missing.push(format!("and {more} more flows"));
    }
    if missing.is_empty() { String::new() } else { format!("; {}", missing.join(", ")) }
}

/// How many flows had no answer at all, if others had one to everything.
pub(super) fn dead_flows(books: &Books) -> Option<usize> {
    // One probe that is lost may be lost by chance.
    let is_dead = |flow: &&crate::client::measurement::Flow| flow.sent > 1 && flow.ok == 0;
    let dead = books.flows().filter(is_dead).count();
    let is_whole = |flow: &&crate::client::measurement::Flow| flow.sent > 0 && flow.ok == flow.sent;
    (dead > 0 && books.flows().any(|flow| is_whole(&flow))).then_some(dead)
}

/// What the figures mean together.
fn remarks(books: &Books) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(dead) = dead_flows(books) {
        let all = books.flows().len();
        remarks.push(format!(
            "{dead} of {all} flows lost everything: one path of several is broken (ECMP or LAG)"
        ));
    }
    remarks.extend(books.step_of_losses().map(guarded));
    remarks
}

/// Every how many datagrams one is lost, and why that is so.
pub(super) fn guarded(step: u64) -> String {
    format!(
        "every {step}th datagram is lost, and no other: the server withholds it on purpose, so as not to answer another server for \
         ever; with echod that is `loop-breaker`, and `trusted` names the sources that get every answer"
    )
}

/// The line that ping(8) prints when it is asked how it stands.
pub(super) fn interim(books: &Books) -> String {
    let (sent, received) =
        (books.fates.planned - books.fates.unsent - books.fates.skipped, books.service.count());
    let settled = books.fates.sent();
    let loss = (settled.saturating_sub(received) * 100).checked_div(settled).unwrap_or(0);
    let mut text = format!("{received}/{sent} packets, {loss}% loss");
    if let (Some([min, mean, max, _]), Some(average)) = (times(&books.service), books.average) {
        let _ = write!(text, ", min/avg/ewma/max = {min:.3}/{mean:.3}/{:.3}/{max:.3} ms", average / 1e6);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_written_as_printf_does() {
        let written = [0.0, 20.0, 100.0, 100.0 / 3.0, 0.1, 1.0 / 300.0].map(six_digits);
        assert_eq!(written, ["0", "20", "100", "33.3333", "0.1", "0.00333333"]);
    }
}

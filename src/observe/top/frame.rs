//! What `echod top` shows: a line about the daemon, its listeners, its connections.

use super::changes::{Changes, ConnectionRates};
use crate::{
    observe::{
        options::TopOptions,
        status::{span, table},
    },
    report::figures,
};

/// The text; on a screen of `size` (columns and lines) as much of it as fits.
pub(super) fn text(changes: &Changes, options: &TopOptions, size: Option<(usize, usize)>) -> String {
    let sum =
        |rate: fn(&super::changes::ListenerRates) -> f64| changes.listeners.iter().map(rate).sum::<f64>();
    let mut lines = vec![format!(
        "echod {}, pid {}, up {}   {} open   in {}/s   out {}/s   refused {}",
        changes.version,
        changes.pid,
        span(changes.up),
        figures::count(changes.total as u64),
        bytes(sum(|listener| listener.received_per_second)),
        bytes(sum(|listener| listener.sent_per_second)),
        figures::rate(sum(|listener| listener.refused_per_second)),
    )];
    if size.is_some() {
        lines.push(format!("every {:?}   q quits, s sorts (by {})", options.interval, options.sort.word()));
    }
    lines.extend(changes.unready.iter().map(|trouble| format!("not ready: {trouble}")));
    let faulty = changes
        .listeners
        .iter()
        .filter_map(|listener| listener.faults.as_ref().map(|faults| format!("{} {faults}", listener.name)));
    let faulty: Vec<_> = faulty.collect();
    if !faulty.is_empty() {
        lines.push(format!("faults on purpose: {}", faulty.join(", ")));
    }
    lines.push(String::new());
    let headings = ["LISTENER", "OPEN", "SERVED", "IN/s", "OUT/s", "REFUSED", "LOST"];
    let rows: Vec<Vec<String>> = changes
        .listeners
        .iter()
        .map(|listener| {
            vec![
                listener.name.clone(),
                figures::count(listener.open.into()),
                figures::rate(listener.served_per_second),
                bytes(listener.received_per_second),
                bytes(listener.sent_per_second),
                figures::rate(listener.refused_per_second),
                figures::rate(listener.lost_per_second),
            ]
        })
        .collect();
    lines.extend(table(&headings, &rows, 1).lines().map(str::to_owned));
    lines.push(String::new());
    let headings = ["PEER", "LISTENER", "IDLE", "IN/s", "OUT/s", "RTT", "RETR", "UNREAD", "UNSENT", ""];
    let rows: Vec<_> = changes.connections.iter().take(options.lines).map(row).collect();
    lines.extend(table(&headings, &rows, 2).lines().map(str::to_owned));
    if let Some(hidden) = changes.total.checked_sub(rows.len()).filter(|hidden| *hidden > 0) {
        lines.push(format!("  and {} more", figures::count(hidden as u64)));
    }
    let Some((columns, height)) = size else { return lines.join("\n") + "\n" };
    let fitting = lines.iter().take(height).map(|line| line.chars().take(columns).collect::<String>());
    fitting.collect::<Vec<_>>().join("\n")
}

fn row(rates: &ConnectionRates) -> Vec<String> {
    let ConnectionRates { connection, received_per_second, sent_per_second } = rates;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let note = match (connection.not_reading, connection.open) {
        (true, _) => "not reading",
        (false, false) => "closing",
        (false, true) => "",
    };
    let peer = match connection.uid {
        Some(uid) => format!("{} of user {uid}", connection.peer),
        None => connection.peer.clone(),
    };
    vec![
        peer,
        connection.listener.clone(),
        or_dash(connection.idle_ms.map(|idle| figures::time(f64::from(idle) * 1e6))),
        or_dash(received_per_second.map(bytes)),
        or_dash(sent_per_second.map(bytes)),
        or_dash(connection.rtt_us.map(|rtt| figures::time(f64::from(rtt) * 1e3))),
        or_dash(connection.retransmits.map(|count| figures::count(count.into()))),
        figures::bytes(connection.unread.into()),
        figures::bytes(connection.unsent.into()),
        note.to_owned(),
    ]
}

fn bytes(per_second: f64) -> String {
    figures::bytes(per_second.round() as u64)
}

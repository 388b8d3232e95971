//! `echod status`: the snapshot of a running daemon, for people or as JSON.

use std::{fmt::Write, io, time::Duration};

use super::{
    fetch, health,
    options::{MetricsOptions, StatusOptions, StatusOutput},
    snapshot::{FaultsView, ListenerView, Snapshot, State},
};
use crate::report::{
    colour,
    error::{Exit, Failure},
    figures,
    stats::{Counts, Totals},
};

/// How long the daemon may take to answer: longer than its own time-out.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What to print.
///
/// # Errors
/// No daemon can be observed.
pub fn run(options: &StatusOptions) -> Result<String, Failure> {
    let daemon = &options.daemon;
    let json =
        fetch::find(daemon.config.as_deref(), daemon.address.as_deref())?.get_ok("/status", PATIENCE)?;
    match options.output {
        StatusOutput::Json => Ok(json),
        StatusOutput::Text => Ok(text(&read(&json)?, colour::is_taken_by(&io::stdout()))),
    }
}

/// The metrics as the daemon has them.
///
/// # Errors
/// No daemon can be observed.
pub fn metrics(options: &MetricsOptions) -> Result<String, Failure> {
    let daemon = &options.daemon;
    fetch::find(daemon.config.as_deref(), daemon.address.as_deref())?.get_ok("/metrics", PATIENCE)
}

/// Reads what `/status` has said.
pub(super) fn read(json: &str) -> Result<Snapshot, Failure> {
    serde_json::from_str(json).map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("this is not the status of an echod that is known here: {error}"),
        )
    })
}

/// The snapshot for people; what nobody must overlook is red if it `has_colours`.
pub fn text(seen: &Snapshot, has_colours: bool) -> String {
    let mut text = heading(seen) + "\n";
    for trouble in health::unready(seen) {
        let _ = writeln!(text, "not ready: {trouble}");
    }
    text.push('\n');
    let rows = seen.listeners.iter().map(row).collect::<Vec<_>>();
    let headings = [
        "LISTENER", "PROTOCOL", "MODE", "SERVICE", "WORKERS", "OPEN", "SERVED", "IN", "OUT", "REFUSED",
        "LOST",
    ];
    text.push_str(&table(&headings, &rows, 4));
    let of = |what: &str, counts: fn(&ListenerView) -> Vec<(String, u64)>| {
        let each = seen.listeners.iter().filter_map(|listener| {
            let counts: Vec<_> = counts(listener)
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(word, count)| format!("{} {word}", figures::count(count)))
                .collect();
            (!counts.is_empty()).then(|| format!("{} {}", listener.name, counts.join(", ")))
        });
        let each: Vec<_> = each.collect();
        (!each.is_empty()).then(|| format!("{what}: {}\n", each.join("; ")))
    };
    let refused = of("refused", |listener| words(&listener.totals.refused));
    let lost = of("lost", |listener| losses(&listener.totals));
    let faults = seen.listeners.iter().filter(|listener| listener.has_faults()).map(faults);
    let faults = faults.map(|line| if has_colours { colour::red(&line) } else { line } + "\n");
    let handed_on = of("left to the socket by the kernel", |listener| words(&listener.totals.handed_on));
    let of_kernel = offloaded(seen).into_iter().chain(handed_on);
    let more: Vec<String> = refused.into_iter().chain(lost).chain(of_kernel).chain(faults).collect();
    if !more.is_empty() {
        text.push('\n');
    }
    text + &more.concat()
}

/// The line about the faults on purpose of a listener: `faults: udp wifi (seed 42): 12 drop, 3 duplicate`.
fn faults(listener: &ListenerView) -> String {
    let plan = listener.faults.as_ref().map_or_else(|| "no plan any more".to_owned(), FaultsView::to_string);
    let Totals { faults, faults_untracked, .. } = &listener.totals;
    let untracked = ("sources numbered anew".to_owned(), *faults_untracked);
    let counts = words(faults).into_iter().chain([untracked]).filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts.map(|(word, count)| format!("{} {word}", figures::count(count))).collect();
    let counts = if counts.is_empty() { "none yet".to_owned() } else { counts.join(", ") };
    format!("faults: {} {plan}: {counts}", listener.name)
}

/// What the kernel answers itself, and where.
fn offloaded(seen: &Snapshot) -> Option<String> {
    let of_one = |listener: &ListenerView| {
        let places = match listener.offload.as_deref() {
            None => None,
            Some([]) => Some("nowhere".to_owned()),
            Some(names) => Some(format!("on {}", names.join(" and "))),
        };
        let count = listener.totals.offloaded;
        (places.is_some() || count > 0).then(|| {
            let now = places.map_or_else(String::new, |places| format!(", now {places}"));
            format!(
                "{} {} of {}{now}",
                listener.name,
                figures::count(count),
                figures::count(listener.totals.served)
            )
        })
    };
    let each: Vec<_> = seen.listeners.iter().filter_map(of_one).collect();
    (!each.is_empty()).then(|| format!("answered by the kernel: {}\n", each.join("; ")))
}

/// The line about the daemon as a whole.
pub(super) fn heading(seen: &Snapshot) -> String {
    let mut parts = vec![
        format!("echod {}, pid {}", seen.version, seen.pid),
        format!("up {}", span(seen.time - seen.started)),
    ];
    let taken = span(seen.time - seen.reload.success_time);
    let config = seen.config.as_deref().unwrap_or("built in, or from the command line");
    parts.push(match &seen.reload.refused {
        None => format!("config {config} read {taken} ago"),
        Some(why) => format!("config {config} of {taken} ago; the last reload was refused: {why}"),
    });
    parts.push(match seen.sandbox.as_slice() {
        [] => "no sandbox".to_owned(),
        layers => format!("sandbox: {}", layers.join(", ")),
    });
    parts.join(", ")
}

fn row(listener: &ListenerView) -> Vec<String> {
    let ListenerView { name, protocol, mode, service, workers, open, limit, totals, state, .. } = listener;
    vec![
        match state {
            State::Serving => name.clone(),
            State::Failed => format!("{name} (failed)"),
            State::Ended => format!("{name} (ended)"),
        },
        protocol.clone(),
        mode.clone(),
        service.clone(),
        if *workers == 0 { "per request".to_owned() } else { workers.to_string() },
        if listener.is_stream() { format!("{open}/{limit}") } else { "-".to_owned() },
        figures::count(totals.served),
        figures::bytes(totals.received),
        figures::bytes(totals.sent),
        figures::count(totals.refused.values().sum()),
        figures::count(losses(totals).iter().map(|(_, count)| count).sum()),
    ]
}

fn words(counts: &Counts) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| (word.clone().into_owned(), *count)).collect()
}

/// What did not reach echod or the client, by the word of its counter.
pub(super) fn losses(totals: &Totals) -> Vec<(String, u64)> {
    let Totals { undelivered, truncated, dropped, forbidden, unreachable, oversize, .. } = totals;
    [
        ("undelivered", undelivered),
        ("truncated", truncated),
        ("dropped", dropped),
        ("forbidden", forbidden),
        ("unreachable", unreachable),
        ("oversize", oversize),
    ]
    .map(|(word, count)| (word.to_owned(), *count))
    .into()
}

/// A table whose first `left` columns are aligned to the left, the others to the right.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| Some(row.get(column)?.chars().count()));
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, width))| match column < left {
            true => format!("{cell:width$}"),
            false => format!("{cell:>width$}"),
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    };
    let mut text = line(headings.to_vec());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}

/// A time in its two largest units: `3 d 4 h`, `2 min 5 s`, `17 s`.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let Some(at) = units.iter().position(|(size, _)| whole >= *size) else { return "0 s".to_owned() };
    let (size, unit) = units[at];
    match units.get(at + 1).map(|(smaller, unit)| (whole % size / smaller, unit)) {
        None | Some((0, _)) => format!("{} {unit}", whole / size),
        Some((rest, smaller)) => format!("{} {unit} {rest} {smaller}", whole / size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        assert_eq!(
            [0.4, 17.0, 125.0, 3600.0, 273_700.0].map(span),
            ["0 s", "17 s", "2 min 5 s", "1 h", "3 d 4 h"]
        );
    }

    #[test]
    fn what_is_wrong_stands_before_the_table_and_what_was_refused_behind_it() {
        let mut totals =
            Totals { served: 1_203_411, received: 1 << 20, undelivered: 17, ..Totals::default() };
        totals.refused.insert("rate".into(), 231);
        let listener = ListenerView {
            name: "udp".into(),
            protocol: "udp".into(),
            mode: "epoll".into(),
            service: "echo".into(),
            workers: 1,
            state: State::Failed,
            totals,
            ..ListenerView::default()
        };
        let seen =
            Snapshot { version: "1.2.3".into(), pid: 7, listeners: vec![listener], ..Snapshot::default() };
        let told = text(&seen, true);
        let lines: Vec<_> = told.lines().collect();
        assert!(lines[0].starts_with("echod 1.2.3, pid 7, up 0 s, config built in"), "{told}");
        assert_eq!(lines[1], "not ready: listener \"udp\" has failed");
        assert!(lines[4].contains("1,203,411  1.00 MiB"), "{told}");
        assert_eq!(lines[6..], ["refused: udp 231 rate", "lost: udp 17 undelivered"], "{told}");
    }

    #[test]
    fn faults_on_purpose_are_told_as_long_as_there_are_some() {
        let mut listener = ListenerView { name: "udp".into(), ..ListenerView::default() };
        let last = |listener: &ListenerView, has_colours| {
            let seen = Snapshot { listeners: vec![listener.clone()], ..Snapshot::default() };
            text(&seen, has_colours).lines().last().unwrap().to_owned()
        };
        assert!(!last(&listener, true).contains("faults"));
        listener.faults = Some(FaultsView { plan: "wifi".into(), seed: 42 });
        assert_eq!(last(&listener, false), "faults: udp wifi (seed 42): none yet");
        listener.totals.faults.insert("drop".into(), 1200);
        listener.totals.faults.insert("duplicate".into(), 3);
        listener.totals.faults_untracked = 5;
        let line = "faults: udp wifi (seed 42): 1,200 drop, 3 duplicate, 5 sources numbered anew";
        assert_eq!(last(&listener, false), line);
        assert_eq!(last(&listener, true), format!("\x1b[31m{line}\x1b[0m"));
        listener.faults = None;
        assert!(last(&listener, false).starts_with("faults: udp no plan any more: 1,200 drop"));
    }
}

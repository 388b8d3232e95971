//! `/`: a page for people who would rather look than read.
//!
//! The page is one file. It comes with the numbers of one look in it, and is whole without its script; the script asks `/status` every second
//! and puts the same texts into the same places. A place is `{{name}}` here and `data-is="name"` there.
//!
//! What the configuration says is text and never markup: it is escaped here, and the script sets nothing but text. The policy of
//! the response lets nothing else run: no script and no style without the nonce of this response, and no request but to the endpoint.

use std::{
    cmp::Reverse,
    fmt::{Display, Write},
    io,
};

use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    health,
    http::{HttpResponse, Status},
    snapshot::{ListenerView, Snapshot, State},
    status::{losses, span},
};
use crate::report::{
    figures::{bytes, count},
    stats::{Counts, Totals},
};

const PAGE: &str = include_str!("page.html");

/// Where the row of a listener begins and ends in the page.
const ROW: [&str; 2] = ["<template id=\"row\">", "</template>"];

/// The page, with `paths` to look at besides.
pub fn page<'a>(seen: &Snapshot, paths: impl Iterator<Item = &'a str>) -> HttpResponse {
    match nonce() {
        Ok(nonce) => HttpResponse {
            status: Status::Ok,
            kind: "text/html; charset=utf-8",
            headers: headers(&nonce),
            body: body(seen, &nonce, paths),
        },
        Err(error) => HttpResponse::text(Status::Unavailable, format!("cannot make a nonce: {error}\n")),
    }
}

/// A number that nobody can know before the response: what somebody else has put into the page does not have it.
fn nonce() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

fn headers(nonce: &str) -> Vec<String> {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    vec![
        format!("Content-Security-Policy: {policy}"),
        "Referrer-Policy: no-referrer".to_owned(),
        "Cross-Origin-Opener-Policy: same-origin".to_owned(),
        "Cross-Origin-Resource-Policy: same-origin".to_owned(),
    ]
}

fn body<'a>(seen: &Snapshot, nonce: &str, paths: impl Iterator<Item = &'a str>) -> String {
    let [begin, end] = ROW;
    let (before, rest) = PAGE.split_once(begin).unwrap_or((PAGE, ""));
    let (row, after) = rest.split_once(end).unwrap_or(("", rest));
    let rows = seen.listeners.iter().map(|listener| fill(row, &of_listener(listener))).collect();
    let mut values = of_daemon(seen);
    values.html("nonce", nonce.to_owned());
    values.html("rows", rows);
    values.html("paths", links(paths));
    // The script makes rows of the empty one.
    [
        fill(before, &values),
        begin.to_owned(),
        fill(row, &Values::default()),
        end.to_owned(),
        fill(after, &values),
    ]
    .concat()
}

/// The texts of the places, as HTML.
#[derive(Default)]
struct Values(Vec<(&'static str, String)>);

impl Values {
    fn text(&mut self, name: &'static str, text: impl AsRef<str>) {
        self.html(name, escaped(text.as_ref()));
    }

    fn html(&mut self, name: &'static str, html: String) {
        self.0.push((name, html));
    }
}

/// Puts the values into their places. What a value has in it is no place.
fn fill(template: &str, values: &Values) -> String {
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (place, rest) = part.split_once("}}").unwrap_or(("", part));
        if let Some(what) = place.strip_prefix("line ") {
            // A String takes whatever is written.
            let _ = write!(
                filled,
                "<svg class=\"line\" data-line=\"{what}\" viewBox=\"0 0 59 20\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
                 <path/><path/></svg>"
            );
        } else if let Some((_, html)) = values.0.iter().find(|(name, _)| *name == place) {
            filled.push_str(html);
        }
        filled.push_str(rest);
    }
    filled
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// The other paths, relative to the page, so that it can lie below a path of a reverse proxy.
fn links<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let link = |path: &str| format!("<a href=\"{}\">{path}</a>", path.trim_start_matches('/'));
    paths.filter(|path| *path != "/").map(link).collect::<Vec<_>>().join(", ")
}

fn of_daemon(seen: &Snapshot) -> Values {
    let mut values = Values::default();
    let unready: Vec<String> = health::unready(seen).into_iter().chain(health::ailments(seen)).collect();
    let (verdict, tone, reasons) = match (unready.as_slice(), seen.reload.successful) {
        ([], true) => match seen.listeners.iter().filter(|listener| listener.faults.is_some()).count() {
            0 => ("Ready", "good", serving(seen.listeners.len())),
            faulty => {
                let serving = serving(seen.listeners.len());
                ("Ready", "warn", format!("{serving}, faults on purpose on {}", count(faulty as u64)))
            }
        },
        ([], false) => ("Ready", "warn", "the last reload was refused".to_owned()),
        ([only], _) if only == "draining" => {
            ("Draining", "warn", "no client is accepted any more".to_owned())
        }
        (lines, _) => ("Not ready", "bad", lines.join("; ")),
    };
    values.text("verdict", verdict);
    values.text("health", tone);
    values.text("reasons", reasons);
    values.text("seen", moment(seen.time));
    let (mut all, mut open, mut limit) = (Totals::default(), 0_u64, 0_u64);
    for listener in &seen.listeners {
        all += &listener.totals;
        open += u64::from(listener.open);
        limit += limit_of(listener).unwrap_or_default();
    }
    of_totals(&mut values, &all, open, Some(limit));
    values.text("version", &seen.version);
    values.text("process", processes(seen));
    values.text("started", since(seen.started, seen.time));
    values.text("config", seen.config.as_deref().unwrap_or("built in, or from the command line"));
    values.text("read", since(seen.reload.success_time, seen.time));
    let (state, reload) = match (seen.reload.successful, &seen.reload.refused) {
        (true, _) => ("good", "taken".to_owned()),
        (false, why) => {
            let why = why.as_deref().unwrap_or_default();
            ("bad", format!("refused, what was read before stays in force: {why}"))
        }
    };
    values.text("reload-state", state);
    values.text("reload", reload);
    values.text("sandbox", if seen.sandbox.is_empty() { "off".to_owned() } else { seen.sandbox.join(", ") });
    values
}

fn serving(listeners: usize) -> String {
    match listeners {
        1 => "the listener serves".to_owned(),
        several => format!("all {} listeners serve", count(several as u64)),
    }
}

fn processes(seen: &Snapshot) -> String {
    let forking: Vec<_> = seen.processes.iter().map(u32::to_string).collect();
    let of_forking = if forking.is_empty() { "" } else { "; of forking listeners: " };
    format!("{}{of_forking}{}", seen.pid, forking.join(", "))
}

fn of_listener(listener: &ListenerView) -> Values {
    let mut values = Values::default();
    let (state, condition) = match (listener.state, listener.responds) {
        (State::Serving, true) => ("serving", "serving"),
        (State::Serving, false) => ("silent", "does not respond"),
        (State::Failed, _) => ("failed", "failed"),
        (State::Ended, _) => ("ended", "ended"),
    };
    values.text("state", state);
    values.text("condition", condition);
    values.text("name", &listener.name);
    values.text("kind", [&*listener.protocol, &*listener.mode, &*listener.service].join(" · "));
    values.text("addresses", listener.addresses.join(", "));
    let totals = &listener.totals;
    of_totals(&mut values, totals, listener.open.into(), limit_of(listener));
    values.text("refused-why", reasons(totals.refused.iter().map(|(word, number)| (word, *number))));
    values.text("lost-why", reasons(losses(totals)));
    values.text("offloaded", offloaded(listener));
    let faults = [
        ("errors", totals.errors),
        ("workers died", totals.died),
        ("out of descriptors or memory", totals.exhausted),
    ];
    values.text("faults", reasons(faults));
    values.text("on-purpose", on_purpose(listener));
    values
}

/// What it does wrong on purpose: `Faults on purpose: wifi (seed 42): 12 drop, 3 duplicate`.
fn on_purpose(listener: &ListenerView) -> String {
    let counts = &listener.totals.faults;
    let counts = reasons(counts.iter().map(|(word, number)| (word, *number)));
    match &listener.faults {
        Some(plan) if counts.is_empty() => format!("Faults on purpose: {plan}, none yet"),
        Some(plan) => format!("Faults on purpose: {plan}: {counts}"),
        None if counts.is_empty() => String::new(),
        None => format!("No faults on purpose any more: {counts}"),
    }
}

/// What the kernel has answered itself, and where it does so now.
fn offloaded(listener: &ListenerView) -> String {
    let number = listener.totals.offloaded;
    match listener.offload.as_deref() {
        None if number == 0 => String::new(),
        None | Some([]) => format!("{} by the kernel, now nowhere", count(number)),
        Some(names) => format!("{} by the kernel, now on {}", count(number), names.join(", ")),
    }
}

/// How many connections it may have, if it has connections.
fn limit_of(listener: &ListenerView) -> Option<u64> {
    listener.is_stream().then_some(listener.limit.into())
}

fn of_totals(values: &mut Values, totals: &Totals, open: u64, limit: Option<u64>) {
    let of_all = |counts: &Counts| counts.values().sum();
    values.text("open", count(open));
    values.text("limit", limit.map_or_else(String::new, |limit| format!("of {}", count(limit))));
    values.text("served", count(totals.served));
    values.text("received", bytes(totals.received));
    values.text("sent", bytes(totals.sent));
    values.text("refused", count(of_all(&totals.refused)));
    values.text("lost", count(losses(totals).into_iter().map(|(_, number)| number).sum()));
}

/// The counts that are not 0, the highest first.
fn reasons(counts: impl IntoIterator<Item = (impl Display, u64)>) -> String {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, number)| *number > 0).collect();
    counts.sort_by_key(|(_, number)| Reverse(*number));
    counts.iter().map(|(word, number)| format!("{} {word}", count(*number))).collect::<Vec<_>>().join(", ")
}

/// A moment, and how long it was ago.
fn since(moment_of: f64, now: f64) -> String {
    format!("{}, {} ago", moment(moment_of), span(now - moment_of))
}

fn moment(seconds: f64) -> String {
    let time = jiff::Timestamp::from_second(seconds as i64).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::snapshot::FaultsView;

    #[test]
    fn every_place_has_its_text_and_no_text_is_a_place() {
        let evil = "<script>alert(1)</script>\"'&{{nonce}}";
        let listener = ListenerView { name: evil.to_owned(), responds: true, ..ListenerView::default() };
        let seen =
            Snapshot { listeners: vec![listener], config: Some(evil.to_owned()), ..Snapshot::default() };
        let body = body(&seen, "secret", ["/", "/status"].into_iter());
        let safe = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;{{nonce}}";
        assert_eq!(body.matches(safe).count(), 2, "{body}");
        assert_eq!(body.matches("<script").count(), 1, "{body}");
        assert_eq!(body.matches("secret").count(), 2, "{body}");
        assert!(body.contains("<a href=\"status\">/status</a>") && !body.contains("href=\"\""), "{body}");

        let mut known = of_daemon(&seen);
        known.0.extend(of_listener(&seen.listeners[0]).0);
        let mut unknown: Vec<_> = PAGE.split("{{").skip(1).filter_map(|part| part.split_once("}}")).collect();
        unknown.retain(|(place, _)| {
            !place.starts_with("line ") && known.0.iter().all(|(name, _)| name != place)
        });
        let names: Vec<_> = unknown.into_iter().map(|(place, _)| place).collect();
        assert_eq!(names, ["nonce", "rows", "paths", "nonce"]);
    }

    #[test]
    fn what_is_not_well_is_the_first_thing_to_see() {
        let verdict = |seen: &Snapshot| {
            let values = of_daemon(seen).0;
            let of = |wanted| values.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
            [of("verdict"), of("health"), of("reasons")]
        };
        let mut seen = Snapshot::default();
        seen.reload.successful = true;
        assert_eq!(verdict(&seen), ["Ready", "good", "all 0 listeners serve"]);
        let plan = FaultsView { plan: "wifi".into(), seed: 42 };
        seen.listeners = vec![ListenerView { faults: Some(plan), responds: true, ..ListenerView::default() }];
        assert_eq!(verdict(&seen), ["Ready", "warn", "the listener serves, faults on purpose on 1"]);
        seen.listeners.clear();
        seen.reload.successful = false;
        assert_eq!(verdict(&seen), ["Ready", "warn", "the last reload was refused"]);
        seen.draining = true;
        assert_eq!(verdict(&seen), ["Draining", "warn", "no client is accepted any more"]);
        seen.listeners =
            vec![ListenerView { name: "a".into(), state: State::Failed, ..ListenerView::default() }];
        let told = "draining; listener &quot;a&quot; has failed; listener &quot;a&quot; does not respond";
        assert_eq!(verdict(&seen), ["Not ready", "bad", told]);
    }

    #[test]
    fn faults_on_purpose_are_told_with_their_plan_and_counts() {
        let mut listener = ListenerView::default();
        assert_eq!(on_purpose(&listener), "");
        listener.faults = Some(FaultsView { plan: "wifi".into(), seed: 42 });
        assert_eq!(on_purpose(&listener), "Faults on purpose: wifi (seed 42), none yet");
        listener.totals.faults = [("drop".into(), 3), ("delay".into(), 12)].into();
        assert_eq!(on_purpose(&listener), "Faults on purpose: wifi (seed 42): 12 delay, 3 drop");
        listener.faults = None;
        assert_eq!(on_purpose(&listener), "No faults on purpose any more: 12 delay, 3 drop");
    }

    #[test]
    fn counts_and_moments_are_for_people() {
        assert_eq!(moment(0.0), "1970-01-01 00:00:00 UTC");
        assert_eq!(reasons([("a", 1), ("b", 0), ("c", 2000)]), "2,000 c, 1 a");
    }
}

//! The page: it says what `/status` says, runs nothing but its own script, asks nobody but the endpoint, and is moved by traffic.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{browser::Browser, by_port, get, observed, one_of_each, status};
use crate::harness::{Endpoint, eventually, listener, skipped};

const PAGE: &str = include_str!("../../../src/observe/page.html");

/// A name that would be a script, an element, the end of an attribute and a place of the page, if it were not only a name.
const EVIL: &str = "<script>document.title='evil'</script><b>'\"&amp;{{nonce}}";

/// As [`EVIL`] stands in the page.
const HARMLESS: &str =
    "&lt;script&gt;document.title=&#39;evil&#39;&lt;/script&gt;&lt;b&gt;&#39;&quot;&amp;amp;{{nonce}}";

fn evil(protocol: &str) -> String {
    listener(&EVIL.replace('"', "\\\""), protocol, "")
}

#[test]
fn it_has_the_numbers_of_the_status_without_a_script() {
    let daemon = observed(&one_of_each());
    for protocol in ["tcp", "udp", "unix", "unix-seqpacket", "unix-datagram"] {
        daemon.client(protocol).echo(&[7; 1234]);
    }
    let seen = eventually("the bytes", || {
        let seen = status(&daemon);
        let all = seen["listeners"].as_array().unwrap().iter();
        all.clone().all(|it| it["totals"]["sent"] == 1234 && it["open"] == 0).then_some(seen)
    });
    let page = get(&daemon, "/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.head.contains("Content-Type: text/html; charset=utf-8"), "{}", page.head);
    let has = |place: &str, text: &str| {
        let found = page.body.matches(&format!("data-is=\"{place}\">{text}<")).count();
        assert!(found > 0, "{place} is not {text}: {}", page.body);
        found
    };
    assert_eq!(has("served", "1"), 5);
    assert_eq!(has("received", "1.21 KiB"), 5);
    assert_eq!(has("sent", "1.21 KiB"), 5);
    assert_eq!(has("sent", "6.03 KiB"), 1, "all together");
    assert_eq!(has("condition", "serving"), 5);
    has("version", seen["version"].as_str().unwrap());
    has("process", &seen["pid"].to_string());
    for it in seen["listeners"].as_array().unwrap() {
        has("name", it["name"].as_str().unwrap());
        has("addresses", it["addresses"][0].as_str().unwrap());
        let words = ["protocol", "mode", "service"].map(|key| it[key].as_str().unwrap());
        has("kind", &words.join(" · "));
    }
}

#[test]
fn a_name_is_a_name_and_never_markup() {
    let daemon = observed(&(evil("tcp") + &listener("it", "tcp", "mode = \"forking\"")));
    let page = get(&daemon, "/").body;
    assert!(page.contains(HARMLESS), "{page}");
    assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
}

#[test]
fn nothing_runs_without_the_nonce_of_its_response() {
    let daemon = observed(&listener("it", "tcp", ""));
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let page = get(&daemon, "/");
        let policy =
            page.head.lines().find_map(|line| line.strip_prefix("Content-Security-Policy: ")).unwrap();
        let rules: BTreeMap<&str, &str> =
            policy.split("; ").map(|rule| rule.split_once(' ').unwrap_or((rule, ""))).collect();
        for closed in ["default-src", "base-uri", "form-action", "frame-ancestors"] {
            assert_eq!(rules[closed], "'none'", "{policy}");
        }
        assert_eq!((rules["connect-src"], rules["img-src"]), ("'self'", "data:"));
        let nonce = rules["script-src"].strip_prefix("'nonce-").unwrap().trim_end_matches('\'').to_owned();
        assert_eq!(nonce.len(), 32);
        assert_eq!(rules["style-src"], rules["script-src"]);
        for tag in ["<script", "<style"] {
            assert_eq!(page.body.matches(tag).count(), 1);
            assert!(page.body.contains(&format!("{tag} nonce=\"{nonce}\">")), "{tag}");
        }
        assert!(page.head.contains("Referrer-Policy: no-referrer"), "{}", page.head);
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
    for inline in [" style=", " onclick=", " onload=", "javascript:", "eval(", "innerHTML"] {
        assert!(!PAGE.contains(inline), "{inline}");
    }
}

#[test]
fn it_refers_to_nothing_outside() {
    for outside in ["http:", "https:", "//", "src=", "url(", "@import", "import("] {
        assert!(!PAGE.contains(outside), "{outside}");
    }
    let daemon = observed(&listener("it", "tcp", ""));
    let page = get(&daemon, "/").body;
    let mut links: Vec<_> =
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links.remove(0).starts_with("data:image/png;base64,"));
    assert!(links.contains(&"status"), "{links:?}");
    for link in links {
        // A kernel may list no connections.
        let status = get(&daemon, &format!("/{link}")).status;
        assert!(status == 200 || link == "connections" && status == 503, "{link}: {status}");
    }
}

#[test]
fn its_colours_can_be_read_in_both_themes() {
    let (light, dark) = PAGE.split_once("@media (prefers-color-scheme: dark)").unwrap();
    for theme in [light, dark] {
        let colours: BTreeMap<&str, f64> = theme.split("--").filter_map(colour).collect();
        for (wanted, names) in [
            (4.5, ["ink", "muted", "link", "good", "warn", "bad"]),
            // Lines need less than letters.
            (3.0, ["served", "open", "received", "sent", "refused", "lost"]),
        ] {
            for (name, ground) in names.iter().flat_map(|name| [(name, "page"), (name, "paper")]) {
                let (one, other) = (colours[name], colours[ground]);
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= wanted, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}

/// The name and the relative luminance of `name: #rrggbb; ...`.
fn colour(text: &str) -> Option<(&str, f64)> {
    let (name, rest) = text.split_once(": #")?;
    let value = u32::from_str_radix(rest.get(..6)?, 16).ok()?;
    let linear = [value >> 16, value >> 8, value].map(|part| {
        let part = f64::from(part & 0xff) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    Some((name, 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]))
}

#[test]
fn in_a_browser_it_moves_with_the_traffic_and_says_when_the_daemon_is_gone() {
    let Some(mut browser) = Browser::start() else { return };
    let long = format!("a-name-without-end-{}", "x".repeat(80));
    let mut daemon = observed(&(evil("udp") + &listener("it", "tcp", "") + &listener(&long, "unix", "")));
    let Endpoint::Tcp(address) = by_port(&daemon) else { unreachable!() };
    let url = format!("http://{address}/");
    browser.resize(320);
    browser.open(&url);
    let place = |row: usize, name: &str| {
        format!(
            "document.querySelector('#rows').children[{row}]?.querySelector('[data-is=\"{name}\"]')?.textContent"
        )
    };
    browser.wait(&format!("{} === '0 in all'", place(1, "served-sum")));
    assert_eq!(browser.value(&place(0, "name")), EVIL);
    assert_eq!(browser.value("document.querySelector('b')"), Value::Null);
    assert_eq!(browser.value("document.title"), "Ready – echod");
    // Numbers and lines move, and those of the others do not.
    let line = |row: usize| {
        format!(
            "document.querySelector('#rows').children[{row}].querySelector('[data-line=\"received\"]').matches('.flat')"
        )
    };
    browser.wait(&line(1));
    let client = daemon.client("it");
    client.echo(&[7; 1024]);
    browser.wait(&format!("{} === '1.00 KiB in all' && !{}", place(1, "received-sum"), line(1)));
    assert_eq!(browser.value(&place(1, "served-sum")), "1 in all");
    assert_eq!(browser.value(&line(2)), true);

    if get(&daemon, "/connections").status == 200 {
        let peer = client.socket.local_addr().unwrap().as_socket().unwrap().to_string();
        browser.wait(&format!("$('connections').innerText.includes('{peer}') && !$('connections').hidden"));
    } else {
        skipped("the kernel lists no connections here, the page was not seen to show them");
    }
    // With all its tables on it.
    for width in [320, 800, 1600] {
        browser.resize(width);
        let wide = browser.value("document.scrollingElement.scrollWidth - innerWidth");
        assert!(wide.as_i64().unwrap() <= 0, "at {width} pixels the page is {wide} wider");
    }
    drop(client);

    daemon.stop();
    browser.wait("document.title === 'The daemon does not answer – echod'");
    assert_eq!(browser.value(&place(1, "received")), "–", "a rate of nobody");
    assert_eq!(browser.value(&place(1, "condition")), "unknown");

    for request in browser.events("Network.requestWillBeSent") {
        let asked = request["request"]["url"].as_str().unwrap();
        assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
    }
    let thrown: Vec<_> = browser.events("Runtime.exceptionThrown").collect();
    assert!(thrown.is_empty(), "{thrown:?}");
    let refused: Vec<_> =
        browser.events("Log.entryAdded").filter(|event| event["entry"]["source"] == "security").collect();
    assert!(refused.is_empty(), "{refused:?}");
    browser.close();
}

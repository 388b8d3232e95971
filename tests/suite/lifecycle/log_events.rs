//! Every line of the log tells of an event that is in the table, with the fields that stand there.

use std::{collections::BTreeSet, fs, path::Path};

use echod::report::log_event::LogEvent;
use nix::sys::signal::Signal;

use crate::{
    docs::house::sources,
    harness::{Echod, Launch, it, listener},
};

/// Those that are built without the macros of `log`.
const WITHOUT_A_MACRO: [LogEvent; 2] = [LogEvent::ListenerState, LogEvent::LogLost];

/// A call of a macro of `log` in the source.
struct Call {
    level: &'static str,
    /// `listener = name`, `peer:% = url`.
    fields: Vec<String>,
    place: String,
}

impl Call {
    fn event(&self) -> Option<LogEvent> {
        let name = self.fields.iter().find_map(|field| field.strip_prefix("event = LogEvent::"))?;
        LogEvent::ALL.into_iter().find(|event| format!("{event:?}") == name)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let end = |c: char| !c.is_alphanumeric() && c != '_';
        self.fields.iter().map(move |field| field.split(end).next().unwrap()).filter(|key| *key != "event")
    }
}

#[test]
fn every_line_in_the_source_names_its_event_and_has_its_fields() {
    let calls: Vec<Call> = sources().iter().flat_map(|file| calls(file)).collect();
    assert!(calls.len() > 40, "these cannot be all the lines: {}", calls.len());
    for call in &calls {
        let event = call.event().unwrap_or_else(|| panic!("no event at {}", call.place));
        for key in call.keys() {
            assert!(event.fields().contains(&key), "{} at {} has no field {key}", event.word(), call.place);
        }
        let levels = event.level();
        assert!(call.level == "log" || levels.contains(call.level), "{} at {}", event.word(), call.place);
    }
    for event in LogEvent::ALL {
        if WITHOUT_A_MACRO.contains(&event) {
            continue;
        }
        let of_it = || calls.iter().filter(|call| call.event() == Some(event));
        assert!(of_it().next().is_some(), "nothing logs {}", event.word());
        let keys: BTreeSet<&str> = of_it().flat_map(Call::keys).collect();
        let table: BTreeSet<&str> = event.fields().iter().copied().collect();
        assert_eq!(keys, table, "the fields of {}", event.word());
    }
}

/// The calls in a file, up to its tests.
fn calls(file: &Path) -> Vec<Call> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace", "log"] {
        let call = format!("{level}!(");
        for (at, _) in code.match_indices(&call) {
            let starts_word = code[..at].ends_with(|c: char| c.is_whitespace() || "(|{:".contains(c));
            if starts_word && !line_of(code, at).trim_start().starts_with("//") {
                let place = format!("{}:{}", file.display(), code[..at].lines().count());
                let mut fields = fields(&code[at + call.len()..]).unwrap_or_default();
                if level == "log" && !fields.is_empty() {
                    fields.remove(0);
                }
                found.push(Call { level, fields, place });
            }
        }
    }
    found
}

fn line_of(code: &str, at: usize) -> &str {
    let start = code[..at].rfind('\n').map_or(0, |end| end + 1);
    code[start..].lines().next().unwrap()
}

/// What stands between the opening parenthesis of a macro and its semicolon, if it has one, split at the commas.
fn fields(arguments: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut depth) = (Vec::new(), String::new(), 0);
    let mut is_text = false;
    for c in arguments.chars() {
        match c {
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            ';' | ',' if depth == 0 => {
                fields.push(std::mem::take(&mut field).trim().to_owned());
                if c == ';' {
                    return Some(fields);
                }
                continue;
            }
            _ => {}
        }
        field.push(c);
    }
    None
}

/// Of a life with a client, a refused one, a reload that works and one that does not.
#[test]
fn every_line_of_a_daemon_is_an_event_of_the_table() {
    for mode in ["epoll", "forking"] {
        let keys = format!("mode = \"{mode}\"\npayload = \"text\"\n");
        let toml = |more: &str| {
            format!("[log]\nlevel = \"trace\"\nformat = \"json\"\n{}{more}", listener("it", "tcp", &keys))
        };
        let mut daemon = Launch::new().config(&toml("")).start();
        daemon.client("it").echo(b"hello");
        let closed = daemon.wait_event(LogEvent::ConnectionClosed, |_| true);
        assert_eq!(closed["bytes_received"], 5, "{closed}");
        daemon.reload(&toml(&it("deny = \"0.0.0.0/0\"").replace("\"it\"", "\"more\"")));
        daemon.reload("nonsense");
        daemon.signal(Signal::SIGUSR1);
        let state = daemon.wait_event(LogEvent::ListenerState, |state| state["listener"] == "it");
        assert_eq!((&state["served"], &state["state"]), (&1.into(), &"serving".into()), "{state}");
        daemon.stop();
        let events: Vec<_> = daemon.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for value in &events {
            let value: &serde_json::Value = value;
            let event = LogEvent::ALL.into_iter().find(|event| value["event"] == event.word());
            let event = event.unwrap_or_else(|| panic!("no event in {value}"));
            let level = value["level"].as_str().unwrap();
            assert!(event.level().contains(level), "{value}");
            let common = ["time", "level", "event", "message"];
            let known = |key: &str| common.contains(&key) || event.fields().contains(&key);
            let fields = value.as_object().unwrap().keys();
            let unknown: Vec<_> = fields.filter(|key| !known(key)).collect();
            assert!(unknown.is_empty() || event == LogEvent::ListenerState, "{unknown:?} in {value}");
        }
        for event in [
            LogEvent::ListenerServing,
            LogEvent::ConnectionOpened,
            LogEvent::PayloadReceived,
            LogEvent::ReloadDone,
            LogEvent::ReloadFault,
            LogEvent::ReloadRefused,
            LogEvent::DaemonStopping,
            LogEvent::DaemonStopped,
        ] {
            assert!(events.iter().any(|value| value["event"] == event.word()), "no {}", event.word());
        }
    }
}

/// The start ends with one line, behind those of the notes and of the listeners.
#[test]
fn a_daemon_tells_what_to_look_at_and_then_that_it_is_ready() {
    let amplifier = listener("loud", "udp", "service = \"chargen\"\nallow-amplification = true");
    let daemon = Echod::start_with_events(&(it("") + &amplifier));
    let note = daemon.wait_event(LogEvent::ConfigNote, |note| note["keys"] == "allow-amplification");
    assert_eq!((&note["listener"], note.get("address")), (&"loud".into(), None), "{note}");
    let ready = daemon.wait_event(LogEvent::DaemonReady, |_| true);
    assert_eq!(ready["listeners"], 2, "{ready}");
}

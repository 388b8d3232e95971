//! A key that a table has not: which one was meant.

use crate::config::{keys, synonyms, words};

/// The help for `key` in a table that has the `known` ones.
pub(in crate::config) fn help<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let habit = key.to_lowercase().replace('_', "-");
    let meant = synonyms::key(&habit).unwrap_or(&habit);
    let has = |key: &str| known.clone().any(|known| known == key);
    let is_whole_file = has("listener");
    if is_whole_file && let Some(table) = synonyms::table(&habit) {
        return format!("did you mean `{table}`?");
    }
    if meant == "address" && habit.starts_with("port") && has(meant) {
        return "did you mean `address`? a port is a part of it: `address = \"127.0.0.1:7\"`".to_owned();
    }
    if has(meant) || has(&format!("socket-{meant}")) && meant != habit {
        let meant = if has(meant) { meant.to_owned() } else { format!("socket-{meant}") };
        return format!("did you mean `{meant}`?");
    }
    if has("include") && ["includes", "import", "imports"].contains(&&*habit) {
        return "did you mean `include`?".to_owned();
    }
    if let Some(help) = elsewhere(&habit) {
        return help.to_owned();
    }
    if let Some((table, _)) = keys::all().find(|(_, known)| known.name() == meant) {
        return match meant == key {
            true => format!("this key belongs in `{table}`"),
            false => format!("did you mean `{meant}` in `{table}`?"),
        };
    }
    if !is_whole_file && ["daemon", "log", "observe", "defaults"].contains(&key) {
        return format!("write `[{key}]` on a line of its own");
    }
    match words::nearest(key, known.clone()) {
        Some(near @ ("listener" | "faults")) => format!("did you mean `[[{near}]]`?"),
        Some("include") => "did you mean `include`?".to_owned(),
        Some(near) if is_whole_file => format!("did you mean `[{near}]`?"),
        Some(near) => format!("did you mean `{near}`?"),
        None if known.clone().count() > 8 => {
            "no key is like it; `man echod.toml` explains them, `echod --print-config` prints them all"
                .to_owned()
        }
        None if is_whole_file => {
            "use one of `[daemon]`, `[log]`, `[observe]`, `[defaults]`, `[[listener]]`, `[[faults]]`"
                .to_owned()
        }
        None => words::suggestion(key, known),
    }
}

/// What is no key of the file at all.
fn elsewhere(habit: &str) -> Option<&'static str> {
    Some(match habit {
        "daemonize" | "background" | "fork" | "detach" => "that is an option: `echod --daemonize`",
        "foreground" => "take it out; echod stays in the foreground without `--daemonize`",
        "tls" | "ssl" | "certificate" | "cert" | "tls-cert" => {
            "take it out; echod has no TLS, a proxy in front may have (see `proxy-protocol`)"
        }
        "include" | "includes" | "import" => {
            "files with more listeners are named by `include` at the top of the file, before the first `[table]`; lists of networks by \
             `allow-include` and `deny-include`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_programs_are_known() {
        let of = |table: &str| {
            let all = keys::all().filter(|(header, _)| *header == table);
            all.map(|(_, key)| key.name()).collect::<Vec<_>>()
        };
        let (listener, daemon) = (of("[[listener]]"), of("[daemon]"));
        let listener = |key: &str| help(key, listener.iter().copied());
        for (key, meant) in [
            ("host", "address"),
            ("listen", "address"),
            ("bind", "address"),
            ("ip", "address"),
            ("type", "protocol"),
            ("threads", "workers"),
            ("timeout", "idle-timeout"),
            ("max_clients", "max-connections"),
            ("owner", "socket-user"),
            ("Mode", "mode"),
            ("max_connections", "max-connections"),
            ("max-conections", "max-connections"),
        ] {
            assert_eq!(listener(key), format!("did you mean `{meant}`?"), "{key}");
        }
        assert!(listener("port").starts_with("did you mean `address`?"));
        assert_eq!(listener("loglevel"), "did you mean `level` in `[log]`?");
        assert_eq!(listener("user"), "this key belongs in `[daemon]`");
        assert!(listener("colour").contains("man echod.toml"));
        let whole = |key: &str| help(key, ["daemon", "log", "defaults", "listener"].into_iter());
        assert_eq!(whole("listeners"), "did you mean `[[listener]]`?");
        assert_eq!(whole("server"), "did you mean `[[listener]]`?");
        assert_eq!(whole("logging"), "did you mean `[log]`?");
        let all = "use one of `[daemon]`, `[log]`, `[observe]`, `[defaults]`, `[[listener]]`, `[[faults]]`";
        assert_eq!(whole("x"), all);
        assert_eq!(whole("mode"), "this key belongs in `[[listener]]`");
        assert_eq!(whole("port"), "did you mean `address` in `[[listener]]`?");
        let daemon = |key: &str| help(key, daemon.iter().copied());
        assert_eq!(daemon("pid"), "did you mean `pid-file`?");
        assert_eq!(daemon("daemonize"), "that is an option: `echod --daemonize`");
    }
}

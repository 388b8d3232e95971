//! A valid configuration for people's eyes: `--check` and `--print-config`.

use std::fmt::Write;

use super::{Address, Config, Listener, Payload, Protocol, Workers, file, parse::Shape, validate::Fit};

impl Config {
    /// What would run: a line for each address of each listener.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for listener in &self.listeners {
            let limits = listener.limits();
            for address in &listener.address {
                let Listener { name, protocol, mode, workers, service, .. } = listener;
                let url = protocol.url(address);
                let line = format!(
                    "listener \"{name}\": {service} at {url}, mode {mode}, workers {workers}{limits}"
                );
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// The same as a file. Keys that mean nothing for a listener are left out, because a file may not have them.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        table(&mut text, "[daemon]", file::Daemon::KEYS, &self.daemon);
        table(&mut text, "\n[log]", file::Log::KEYS, &self.log);
        for listener in &self.listeners {
            let fit = Fit::of(listener);
            let keys: Vec<_> = file::Listener::KEYS.iter().copied().filter(|key| fit.allows(key)).collect();
            table(&mut text, "\n[[listener]]", &keys, listener);
        }
        text
    }
}

impl Protocol {
    /// How `address` is written in messages and after `--listen`: `tcp://[::1]:7`, `unix:/run/x.sock`, `unix:@name`.
    pub fn url(self, address: &Address) -> String {
        match self {
            Self::Tcp | Self::Udp => format!("{self}://{address}"),
            Self::Unix | Self::UnixDatagram => format!("{self}:{address}"),
        }
    }
}

impl Listener {
    fn limits(&self) -> String {
        let unit = match (self.protocol, self.workers) {
            (Protocol::Tcp | Protocol::Unix, _) => Some("connections"),
            (_, Workers::PerRequest) => Some("datagrams"),
            _ => None,
        };
        let mut limits: Vec<String> = Vec::new();
        limits.extend(unit.map(|unit| match self.max_connections {
            1 => format!("one {} at a time", unit.trim_end_matches('s')),
            most => format!("at most {most} {unit}"),
        }));
        if self.max_requests > 0 {
            limits.push(format!("{} in all", self.max_requests));
        }
        if self.payload != Payload::Off {
            limits.push(format!("payload {}", self.payload));
        }
        if self.optional {
            limits.push("optional".to_owned());
        }
        limits.iter().map(|limit| format!(", {limit}")).collect()
    }
}

/// Writes the values of `keys` in their order; a value without one, such as an owner that was not chosen, is left out.
fn table(text: &mut String, header: &str, keys: &[&str], values: &impl serde::Serialize) {
    // Plain data always has a TOML form, and a String takes whatever is written.
    let values = toml::Table::try_from(values).unwrap_or_default();
    let _ = writeln!(text, "{header}");
    for (key, value) in keys.iter().filter_map(|key| values.get(*key).map(|value| (key, value))) {
        let _ = writeln!(text, "{key} = {}", written(value));
    }
}

/// An owner has its number beside its name, but a file has only the name.
fn written(value: &toml::Value) -> toml::Value {
    match value {
        toml::Value::Array(list) => list.iter().map(written).collect::<Vec<_>>().into(),
        value => value.get("name").unwrap_or(value).clone(),
    }
}

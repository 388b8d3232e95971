//! A valid configuration for people's eyes: `--check` and `--print-config`.

use std::fmt::Write;

use super::{
    Address, Config, Listener, Payload, Protocol, Workers,
    applicability::Profile,
    keys::{Reload, Values},
};

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
        let none = Profile::default();
        let mut text = String::new();
        table(&mut text, "[daemon]", &self.daemon, &none);
        table(&mut text, "\n[log]", &self.log, &none);
        table(&mut text, "\n[observe]", &self.observe, &none);
        for listener in &self.listeners {
            table(&mut text, "\n[[listener]]", listener, &Profile::of(listener));
        }
        for plan in &self.faults {
            table(&mut text, "\n[[faults]]", &**plan, &none);
        }
        text
    }
}

impl Config {
    /// The keys with another value in `new`, which counts when the daemon is started the next time.
    pub fn for_the_next_start(&self, new: &Self) -> Vec<&'static str> {
        let changed = self.daemon.changed(&new.daemon).into_iter().chain(self.observe.changed(&new.observe));
        changed.filter(|key| key.reload() == Reload::Restart).map(|key| key.name()).collect()
    }
}

impl Protocol {
    /// How `address` is written in messages and after `--listen`: `tcp://[::1]:7`, `unix:/run/x.sock`, `unix:@name`. What means something
    /// else in a URL is encoded in a path or a name, so that it leads to the same socket.
    pub fn url(self, address: &Address) -> String {
        match self {
            Self::Tcp | Self::Udp => format!("{self}://{address}"),
            Self::Unix | Self::UnixSeqpacket | Self::UnixDatagram => {
                let place = address.to_string().replace('%', "%25").replace('?', "%3F");
                // Two slashes are taken for the beginning of a place, not for a part of it.
                let begin = if place.starts_with("//") { "//" } else { "" };
                format!("{self}:{begin}{place}")
            }
        }
    }
}

impl Listener {
    fn limits(&self) -> String {
        let unit = match (self.protocol, self.workers) {
            (protocol, _) if protocol.is_stream() => Some("connections"),
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
        if let Some(plan) = &self.faults {
            limits.push(format!("faults {} (seed {})", plan.name, plan.seed()));
        }
        if self.optional {
            limits.push("optional".to_owned());
        }
        limits.iter().map(|limit| format!(", {limit}")).collect()
    }
}

/// Writes the values; one that no file could say, such as an owner that was not chosen, is left out.
fn table(text: &mut String, header: &str, values: &impl Values, it: &Profile) {
    // A String takes whatever is written.
    let _ = writeln!(text, "{header}");
    let fitting =
        values.to_toml().into_iter().filter(|(key, _)| key.is_printed() && key.misfit(it).is_none());
    for (key, value) in fitting.filter_map(|(key, value)| Some((key, value?))) {
        let _ = writeln!(text, "{} = {value}", key.name());
    }
}

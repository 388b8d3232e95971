//! `deny-source-ports`: "reflectors", "privileged", "none", ports and ranges of ports.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::{diagnostic::Diagnostic, keys::Ask, misfit::Found, quoted};

/// What `deny-source-ports` says. [`fmt::Display`] writes it as the file may have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePorts(pub Vec<PortChoice>);

/// Some of the ports that are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortChoice {
    /// Those of services that answer whatever reaches them, and our own.
    Reflectors,
    /// Those below 1024.
    Privileged,
    /// One, or a range.
    Ports(RangeInclusive<u16>),
}

impl Default for SourcePorts {
    fn default() -> Self {
        SourcePorts(vec![PortChoice::Reflectors])
    }
}

/// Reads the value of the key. A text may have several choices with commas between them, as a URL needs it.
pub(super) fn read(ask: &Ask<'_>) -> Result<SourcePorts, Diagnostic> {
    match ask.found() {
        Found::Text(_) | Found::Integer(_) | Found::List => {}
        _ => return Err(ask.misfit()),
    }
    let mut all = Vec::new();
    for element in ask.raw.elements() {
        match (element.found(), element.as_integer()) {
            (Found::Text(text), _) => all.extend(choices(text)?),
            (_, Some(port)) => all.push(choice(&port.to_string())?),
            (Found::Switch(switch), _) => return Err(unknown(&format!("`{switch}`"))),
            _ => return Err(Ask { raw: &element, ..*ask }.misfit()),
        }
    }
    Ok(SourcePorts(all))
}

fn choices(text: &str) -> Result<Vec<PortChoice>, Diagnostic> {
    match text {
        "none" => Ok(Vec::new()),
        text => text.split(',').map(|part| choice(part.trim())).collect(),
    }
}

fn choice(text: &str) -> Result<PortChoice, Diagnostic> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    match (text, text.split_once('-').unwrap_or((text, text))) {
        ("reflectors", _) => Ok(PortChoice::Reflectors),
        ("privileged", _) => Ok(PortChoice::Privileged),
        (_, (first, last)) => match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(PortChoice::Ports(first..=last)),
            _ => Err(unknown(&quoted(text))),
        },
    }
}

fn unknown(written: &str) -> Diagnostic {
    Diagnostic::new(
        format!("{written} is no choice of ports"),
        "write \"reflectors\", \"privileged\", \"none\", or a list such as [7, 19, \"4000-4009\"]",
    )
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reflectors => f.write_str("reflectors"),
            Self::Privileged => f.write_str("privileged"),
            Self::Ports(ports) if ports.start() == ports.end() => write!(f, "{}", ports.start()),
            Self::Ports(ports) => write!(f, "{}-{}", ports.start(), ports.end()),
        }
    }
}

impl fmt::Display for SourcePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        self.0.iter().enumerate().try_for_each(|(index, choice)| {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{choice}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for (written, printed) in [
            ("reflectors", "reflectors"),
            ("none", "none"),
            ("reflectors, 7000-7009", "reflectors,7000-7009"),
            ("7,privileged,9-9", "7,privileged,9"),
            ("0,65535", "0,65535"),
        ] {
            let read = SourcePorts(choices(written).unwrap());
            assert_eq!(read.to_string(), printed);
            assert_eq!(SourcePorts(choices(printed).unwrap()), read);
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["", "reflector", "65536", "-1", "9-7", "7-", "+7", "7;9", "none,7", "7,,9", "7 9"] {
            assert!(choices(text).is_err(), "{text:?}");
        }
    }
}

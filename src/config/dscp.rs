//! The DSCP of answers: how routers are asked to treat them (RFC 2474).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    diagnostic::Diagnostic,
    keys::{Form, Notation},
    misfit::Found,
    quoted,
};

/// The DSCP that answers carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dscp {
    /// This one, from 0 to 63.
    Value(u8),
    /// That of the request.
    Reflect,
}

/// The names that the registry has for some values (RFC 2474, 2597, 3246, 5865 and 8622).
const NAMES: [(&str, u8); 25] = [
    ("CS0", 0),
    ("LE", 1),
    ("CS1", 8),
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("CS2", 16),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("CS3", 24),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("CS4", 32),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    ("CS5", 40),
    ("VOICE-ADMIT", 44),
    ("EF", 46),
    ("CS6", 48),
    ("CS7", 56),
    ("DF", 0),
    ("BE", 0),
];

/// A value, its name, or `reflect`. `None` leaves it to the kernel.
pub(super) const DSCP: Notation<Option<Dscp>> = Notation {
    form: Form::Dscp,
    read: |ask| match (ask.found(), ask.raw.as_integer()) {
        (_, Some(value @ 0..=63)) => Ok(Some(Dscp::Value(value as u8))),
        (_, Some(tos @ 64..=252)) if tos % 4 == 0 => Err(Diagnostic::new(
            format!("`dscp` cannot be {tos}"),
            format!(
                "write {}, if that is meant as the whole TOS byte; a DSCP is a number from 0 to 63",
                written(Dscp::Value((tos / 4) as u8))
            ),
        )),
        (Found::Text("reflect"), _) => Ok(Some(Dscp::Reflect)),
        (Found::Text(text), None) => {
            let unknown = || {
                let help = ask.form.help(ask.key, ask.found());
                Diagnostic::new(format!("unknown DSCP {}", quoted(text)), help)
            };
            Dscp::named(text).map(|value| Some(Dscp::Value(value))).ok_or_else(unknown)
        }
        _ => Err(ask.misfit()),
    },
    write: |dscp| {
        dscp.map(|dscp| match dscp {
            Dscp::Value(value) if name(value).is_none() => toml::Value::Integer(value.into()),
            dscp => dscp.to_string().into(),
        })
    },
};

impl Dscp {
    /// The value with this name, in whatever case.
    pub fn named(text: &str) -> Option<u8> {
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    }
}

/// The name of a value, if it has one.
fn name(value: u8) -> Option<&'static str> {
    NAMES.iter().find(|(_, named)| *named == value).map(|(name, _)| *name)
}

/// As it stands in a file.
fn written(dscp: Dscp) -> String {
    match dscp {
        Dscp::Value(value) if name(value).is_none() => value.to_string(),
        dscp => format!("\"{dscp}\""),
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dscp::Reflect => f.write_str("reflect"),
            Dscp::Value(value) => match name(*value) {
                Some(name) => f.write_str(name),
                None => write!(f, "{value}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load_url};

    fn read(dscp: &str) -> Result<Option<Dscp>, String> {
        let url = format!("udp://127.0.0.1:0?dscp={dscp}");
        load_url("--listen", &url, &Environment::default())
            .map(|loaded| loaded.config.listeners[0].dscp)
            .map_err(|error| error.plain().to_owned())
    }

    #[test]
    fn values_have_names() {
        for (text, dscp, printed) in [
            ("EF", Dscp::Value(46), "EF"),
            ("ef", Dscp::Value(46), "EF"),
            ("46", Dscp::Value(46), "EF"),
            ("cs0", Dscp::Value(0), "CS0"),
            ("DF", Dscp::Value(0), "CS0"),
            ("af41", Dscp::Value(34), "AF41"),
            ("63", Dscp::Value(63), "63"),
            ("reflect", Dscp::Reflect, "reflect"),
        ] {
            assert_eq!(read(text), Ok(Some(dscp)));
            assert_eq!(dscp.to_string(), printed);
            assert_eq!(read(printed), Ok(Some(dscp)));
        }
        // RFC 2597: class and drop precedence.
        for (class, drop) in (1..=4).flat_map(|class| (1..=3).map(move |drop| (class, drop))) {
            assert_eq!(read(&format!("AF{class}{drop}")), Ok(Some(Dscp::Value(8 * class + 2 * drop))));
        }
    }

    #[test]
    fn what_is_none_gets_a_cure() {
        for (text, told) in [
            ("184", "write \"EF\", if that is meant as the whole TOS byte"),
            ("252", "write 63, if that"),
            ("64", "write \"CS2\", if that"),
            ("185", "write a number from 0 to 63"),
            ("-1", "write a number from 0 to 63"),
            ("AF44", "unknown DSCP `AF44`"),
            ("copy", "did you mean `reflect`?"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}

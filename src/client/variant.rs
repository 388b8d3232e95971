//! What `--compare` puts beside each other: the modes, and what has a row of its own within one.

use std::fmt;

use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use crate::config::{Mode, Trigger};

/// What is behind the name of the mode if epoll(7) reports changes only.
const EDGE: &str = "-edge";

/// A mode with what `trigger` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The mode.
    pub mode: Mode,
    /// When epoll(7) reports a descriptor; other modes have no choice.
    pub trigger: Trigger,
}

impl Variant {
    /// Reads `epoll`, `epoll-edge`, `io-uring`.
    ///
    /// # Errors
    /// What could be there.
    pub fn read(text: &str) -> Result<Variant, String> {
        let mode = |word: &str| {
            let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
            Mode::deserialize(word).ok()
        };
        if let Some(mode) = mode(text) {
            return Ok(mode.into());
        }
        if text.strip_suffix(EDGE).and_then(mode) == Some(Mode::Epoll) {
            return Ok(Variant { mode: Mode::Epoll, trigger: Trigger::Edge });
        }
        let cure = match text.contains(':') {
            true => "; write a URL before --compare",
            false => "",
        };
        Err(format!(
            "modes are iterative, threading, forking, select, poll, epoll, epoll-edge and io-uring{cure}"
        ))
    }

    /// The parameters of a URL that have it served like that: `mode=epoll&trigger=edge`.
    pub fn parameters(self) -> String {
        match self.trigger {
            Trigger::Level => format!("mode={}", self.mode),
            Trigger::Edge => format!("mode={}&trigger=edge", self.mode),
        }
    }
}

impl From<Mode> for Variant {
    fn from(mode: Mode) -> Self {
        Variant { mode, trigger: Trigger::Level }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.mode, if self.trigger == Trigger::Edge { EDGE } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_the_daemon_and_epoll_has_two() {
        for mode in Mode::ALL {
            assert_eq!(Variant::read(&mode.to_string()), Ok(Variant::from(mode)));
        }
        let edge = Variant::read("epoll-edge").unwrap();
        assert_eq!(
            (edge.to_string().as_str(), edge.parameters().as_str()),
            ("epoll-edge", "mode=epoll&trigger=edge")
        );
        for text in ["kqueue", "poll-edge", "-edge"] {
            assert!(Variant::read(text).unwrap_err().ends_with("io-uring"), "{text}");
        }
        assert!(Variant::read("udp://").unwrap_err().ends_with("write a URL before --compare"));
    }
}

//! What `--compare` puts beside each other: the modes, and what has a row of its own within one.

use std::fmt;

use serde::{
    Deserialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use crate::config::{Mode, Trigger};

/// What is behind the name of the mode if epoll(7) reports changes only.
const EDGE: &str = "-edge";

/// What is behind it if the kernel echoes.
const OFFLOAD: &str = "-offload";

/// A mode with what `trigger` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The mode.
    pub mode: Mode,
    /// When epoll(7) reports a descriptor; other modes have no choice.
    pub trigger: Trigger,
    /// Whether the kernel echoes (`offload`).
    pub offload: bool,
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
            return Ok(Variant { trigger: Trigger::Edge, ..Variant::from(Mode::Epoll) });
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
        let trigger = if self.trigger == Trigger::Edge { "&trigger=edge" } else { "" };
        format!("mode={}{trigger}{}", self.mode, if self.offload { "&offload=on" } else { "" })
    }
}

impl From<Mode> for Variant {
    fn from(mode: Mode) -> Self {
        Variant { mode, trigger: Trigger::Level, offload: false }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edge = if self.trigger == Trigger::Edge { EDGE } else { "" };
        write!(f, "{}{edge}{}", self.mode, if self.offload { OFFLOAD } else { "" })
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
        let offload = Variant { offload: true, ..Mode::Epoll.into() };
        assert_eq!(
            (offload.to_string().as_str(), offload.parameters().as_str()),
            ("epoll-offload", "mode=epoll&offload=on")
        );
        for text in ["kqueue", "poll-edge", "-edge"] {
            assert!(Variant::read(text).unwrap_err().ends_with("io-uring"), "{text}");
        }
        assert!(Variant::read("udp://").unwrap_err().ends_with("write a URL before --compare"));
    }
}

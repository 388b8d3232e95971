//! The words of the file for every choice, and the nearest one for a misspelt one. The words themselves are serde's, so
//! that they are written in one place.

use std::fmt;

use serde::{
    Serialize,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

use super::{
    Fallback, LogFormat, LogLevel, LogTarget, Mode, Offload, Payload, Protocol, ProxyProtocol, Sandbox,
    ServiceKind, Trigger, WhenFull, Workers, quoted, synonyms,
};
use crate::config::diagnostic::Diagnostic;

/// Reads a word of one of the choices, for example a [`Mode`]; `what` names the choice in the error.
pub(super) fn read<T: DeserializeOwned>(what: &str, word: &str) -> Result<T, Diagnostic> {
    let deserializer: StrDeserializer<'_, Unknown> = word.into_deserializer();
    T::deserialize(deserializer).map_err(|Unknown(words)| {
        let help = match synonyms::value(what, &word.to_lowercase()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if what == "protocol" && word.contains([',', '/']) => {
                "a listener has one; write a `[[listener]]` for each".to_owned()
            }
            None if what == "target" && word.contains('/') => {
                format!("write `target = \"file\"` and `file = \"{}\"`", word.escape_debug())
            }
            None if what == "target" && synonyms::means_off(word) => "write `level = \"off\"`".to_owned(),
            None => suggestion(word, words.iter().copied()),
        };
        Diagnostic::new(format!("unknown {what} {}", quoted(word)), help)
    })
}

/// The words of a choice.
pub(super) fn all<T: DeserializeOwned>() -> &'static [&'static str] {
    let deserializer: StrDeserializer<'_, Unknown> = "".into_deserializer();
    T::deserialize(deserializer).map_or_else(|Unknown(words)| words, |_| &[])
}

/// The help for a misspelt word: the nearest of `words`, or all of them.
pub(super) fn suggestion<'a>(word: &str, words: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, words.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            format!("use one of {}", words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The word that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Underscores for hyphens and capitals are habits of other files, not spelling mistakes.
    let habit = word.to_lowercase().replace('_', "-");
    words
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&habit, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.55)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        read("level", word).ok()
    }

    /// The level so many `steps` further, or quieter if negative, as far as there are any.
    pub fn louder(self, steps: isize) -> Self {
        let at = Self::ALL.iter().position(|level| *level == self).unwrap_or_default();
        Self::ALL[at.saturating_add_signed(steps).min(Self::ALL.len() - 1)]
    }
}

/// Writes each choice as the file does.
macro_rules! display_as_word {
    ($($choice:ty),*) => {
        $(impl fmt::Display for $choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        })*
    };
}

display_as_word!(
    WhenFull,
    Fallback,
    Offload,
    Protocol,
    Mode,
    Trigger,
    Sandbox,
    ServiceKind,
    Payload,
    LogLevel,
    LogFormat,
    LogTarget,
    ProxyProtocol
);

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerRequest => f.write_str("per-request"),
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// serde's refusal of a word, with the words that there are.
#[derive(Debug)]
struct Unknown(&'static [&'static str]);

impl serde::de::Error for Unknown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {:?}", self.0)
    }
}

impl std::error::Error for Unknown {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        assert_eq!(read("protocol", "unix-datagram"), Ok(Protocol::UnixDatagram));
        assert_eq!(Protocol::UnixDatagram.to_string(), "unix-datagram");
        assert_eq!(Workers::PerRequest.to_string(), "per-request");
        assert_eq!(Workers::Count(4).to_string(), "4");
    }

    #[test]
    fn misspelt_words_get_a_suggestion() {
        let help = |result: Result<Mode, Diagnostic>| result.unwrap_err().to_string();
        assert_eq!(help(read("mode", "fork")), "unknown mode `fork`; did you mean `forking`?");
        assert_eq!(help(read("mode", "Threading")), "unknown mode `Threading`; did you mean `threading`?");
        assert_eq!(
            help(read("mode", "kqueue")),
            "unknown mode `kqueue`; use one of `iterative`, `threading`, `forking`, `select`, `poll`, `epoll`, `io-uring`"
        );
        assert_eq!(
            nearest("max_conections", ["mode", "max-connections"].into_iter()),
            Some("max-connections")
        );
    }
}

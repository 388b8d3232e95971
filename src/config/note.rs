//! What an administrator should look at, though it is served.

use std::fmt;

/// A note for the log, or for standard error where only a check was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The whole text.
    pub text: String,
    /// The listener that it is about.
    pub listener: Option<String>,
    /// A socket of that listener, as a URL.
    pub address: Option<String>,
    /// The keys that decide, separated by `, `.
    pub keys: Option<String>,
}

impl Note {
    /// A note about no listener in particular.
    pub fn new(text: impl Into<String>) -> Note {
        Note { text: text.into(), ..Note::default() }
    }

    /// A note about a listener, which its text begins with.
    pub fn of(listener: &str, text: impl fmt::Display) -> Note {
        let text = format!("listener \"{listener}\": {text}");
        Note { text, listener: Some(listener.to_owned()), ..Note::default() }
    }

    /// The same note about this address.
    pub fn at(self, address: impl fmt::Display) -> Note {
        Note { address: Some(address.to_string()), ..self }
    }

    /// The same note about these keys.
    pub fn about(self, keys: impl Into<String>) -> Note {
        Note { keys: Some(keys.into()), ..self }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

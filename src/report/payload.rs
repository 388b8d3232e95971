//! How the log shows client data (`payload = "text"` or `"hex"`). The client chooses these bytes, so they are escaped: no line
//! break can forge a log line, no escape sequence can control the terminal, and no direction mark can reorder the text.

use std::fmt::{self, Write};

use log::info;

use crate::{config::Payload, report::log_event::LogEvent};

/// Bytes of a message that are shown. Its total length is always given.
const SHOWN: usize = 256;

/// Logs what `client` wrote.
pub fn log(listener: &str, client: impl fmt::Display, bytes: &[u8], how: Payload) {
    let shown = Escaped::new(bytes, how);
    info!(
        event = LogEvent::PayloadReceived, listener, peer:% = client, bytes = bytes.len();
        "listener \"{listener}\": {client} {shown}"
    );
}

/// A message, displayed as `wrote 12 bytes: "hello world\n"` or `wrote 5 bytes: 68 65 6c 6c 6f`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    how: Payload,
}

impl<'a> Escaped<'a> {
    /// Displays `bytes` as `how` selects; [`Payload::Off`] gives their number only.
    pub fn new(bytes: &'a [u8], how: Payload) -> Self {
        Escaped { bytes, how }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {} bytes", self.bytes.len())?;
        let head = &self.bytes[..self.bytes.len().min(SHOWN)];
        match self.how {
            Payload::Off => return Ok(()),
            Payload::Text => write_text(f, head)?,
            Payload::Hex => write_hex(f, head)?,
        }
        if head.len() < self.bytes.len() {
            f.write_str(" ... (cut)")?;
        }
        Ok(())
    }
}

/// Whether `c` is shown unescaped: no control or format character, no line separator, no space other than U+0020, and no
/// combining character.
pub(crate) fn is_printable(c: char) -> bool {
    // escape_debug() returns a character that needs no escape as it is.
    matches!(c, ' '..='~') || c.escape_debug().len() == 1
}

fn write_text(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str(": \"")?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if is_printable(c) => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('"')
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_char(':')?;
    bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: impl AsRef<[u8]>) -> String {
        Escaped::new(bytes.as_ref(), Payload::Text).to_string()
    }

    fn hex(bytes: &[u8]) -> String {
        Escaped::new(bytes, Payload::Hex).to_string()
    }

    #[test]
    fn a_message_is_quoted() {
        assert_eq!(text("hello world\n"), r#"wrote 12 bytes: "hello world\n""#);
        assert_eq!(text(""), r#"wrote 0 bytes: """#);
        assert_eq!(text("it's"), r#"wrote 4 bytes: "it's""#);
        assert_eq!(text("grüße, 世界"), r#"wrote 15 bytes: "grüße, 世界""#);
        assert_eq!(hex(b"hello"), "wrote 5 bytes: 68 65 6c 6c 6f");
        assert_eq!(hex(b""), "wrote 0 bytes:");
        assert_eq!(Escaped::new(b"x", Payload::Off).to_string(), "wrote 1 bytes");
    }

    #[test]
    fn control_characters_are_escaped() {
        for (message, shown) in [
            ("\" \\", r#"\" \\"#),
            ("\r\n\t\0\x1b[31m\x7f", r"\r\n\t\0\u{1b}[31m\u{7f}"),
            ("\u{85}\u{9b}31m", r"\u{85}\u{9b}31m"),
            ("\u{202e}\u{2066}\u{200f}\u{61c}", r"\u{202e}\u{2066}\u{200f}\u{61c}"),
            ("\u{2028}\u{2029}\u{a0}\u{feff}", r"\u{2028}\u{2029}\u{a0}\u{feff}"),
            ("e\u{301}\u{200d}", r"e\u{301}\u{200d}"),
        ] {
            let expected = format!("wrote {} bytes: \"{shown}\"", message.len());
            assert_eq!(text(message), expected);
        }
        assert_eq!(text(b"\xff\xc3"), r#"wrote 2 bytes: "\xff\xc3""#);
    }

    #[test]
    fn a_long_message_is_cut_and_its_length_given() {
        let whole = text([b'a'; 256]);
        assert_eq!(whole.matches('a').count(), 256);
        assert!(whole.ends_with("a\""));
        let cut = text([b'a'; 257]);
        assert!(cut.starts_with("wrote 257 bytes: \"aaa"));
        assert!(cut.ends_with("a\" ... (cut)"));
        assert_eq!(cut.matches('a').count(), 256);
        assert!(hex(&[0; 65_507]).starts_with("wrote 65507 bytes: 00 00"));
        assert!(hex(&[0; 65_507]).ends_with("00 ... (cut)"));
    }

    proptest! {
        #[test]
        fn no_bytes_leave_a_control_character(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(text(&bytes).chars().all(is_harmless));
            prop_assert!(hex(&bytes).chars().all(is_harmless));
        }

        #[test]
        fn no_characters_leave_a_control_character(message in prop::collection::vec(any::<char>(), 0..200)) {
            let message: String = message.into_iter().collect();
            prop_assert!(text(&message).chars().all(is_harmless));
        }
    }

    #[test]
    fn no_single_character_is_left_as_a_control_character() {
        for c in '\0'..=char::MAX {
            assert!(is_harmless(c) || !is_printable(c), "{:?}", c as u32);
        }
    }

    /// An independent list, so that the test does not depend on the code under test.
    fn is_harmless(c: char) -> bool {
        !c.is_control()
            && !matches!(
                c,
                '\u{ad}'
                    | '\u{61c}'
                    | '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{feff}'
                    | '\u{e0000}'..='\u{e0fff}'
            )
    }
}

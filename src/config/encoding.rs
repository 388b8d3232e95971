//! From the bytes of a file to text: UTF-8, with or without the mark that some editors put before it.

/// What is not UTF-8, and where.
pub(super) struct NotUtf8 {
    /// The text, with a replacement character for each byte that is none.
    pub(super) text: String,
    /// The first of those, in bytes.
    pub(super) at: usize,
    /// Its line and column, counted from 1.
    pub(super) line: usize,
    pub(super) column: usize,
    /// What is there, for people.
    pub(super) what: String,
}

/// The text of `bytes`, without a byte order mark.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, NotUtf8> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let before = String::from_utf8_lossy(&bytes[..at]);
            let last_line = before.rsplit('\n').next().unwrap_or_default();
            let what = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16".to_owned(),
                _ => format!("byte 0x{:02x} is not UTF-8", bytes.get(at).copied().unwrap_or_default()),
            };
            Err(NotUtf8 {
                at,
                line: before.matches('\n').count() + 1,
                column: last_line.chars().count() + 1,
                what,
                text: String::from_utf8_lossy(bytes).into_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_skipped_and_what_is_wrong_has_its_place() {
        assert!(decode("\u{feff}a = 1".into()).is_ok_and(|text| text == "a = 1"));
        assert!(decode("a\u{feff}".into()).is_ok_and(|text| text == "a\u{feff}"));
        let Err(wrong) = decode(b"# ok\nname = \"caf\xe9\"\n".to_vec()) else { panic!("it was read") };
        assert_eq!((wrong.line, wrong.column, wrong.what.as_str()), (2, 12, "byte 0xe9 is not UTF-8"));
        assert_eq!(&wrong.text[wrong.at..], "\u{fffd}\"\n");
        let Err(wrong) = decode(b"\xff\xfea\0".to_vec()) else { panic!("it was read") };
        assert_eq!(wrong.what, "the file is UTF-16");
    }
}

//! A log line as one JSON object.

use std::{collections::BTreeMap, fmt::Write as _, io};

use log::{Record, kv};
use serde::Serialize;

use super::{fields, text::is_plain};
use crate::report::payload::is_printable;

/// A JSON line; every key-value of the record becomes a field.
#[derive(Serialize)]
struct Line {
    time: String,
    level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<serde_json::Value>,
    message: String,
    #[serde(flatten)]
    fields: Fields,
}

type Fields = BTreeMap<String, serde_json::Value>;

/// Takes a value as JSON has it: what is neither a number nor a truth value is text.
#[derive(Default)]
struct JsonValue(serde_json::Value);

impl<'v> kv::VisitValue<'v> for JsonValue {
    fn visit_any(&mut self, value: kv::Value<'_>) -> Result<(), kv::Error> {
        self.0 = value.to_string().into();
        Ok(())
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), kv::Error> {
        self.0 = value.into();
        Ok(())
    }
}

pub(super) fn json_line(time: String, record: &Record<'_>) -> io::Result<String> {
    let mut fields = Fields::default();
    let take = |key: &str, value: &kv::Value<'_>| {
        let mut json = JsonValue::default();
        value.visit(&mut json)?;
        fields.insert(key.to_owned(), json.0);
        Ok(())
    };
    fields::visit(record, take).map_err(io::Error::other)?;
    let json = serde_json::to_string(&Line {
        time,
        level: record.level().as_str().to_ascii_lowercase(),
        event: fields.remove("event"),
        message: record.args().to_string(),
        fields,
    })?;
    Ok(if is_plain(&json) { json } else { escape_in_json(&json) })
}

/// Escapes the characters that control a terminal and that JSON leaves alone. They occur only in strings, where `\u` is
/// equivalent.
fn escape_in_json(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use log::kv::ToValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_value_is_a_field_of_the_json_line() {
        let fields: [(&str, kv::Value<'_>); 6] = [
            ("listener", "web".into()),
            ("bytes", 12.into()),
            ("change", (-3).into()),
            ("seconds", 0.5.into()),
            ("ok", true.into()),
            ("nothing", None::<u64>.to_value()),
        ];
        let line = json_line(
            "2026-11-23T06:31:12Z".into(),
            &Record::builder()
                .level(log::Level::Warn)
                .args(format_args!("listener \"web\": full"))
                .key_values(&fields)
                .build(),
        )
        .expect("a line");
        assert!(line.starts_with(
            r#"{"time":"2026-11-23T06:31:12Z","level":"warn","message":"listener \"web\": full","#
        ));
        let expected = json!({
            "time": "2026-11-23T06:31:12Z", "level": "warn", "message": "listener \"web\": full",
            "listener": "web", "bytes": 12, "change": -3, "seconds": 0.5, "ok": true,
        });
        assert_eq!(parsed(&line), expected);
    }

    #[test]
    fn a_json_line_is_harmless_and_means_the_same() {
        let message = "\n\u{7f}\u{9b}31m\u{202e}\u{2028}\u{e0041}ü";
        let line = json_line(String::new(), &Record::builder().args(format_args!("{message}")).build())
            .expect("a line");
        assert!(line.chars().all(is_printable), "{line:?}");
        assert_eq!(parsed(&line)["message"], message);
    }

    fn parsed(line: &str) -> serde_json::Value {
        serde_json::from_str(line).expect("valid JSON")
    }
}

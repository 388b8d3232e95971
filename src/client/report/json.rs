//! JSON whose fields stay in the order in which they are told.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// A value of JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// true or false.
    Flag(bool),
    /// A whole number.
    Whole(u64),
    /// Another number.
    Real(f64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(&'static str, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Flag(flag) => to.serialize_bool(*flag),
            Json::Whole(number) => to.serialize_u64(*number),
            Json::Real(number) => to.serialize_f64(*number),
            Json::Text(text) => to.serialize_str(text),
            Json::List(values) => to.collect_seq(values),
            Json::Object(fields) => {
                let mut map = to.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

/// On one line.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its keys are strings, so it can always be written.
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Json {
        Json::Flag(flag)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Json {
        Json::Whole(number)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Json {
        Json::Whole(number.into())
    }
}

impl From<usize> for Json {
    fn from(number: usize) -> Json {
        Json::Whole(number as u64)
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Json {
        Json::Real(number)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

/// In nanoseconds; 584 years are the longest.
impl From<std::time::Duration> for Json {
    fn from(time: std::time::Duration) -> Json {
        Json::Whole(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The lowest and the highest of something.
impl From<(u8, u8)> for Json {
    fn from((lowest, highest): (u8, u8)) -> Json {
        Json::List(vec![u32::from(lowest).into(), u32::from(highest).into()])
    }
}

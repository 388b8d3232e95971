//! Where the values of a listener are written, for those who ask why.

use std::{collections::BTreeMap, sync::Arc};

use super::diagnostic::{Place, Source};

/// Where the values of a listener are written: `echod.toml:12`. What nobody wrote has no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<&'static str, Vec<Origin>>);

/// A line of a source. A list may have very many: they share the name, and are put into words when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    source: Arc<str>,
    line: Option<usize>,
}

impl Origins {
    /// The origins of the keys at `places` of the sources of these `names`. A list has a place for each of its values.
    pub(super) fn new(places: &[(&'static str, Place)], sources: &[Source], names: &[Arc<str>]) -> Self {
        let mut origins = Self::default();
        for (key, place) in places {
            let source = Arc::clone(&names[place.source]);
            let line = sources[place.source].line(place);
            origins.0.entry(key).or_default().push(Origin { source, line });
        }
        origins
    }

    /// Where `key` is written; of a list, its first value.
    pub fn of(&self, key: &str) -> Option<String> {
        self.nth(key, 0)
    }

    /// Where value `number` of the list `key` is written, counted from 0.
    pub fn nth(&self, key: &str, number: usize) -> Option<String> {
        let Origin { source, line } = self.0.get(key)?.get(number)?;
        Some(line.map_or_else(|| source.to_string(), |line| format!("{source}:{line}")))
    }
}

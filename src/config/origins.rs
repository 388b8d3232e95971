//! Where the values of a listener are written, for those who ask why.

use std::collections::BTreeMap;

use super::diagnostic::{Place, Source};

/// Where the values of a listener are written: `echod.toml:12`. What nobody wrote has no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Vec<String>>);

impl Origins {
    /// Puts the places of each key into words. A list has a place for each of its values.
    pub(super) fn new(places: &[(String, Place)], sources: &[Source]) -> Self {
        let mut origins = Self::default();
        for (key, place) in places {
            let words = sources[place.source].line(place);
            origins.0.entry(key.clone()).or_default().push(words);
        }
        origins
    }

    /// Where `key` is written; of a list, its first value.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.nth(key, 0)
    }

    /// Where value `number` of the list `key` is written, counted from 0.
    pub fn nth(&self, key: &str, number: usize) -> Option<&str> {
        self.0.get(key)?.get(number).map(String::as_str)
    }
}

//! Where the values of a listener are written, for `echod explain`.

use std::{collections::BTreeMap, sync::Arc};

use super::diagnostic::{Place, Source};

/// Where the values of a listener are written: `echod.toml:12`. A default has no place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origins {
    /// A list has a place for each of its values; listeners that have it from `[defaults]` share them.
    places: BTreeMap<&'static str, Arc<[Place]>>,
    sources: Arc<[Source]>,
}

impl Origins {
    pub(super) fn new(places: BTreeMap<&'static str, Arc<[Place]>>, sources: Arc<[Source]>) -> Self {
        Self { places, sources }
    }

    /// Where `key` is written; of a list, its first value.
    pub fn of(&self, key: &str) -> Option<String> {
        self.nth(key, 0)
    }

    /// Where value `number` of the list `key` is written, counted from 0.
    pub fn nth(&self, key: &str, number: usize) -> Option<String> {
        let place = self.places.get(key)?.get(number)?;
        let source = &self.sources[place.source];
        Some(source.line(place).map_or_else(|| source.name.clone(), |line| format!("{}:{line}", source.name)))
    }
}

//! The places where the kernel answers, as they are in its map or should be.

use super::maps::{self, PlaceKey, PlaceValue};

/// Places with what answers there, in the order of their keys. They are few and change rarely.
#[derive(Debug, Default)]
pub(super) struct PlaceTable(Vec<(PlaceKey, PlaceValue)>);

impl PlaceTable {
    /// What answers at a place.
    pub(super) fn get(&self, place: &PlaceKey) -> Option<PlaceValue> {
        self.find(place).ok().map(|at| self.0[at].1)
    }

    /// Has this answer at a place, instead of what did.
    pub(super) fn set(&mut self, place: PlaceKey, destination: PlaceValue) {
        match self.find(&place) {
            Ok(at) => self.0[at].1 = destination,
            Err(at) => self.0.insert(at, (place, destination)),
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(PlaceKey, PlaceValue)> {
        self.0.iter()
    }

    /// Removes those that do not stay.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&PlaceKey, &PlaceValue) -> bool) {
        self.0.retain(|(place, destination)| stays(place, destination));
    }

    /// Whether one is at an interface.
    pub(super) fn has(&self, interface: u32) -> bool {
        self.0.iter().any(|(place, _)| maps::interface_of(place) == interface)
    }

    /// Whether a listener has one at an interface.
    pub(super) fn has_of(&self, interface: u32, slot: u32) -> bool {
        let is_its = |(place, destination): &(PlaceKey, PlaceValue)| {
            maps::interface_of(place) == interface && maps::slot_of(destination) == slot
        };
        self.0.iter().any(is_its)
    }

    fn find(&self, place: &PlaceKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(at, _)| at.cmp(place))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_place_has_one_destination() {
        let place = |interface, last| maps::place(interface, Ipv4Addr::new(192, 0, 2, last).into(), 7);
        let mut places = PlaceTable::default();
        for (interface, last, slot) in [(2, 1, 0), (1, 9, 1), (2, 1, 2), (1, 1, 3)] {
            places.set(place(interface, last), maps::destination(slot, 0));
        }
        let found = |places: &PlaceTable, interface, last| {
            places.get(&place(interface, last)).map(|destination| maps::slot_of(&destination))
        };
        assert_eq!(
            (found(&places, 2, 1), found(&places, 1, 9), found(&places, 2, 9)),
            (Some(2), Some(1), None)
        );
        assert_eq!(places.iter().count(), 3);
        places.retain(|place, _| maps::interface_of(place) == 1);
        assert_eq!((places.has(1), places.has(2), found(&places, 1, 1)), (true, false, Some(3)));
    }
}

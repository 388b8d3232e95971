//! The connections of an event loop, under keys that are never used twice: an event that is about a connection that has
//! ended since finds nothing.

/// Values under keys.
pub(super) struct Slab<T> {
    places: Vec<SlabSlot<T>>,
    /// The first of the free places, each of which names the next one.
    free: u32,
    count: usize,
}

struct SlabSlot<T> {
    /// How many have been here; part of the key.
    generation: u32,
    content: Content<T>,
}

enum Content<T> {
    Taken(T),
    Free { next: u32 },
}

const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Slab { places: Vec::new(), free: NONE, count: 0 }
    }

    /// The key that [`Slab::insert`] will use next. Keys are never below 2^32.
    pub(super) fn next_key(&self) -> u64 {
        match self.places.get(self.free as usize) {
            Some(place) => key(place.generation, self.free as usize),
            None => key(1, self.places.len()),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> u64 {
        let key = self.next_key();
        let content = Content::Taken(value);
        match self.places.get_mut(self.free as usize) {
            Some(place) => {
                if let Content::Free { next } = std::mem::replace(&mut place.content, content) {
                    self.free = next;
                }
            }
            None => self.places.push(SlabSlot { generation: 1, content }),
        }
        self.count += 1;
        key
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let place = self.places.get_mut(index(key))?;
        match &mut place.content {
            Content::Taken(value) if place.generation == generation(key) => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let at = index(key);
        let place = self.places.get_mut(at).filter(|place| place.generation == generation(key))?;
        if matches!(place.content, Content::Free { .. }) {
            return None;
        }
        // After four thousand million connections a number comes again; its events are long gone.
        place.generation = place.generation.checked_add(1).unwrap_or(1);
        let content = std::mem::replace(&mut place.content, Content::Free { next: self.free });
        self.free = at as u32;
        self.count -= 1;
        match content {
            Content::Taken(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn keys(&self) -> Vec<u64> {
        let taken = |(at, place): (usize, &SlabSlot<T>)| match place.content {
            Content::Taken(_) => Some(key(place.generation, at)),
            Content::Free { .. } => None,
        };
        self.places.iter().enumerate().filter_map(taken).collect()
    }
}

fn key(generation: u32, index: usize) -> u64 {
    u64::from(generation) << 32 | index as u64
}

fn generation(key: u64) -> u32 {
    (key >> 32) as u32
}

fn index(key: u64) -> usize {
    key as u32 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_once() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_ne!(first, second);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
    }

    #[test]
    fn the_next_key_is_foretold() {
        let mut slab = Slab::new();
        for round in 0..3 {
            let keys: Vec<u64> = (0..5)
                .map(|value| (slab.next_key(), slab.insert(value)))
                .map(|(a, b)| {
                    assert_eq!(a, b);
                    a
                })
                .collect();
            assert_eq!(slab.keys().len(), 5);
            assert_eq!(slab.len(), 5, "round {round}");
            keys.into_iter().for_each(|key| assert!(slab.remove(key).is_some()));
        }
        assert_eq!(slab.len(), 0);
    }
}

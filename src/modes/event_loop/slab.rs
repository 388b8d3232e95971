//! A slab whose keys carry a generation: a stale event for a closed connection finds nothing.

/// Values under keys.
pub(super) struct Slab<T> {
    entries: Vec<SlabSlot<T>>,
    /// Head of the free list.
    free: u32,
    count: usize,
}

struct SlabSlot<T> {
    /// Part of the key; incremented when the entry is vacated.
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
        Slab { entries: Vec::new(), free: NONE, count: 0 }
    }

    /// The key that [`Slab::insert`] will use next. Keys are never below 2^32.
    pub(super) fn next_key(&self) -> u64 {
        match self.entries.get(self.free as usize) {
            Some(entry) => key(entry.generation, self.free as usize),
            None => key(1, self.entries.len()),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> u64 {
        let key = self.next_key();
        let content = Content::Taken(value);
        match self.entries.get_mut(self.free as usize) {
            Some(entry) => {
                if let Content::Free { next } = std::mem::replace(&mut entry.content, content) {
                    self.free = next;
                }
            }
            None => self.entries.push(SlabSlot { generation: 1, content }),
        }
        self.count += 1;
        key
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let entry = self.entries.get_mut(index(key))?;
        match &mut entry.content {
            Content::Taken(value) if entry.generation == generation(key) => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        let at = index(key);
        let entry = self.entries.get_mut(at).filter(|entry| entry.generation == generation(key))?;
        if matches!(entry.content, Content::Free { .. }) {
            return None;
        }
        // Wraps after 2^32 connections in one entry; no event is that late.
        entry.generation = entry.generation.checked_add(1).unwrap_or(1);
        let content = std::mem::replace(&mut entry.content, Content::Free { next: self.free });
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
        let taken = |(at, entry): (usize, &SlabSlot<T>)| match entry.content {
            Content::Taken(_) => Some(key(entry.generation, at)),
            Content::Free { .. } => None,
        };
        self.entries.iter().enumerate().filter_map(taken).collect()
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
    fn next_key_predicts_insert() {
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

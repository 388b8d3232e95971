//! The live children of a forking process, by slot number.

use nix::unistd::Pid;

/// Live children, each with what the parent must remember of it.
///
/// After a fork, the first write to a page copies it (copy-on-write). So entries are kept dense, at the lowest free numbers,
/// and a child is found by a linear search, whose cost is nothing beside a fork.
pub(super) struct ChildTable<T> {
    children: Vec<Option<(Pid, T)>>,
    alive: usize,
}

impl<T> ChildTable<T> {
    /// A table for up to `most` children.
    pub(super) fn new(most: usize) -> ChildTable<T> {
        ChildTable { children: std::iter::repeat_with(|| None).take(most).collect(), alive: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alive == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.alive == self.children.len()
    }

    /// The lowest free number.
    pub(super) fn free(&self) -> Option<usize> {
        self.children.iter().position(Option::is_none)
    }

    /// Enters a child under a free number.
    pub(super) fn insert(&mut self, number: usize, pid: Pid, child: T) {
        if self.children[number].replace((pid, child)).is_none() {
            self.alive += 1;
        }
    }

    /// Removes the child with this process id.
    pub(super) fn remove(&mut self, pid: Pid) -> Option<(usize, T)> {
        let is_it = |child: &Option<(Pid, T)>| child.as_ref().is_some_and(|(other, _)| *other == pid);
        let number = self.children.iter().position(is_it)?;
        let (_, child) = self.children[number].take()?;
        self.alive -= 1;
        Some((number, child))
    }

    /// Numbers of all live children.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.children.iter().enumerate().filter(|(_, child)| child.is_some()).map(|(number, _)| number)
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.children.iter().flatten().map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_taken_again() {
        let mut table = ChildTable::new(2);
        assert!(table.is_empty());
        for (number, pid) in [(0, 70), (1, 71)] {
            assert_eq!(table.free(), Some(number));
            table.insert(number, Pid::from_raw(pid), pid);
        }
        assert!(table.is_full() && table.free().is_none());
        assert_eq!(table.pids().map(Pid::as_raw).collect::<Vec<_>>(), [70, 71]);
        assert_eq!(table.remove(Pid::from_raw(70)), Some((0, 70)));
        assert_eq!(table.remove(Pid::from_raw(70)), None);
        assert_eq!(table.free(), Some(0));
        assert_eq!(table.remove(Pid::from_raw(71)), Some((1, 71)));
        assert!(table.is_empty());
    }
}

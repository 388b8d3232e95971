//! The counters of a daemon, where it keeps them: in memory that it shares with its processes. They say more than the line of SIGUSR1.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use echod::{
    access::guard::OwnPorts,
    report::{close_reason::CloseKind, stats::Stats},
    sys::shared::Shared,
};

use super::Echod;

impl Echod {
    /// The counters of its only listener. They can be read after the listener has gone.
    #[track_caller]
    pub(crate) fn counters(&self) -> Shared<Stats> {
        let held = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let mut found: Vec<_> = held.filter_map(|entry| counters_in(&entry.ok()?.path()).ok()).collect();
        assert_eq!(found.len(), 1, "it has one listener, and no earlier one");
        found.remove(0)
    }

    /// Asserts that every connection that was let in has ended for a reason and after a duration; returns how many for this one.
    #[track_caller]
    pub(crate) fn ended_by(&self, reason: CloseKind) -> u64 {
        let totals = self.counters().totals();
        let ended: u64 = totals.ended.values().sum();
        assert_eq!((ended, totals.durations.iter().sum()), (totals.served, totals.served), "{totals:?}");
        totals.ended[reason.word()]
    }
}

/// The counters behind a descriptor of a daemon, if it is theirs and not the table of its own ports. The tables of a listener are behind its counters.
fn counters_in(descriptor: &Path) -> io::Result<Shared<Stats>> {
    if !fs::read_link(descriptor)?.starts_with("/memfd:echod (deleted)") {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = fs::File::options().read(true).write(true).open(descriptor)?;
    if file.metadata()?.len() == size_of::<OwnPorts>() as u64 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Shared::open(OwnedFd::from(file))
}

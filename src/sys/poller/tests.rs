//! One test suite for all mechanisms.

use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::Duration,
};

use super::{Epoll, Interest, Poll, Poller, Readiness, Select};
use crate::sys::ring::Ring;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn keys(poller: &mut impl Poller, time: Option<Duration>) -> Vec<u64> {
    let mut events: Vec<Readiness> = Vec::new();
    poller.wait(&mut events, time).unwrap();
    events.iter().map(|event| event.key).collect()
}

fn reports_input(mut poller: impl Poller) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (_silent, other) = UnixStream::pair().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Read).unwrap();
    poller.add(other.as_fd(), 8, Interest::Read).unwrap();
    keys(&mut poller, AT_ONCE);
    ours.write_all(b"x").unwrap();
    assert_eq!(keys(&mut poller, None), [7]);
}

fn reports_unread_input_again(mut poller: impl Poller) {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Read).unwrap();
    ours.write_all(b"xy").unwrap();
    assert_eq!(keys(&mut poller, None), [7]);
    theirs.read_exact(&mut [0]).unwrap();
    assert_eq!(keys(&mut poller, AT_ONCE), [7]);
}

fn ignores_a_removed_descriptor(mut poller: impl Poller) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (mut others, other) = UnixStream::pair().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Read).unwrap();
    poller.add(other.as_fd(), 8, Interest::Read).unwrap();
    poller.remove(theirs.as_fd());
    ours.write_all(b"x").unwrap();
    others.write_all(b"x").unwrap();
    assert_eq!(keys(&mut poller, None), [8]);
}

fn watches_for_room_to_send(mut poller: impl Poller) {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Read).unwrap();
    assert!(keys(&mut poller, AT_ONCE).is_empty());
    poller.modify(theirs.as_fd(), 7, Interest::Write).unwrap();
    assert_eq!(keys(&mut poller, None), [7]);
    poller.modify(theirs.as_fd(), 7, Interest::Read).unwrap();
    assert!(keys(&mut poller, AT_ONCE).is_empty());
}

fn watches_busy_sockets_beside_the_others(mut poller: impl Poller) {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let (mut others, mut other) = UnixStream::pair().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Accept).unwrap();
    poller.add(other.as_fd(), 8, Interest::Read).unwrap();
    for busy in [true, false, true] {
        poller.set_busy(theirs.as_fd(), 7, busy).unwrap();
        keys(&mut poller, AT_ONCE);
        ours.write_all(b"x").unwrap();
        assert_eq!(keys(&mut poller, None), [7]);
        theirs.read_exact(&mut [0]).unwrap();
        others.write_all(b"x").unwrap();
        assert_eq!(keys(&mut poller, None), [8]);
        other.read_exact(&mut [0]).unwrap();
    }
    poller.remove(theirs.as_fd());
    ours.write_all(b"x").unwrap();
    others.write_all(b"x").unwrap();
    assert_eq!(keys(&mut poller, None), [8]);
}

macro_rules! suite {
    ($name:ident, $poller:expr, $($test:ident),*) => {
        mod $name {
            use super::*;
            $(#[test] fn $test() { super::$test($poller) })*
        }
    };
}

macro_rules! level {
    ($name:ident, $poller:expr) => {
        suite!(
            $name,
            $poller,
            reports_input,
            reports_unread_input_again,
            ignores_a_removed_descriptor,
            watches_for_room_to_send,
            watches_busy_sockets_beside_the_others
        );
    };
}

level!(select, Select::new());
level!(poll, Poll::new());
level!(epoll, Epoll::<false>::new().unwrap());
level!(
    ring,
    match Ring::new() {
        Ok(ring) => ring,
        Err(error) => return eprintln!("SKIPPED: no io_uring here: {error}"),
    }
);
suite!(
    edge,
    Epoll::<true>::new().unwrap(),
    reports_input,
    ignores_a_removed_descriptor,
    watches_busy_sockets_beside_the_others
);

#[test]
fn an_edge_is_reported_once() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut poller = Epoll::<true>::new().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Read).unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(keys(&mut poller, None), [7]);
    assert!(keys(&mut poller, AT_ONCE).is_empty());
}

/// A busy socket is not in the kernel's set, and removing it does not touch another entry of the same descriptor there.
#[test]
fn a_busy_socket_is_not_in_the_set_of_epoll() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut poller = Epoll::<false>::new().unwrap();
    poller.add(theirs.as_fd(), 7, Interest::Accept).unwrap();
    // epoll_ctl(2) refuses to modify an exclusive entry, but tells it from a missing one.
    let is_in_the_list = |poller: &mut Epoll<false>| {
        let refused = poller.modify(theirs.as_fd(), 8, Interest::Read).unwrap_err();
        refused.kind() != std::io::ErrorKind::NotFound
    };
    assert!(is_in_the_list(&mut poller));
    poller.set_busy(theirs.as_fd(), 7, true).unwrap();
    assert!(!is_in_the_list(&mut poller));
    poller.add(theirs.as_fd(), 8, Interest::Accept).unwrap();
    poller.remove(theirs.as_fd());
    assert!(is_in_the_list(&mut poller));
    poller.remove(theirs.as_fd());
    assert!(!is_in_the_list(&mut poller));
}

#[test]
#[allow(unsafe_code)]
fn select_refuses_what_it_cannot_hold() {
    // SAFETY: the number is only compared: `select` refuses it before any system call.
    let high = unsafe { std::os::fd::BorrowedFd::borrow_raw(super::SELECT_LIMIT as i32) };
    let refused = Select::new().add(high, 7, Interest::Read).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

use super::*;
use crate::client::ping::event::Wrong;

const SECOND: u64 = 1_000_000_000;

fn books(size: usize, flows: u16) -> Books {
    Books::new(Probes::new(7, size), Duration::from_secs(1), flows)
}

/// Sends a probe at this second over a flow, and returns its bytes.
fn send(books: &mut Books, second: u64, flow: u16) -> Vec<u8> {
    let mut bytes = vec![0; books.probes.size()];
    books.probes.write(books.next(), 0, &mut bytes);
    books.sent(second * SECOND, 0, flow);
    bytes
}

/// An answer that has been read so many milliseconds after the start.
fn after(milliseconds: u64, flow: u16) -> Arrival {
    Arrival { read: milliseconds * 1_000_000, flow, ..Arrival::default() }
}

/// The fates in the order ok, late, lost, refused, unsent, skipped, and that they add up.
fn fates(books: &Books) -> [u64; 6] {
    let Fates { planned, ok, late, lost, refused, unsent, skipped } = books.fates;
    assert_eq!(planned, ok + late + lost + refused + unsent + skipped + books.waiting);
    [ok, late, lost, refused, unsent, skipped]
}

#[test]
fn each_probe_has_one_fate() {
    let mut books = books(64, 1);
    let probes: Vec<_> = (0..5).map(|second| send(&mut books, second, 0)).collect();
    books.unsent(5 * SECOND, 0, "full".into());
    books.skipped(6 * SECOND);
    books.answer(&probes[0], after(20, 0));
    // After its time, whether that was noticed or not.
    books.answer(&probes[1], after(2_100, 0));
    books.expire(3 * SECOND + 5);
    assert_eq!(fates(&books), [1, 1, 1, 0, 1, 1]);
    books.answer(&probes[2], after(3_500, 0));
    books.refused(Some(4), 0, "nobody");
    assert_eq!(fates(&books), [1, 2, 0, 1, 1, 1]);
    assert_eq!(books.close(4 * SECOND + 1), 1);
    assert_eq!(fates(&books), [1, 2, 1, 1, 1, 1]);
    assert_eq!(books.fates.sent(), 5);
    assert_eq!((books.first, books.service.count()), (Some(20_000_000), 3));
}

#[test]
fn answers_are_counted_for_what_they_are() {
    let mut books = books(64, 1);
    let probes: Vec<_> = (0..4).map(|_| send(&mut books, 0, 0)).collect();
    books.answer(&probes[1], after(1, 0));
    books.answer(&probes[0], after(2, 0));
    books.answer(&probes[0], after(3, 0));
    let mut corrupt = probes[2].clone();
    corrupt[40] ^= 1;
    books.answer(&corrupt, after(4, 0));
    books.answer(&probes[2][..63], after(4, 0));
    books.answer(&[&probes[2][..], b"x"].concat(), after(4, 0));
    books.answer(b"ECHX", after(4, 0));
    books.answer(&[0; 64], after(5, 0));
    let replies = Replies { duplicate: 1, reordered: 1, corrupt: 4, stray: 1, retransmitted: 0 };
    assert_eq!((books.replies, fates(&books)), (replies, [2, 0, 0, 0, 0, 0]));
    let wrong = |wrong| Event::Corrupt { sequence: Some(3), flow: 0, wrong };
    assert!(books.events.contains(&wrong(Wrong::Bytes(Some(40)))), "{:?}", books.events);
    assert!(books.events.contains(&wrong(Wrong::Length(63))), "{:?}", books.events);
    // A whole answer makes up for the corrupt ones.
    books.answer(&probes[2], after(6, 0));
    assert_eq!(fates(&books), [3, 0, 0, 0, 0, 0]);
}

#[test]
fn flows_are_kept_apart() {
    let mut books = books(64, 2);
    let probes: Vec<_> = (0..6).map(|n| send(&mut books, 0, n % 2)).collect();
    // The later flow answers first, which is no other order of either.
    for n in [1, 3, 5, 0] {
        books.answer(&probes[n], Arrival { ttl: Some(60 + n as u8), ..after(1, n as u16 % 2) });
    }
    // At a socket that has not sent it.
    books.answer(&probes[2], after(1, 1));
    books.expire(5 * SECOND);
    let told: Vec<_> = books.flows().map(|flow| (flow.sent, flow.ok, flow.ttl)).collect();
    assert_eq!(told, [(3, 1, Some((60, 60))), (3, 3, Some((61, 65)))]);
    assert_eq!((books.replies.reordered, books.replies.stray), (0, 1));
    assert_eq!((books.ipdv.count(), fates(&books)), (2, [4, 0, 2, 0, 0, 0]));
}

#[test]
fn short_probes_carry_short_numbers() {
    let mut books = books(1, 1);
    for round in 0..600 {
        assert!(books.may_send());
        let probe = send(&mut books, round, 0);
        books.answer(&probe, after(round * 1000 + 1, 0));
    }
    assert_eq!(fates(&books), [600, 0, 0, 0, 0, 0]);
    (0..255).for_each(|_| drop(send(&mut books, 600, 0)));
    assert!(!books.may_send());
    let mut none = self::books(0, 1);
    let probe = send(&mut none, 0, 0);
    assert!(!none.may_send());
    none.skipped(0);
    none.answer(&probe, after(1, 0));
    none.answer(&probe, after(2, 0));
    assert_eq!((fates(&none), none.replies.duplicate), ([1, 0, 0, 0, 0, 1], 1));
    assert!(none.may_send());
}

#[test]
fn what_is_skipped_in_a_row_is_told_at_once() {
    let mut books = books(64, 1);
    books.skipped(0);
    books.skipped(0);
    send(&mut books, 0, 0);
    books.skipped(0);
    let skipped = |first, count| Event::Skipped { first, count, planned: 0 };
    assert_eq!(books.events, [skipped(1, 2), skipped(4, 1)]);
}

#[test]
fn clocks_are_kept_apart() {
    let mut books = books(64, 1);
    let (wall, step) = (1_000 * SECOND as i64, 7 * SECOND as i64);
    let mut sent = Vec::new();
    for _ in 0..3 {
        let mut bytes = vec![0; 64];
        books.probes.write(books.next(), 0, &mut bytes);
        books.sent(SECOND, wall, 0);
        sent.push(bytes);
    }
    let stamped =
        |read, stamp: i64, offset| Arrival { read, stamp: Some(stamp as u64), offset, flow: 0, ttl: None };
    let (arrived, read) = (SECOND + 2_000, SECOND + 9_000);
    books.answer(&sent[0], stamped(read, wall + arrived as i64, wall));
    // The clock was set: the stamp is of no use.
    books.answer(&sent[1], stamped(read, wall + step + arrived as i64, wall + step));
    // And one from before the send is impossible.
    books.answer(&sent[2], stamped(read, wall, wall));
    let times: Vec<u64> = books
        .events
        .iter()
        .filter_map(|event| if let Event::Answered { time, .. } = event { Some(*time) } else { None })
        .collect();
    assert_eq!((times, books.steps), (vec![2_000, 9_000, 9_000], 1));
}

#[test]
fn memory_does_not_grow() {
    let mut books = books(24, 1);
    let first = send(&mut books, 0, 0);
    for _ in 0..REMEMBERED + 10 {
        send(&mut books, 1, 0);
    }
    // What waits is remembered, however many there are.
    assert_eq!(books.entries.len(), REMEMBERED + 11);
    books.expire(9 * SECOND);
    (0..3).for_each(|_| drop(send(&mut books, 9, 0)));
    assert_eq!(books.entries.len(), REMEMBERED);
    books.answer(&first, after(9_000, 0));
    assert_eq!((books.replies.stray, books.fates.lost), (1, REMEMBERED as u64 + 11));
}

#[test]
fn it_waits_for_what_may_still_come() {
    let mut books = books(64, 1);
    let probes: Vec<_> = (0..3).map(|second| send(&mut books, second, 0)).collect();
    books.answer(&probes[0], after(500, 0));
    books.expire(10 * SECOND);
    // Three times the longest time.
    assert_eq!(books.waits_until(), Some(2 * SECOND + 3 * SECOND / 2));
    books.answer(&probes[2], after(10_000, 0));
    assert_eq!(books.waits_until(), Some(SECOND + 24 * SECOND));
    books.answer(&probes[1], after(10_000, 0));
    assert_eq!(books.waits_until(), None);
}

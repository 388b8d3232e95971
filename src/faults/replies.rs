//! The replies to the datagrams of a batch.

use std::os::fd::BorrowedFd;

use super::{
    Faults,
    decision::SourceDecisions,
    delay_line::{GoesAfter, ReplyOrder},
    fate::{Change, Fate, is_in_burst},
    numbers::Locked,
};
use crate::{
    report::fault_kind::FaultKind,
    sys::{
        mmsg::{Batch, Request, Tag},
        names::SourceAddr,
    },
};

/// The bit of a tag that says that a burst of losses takes the reply.
const IN_BURST: u64 = 1 << 63;

impl Faults {
    /// Numbers the datagrams of a batch that are answered, in the order of their arrival.
    pub fn number(&self, locked: &Locked<'_>, batch: &mut Batch) {
        batch.tag(|request| {
            let Some(source) = self.source(request) else { return Tag::default() };
            let in_burst = |number, before| is_in_burst(&self.plan, source, number, before);
            let numbered = locked.number(source.identity(), in_burst);
            self.count_evicted(numbered.has_evicted);
            let burst = if numbered.in_burst { IN_BURST } else { 0 };
            [numbered.number | burst, numbered.place.into()]
        });
    }

    /// Decides about the reply of `length` bytes in `buffer`. Returns the length of what is sent at once, if anything is.
    pub fn reply(
        &self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
        length: usize,
        request: Request<'_>,
        [number, place]: Tag,
    ) -> Option<usize> {
        let Some(source) = self.source(request).filter(|_| number != 0) else { return Some(length) };
        let (in_burst, number) = (number & IN_BURST != 0, number & !IN_BURST);
        let Fate { change, delay } = Fate::new(&self.plan, source, number, in_burst);
        let mut length = length;
        let change = change.filter(|change| change.fits(length));
        change.iter().for_each(|change| self.stats.inject(change.kind()));
        match change {
            Some(Change::Drop) => return None,
            Some(Change::Corrupt(draw)) => flip(&mut buffer[..length], draw),
            Some(Change::Truncate(to)) => length = to as usize,
            Some(Change::Duplicate | Change::Reorder(_)) | None => {}
        }
        delay.iter().for_each(|_| self.stats.inject(FaultKind::Delay));
        let hold = |after| {
            let answer = request.hold(&buffer[..length], self.marked);
            let order = ReplyOrder { place: place as u32, number, after };
            self.line.hold(socket, answer, delay.unwrap_or_default(), order);
        };
        if change == Some(Change::Duplicate) {
            // The second one must not overtake the first, which leaves with its batch.
            hold(delay.is_none().then_some(GoesAfter::First));
        }
        match (change, delay) {
            (Some(Change::Reorder(by)), _) => hold(Some(GoesAfter::Later(by))),
            (_, Some(_)) => hold(None),
            (_, None) => return Some(length),
        }
        None
    }

    /// Call when the replies of a batch were sent: those that wait for them may go.
    pub fn note_sent(&self, batch: &Batch) {
        if !self.numbers.notes_gone() {
            return;
        }
        let locked = self.numbers.lock();
        for [number, place] in batch.tags().iter().filter(|[number, _]| *number != 0) {
            locked.note_gone(*place as u32, number & !IN_BURST);
        }
        drop(locked);
        self.line.look();
    }

    /// The source of a datagram that the plan hits.
    fn source(&self, request: Request<'_>) -> Option<SourceDecisions> {
        let of_address =
            |address, port| self.hits(address).then(|| self.decisions.of_address(address, Some(port)));
        match request.origin() {
            SourceAddr::V4(address, port) => of_address(address.into(), port),
            SourceAddr::V6(address, port) => of_address(address.into(), port),
            SourceAddr::Unix | SourceAddr::Nameless => {
                let name = request.unix_name();
                // The kernel adds a zero to a path (unix(7)).
                let path = name.strip_suffix(b"\0").filter(|_| name[0] != 0);
                self.hits_nameless().then(|| self.decisions.of_name(path.unwrap_or(name)))
            }
        }
    }
}

/// Flips one bit, whose place the draw decides.
fn flip(bytes: &mut [u8], draw: u64) {
    let bit = ((u128::from(draw) * (bytes.len() as u128 * 8)) >> 64) as usize;
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

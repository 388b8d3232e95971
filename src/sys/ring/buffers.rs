//! The buffers that the kernel receives into, and the ring that provides them (io_uring_register(2),
//! `IORING_REGISTER_PBUF_RING`).

#![allow(unsafe_code)]

use std::{
    io,
    ops::Range,
    sync::atomic::{AtomicU16, Ordering::Release},
};

use io_uring::types::BufRingEntry;

use super::queue::Queue;
use crate::sys::shared::Mapping;

/// The number of buffers; a power of two.
const COUNT: usize = 256;

/// The size of a buffer in bytes.
pub(super) const PIECE: usize = 4096;

/// The distance between two buffers. Not a power of two: the first bytes of all buffers, which small messages use, would map to
/// the same cache sets.
const STRIDE: usize = PIECE + 192;

/// No buffer.
const NONE: u16 = u16::MAX;

/// All buffers of a ring.
pub(super) struct Buffers {
    /// The provided buffer ring, shared with the kernel.
    entries: Mapping,
    bytes: Mapping,
    tail: u16,
    /// By buffer: its successor in a [`Pieces`] list, and the number of bytes received into it.
    next: Box<[u16; COUNT]>,
    lengths: Box<[u32; COUNT]>,
}

/// A range of a buffer that the kernel has filled. It has to be given back.
pub(super) struct Piece {
    buffer: u16,
    start: u32,
    end: u32,
}

impl Piece {
    /// The piece for a completion with this `result`.
    pub(super) fn arrived(buffer: u16, result: i32) -> Piece {
        Piece { buffer, start: 0, end: result.clamp(0, PIECE as i32) as u32 }
    }

    pub(super) fn length(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub(super) fn part(self, part: Range<usize>) -> Piece {
        Piece { buffer: self.buffer, start: part.start as u32, end: part.end.min(PIECE) as u32 }
    }
}

impl Buffers {
    /// Leaks the memory, which the kernel may still write to.
    pub(super) fn leak(&mut self) {
        self.entries.leak();
        self.bytes.leak();
    }

    pub(super) fn new(queue: &Queue) -> io::Result<Buffers> {
        let entries = Mapping::new(COUNT * size_of::<BufRingEntry>())?;
        queue.provide(&entries, COUNT as u16)?;
        let bytes = Mapping::new(COUNT * STRIDE)?;
        let mut buffers =
            Buffers { entries, bytes, tail: 0, next: Box::new([NONE; COUNT]), lengths: Box::new([0; COUNT]) };
        (0..COUNT as u16).for_each(|buffer| buffers.provide(buffer));
        Ok(buffers)
    }

    pub(super) fn bytes(&self, piece: &Piece) -> &[u8] {
        &self.bytes[piece.buffer as usize * STRIDE..][piece.start as usize..piece.end as usize]
    }

    /// The whole buffer that a piece is in.
    pub(super) fn whole(&mut self, piece: &Piece) -> &mut [u8] {
        &mut self.bytes[piece.buffer as usize * STRIDE..][..PIECE]
    }

    pub(super) fn give_back(&mut self, piece: Piece) {
        self.provide(piece.buffer);
    }

    fn provide(&mut self, buffer: u16) {
        let address = self.bytes[buffer as usize * STRIDE..].as_mut_ptr() as u64;
        let ring: *mut BufRingEntry = self.entries.as_mut_ptr().cast();
        let free = ring.wrapping_add(self.tail as usize % COUNT);
        // SAFETY: the mapping holds COUNT entries and is page-aligned. The kernel reads an entry only once the tail has passed
        // it.
        let entry = unsafe { &mut *free };
        entry.set_addr(address);
        entry.set_len(PIECE as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `ring` is the address of the first entry, which contains the tail.
        let tail = unsafe { BufRingEntry::tail(ring) };
        // SAFETY: the tail is two aligned bytes within the mapping. The kernel reads them concurrently, hence the atomic store.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }.store(self.tail, Release);
    }
}

/// The received pieces of one connection, in order of arrival.
pub(super) struct Pieces {
    first: u16,
    last: u16,
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces { first: NONE, last: NONE }
    }
}

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Whether there is exactly one piece, and it does not fill its buffer.
    pub(super) fn is_one_and_short(&self, buffers: &Buffers) -> bool {
        self.first == self.last && !self.is_empty() && (buffers.lengths[self.first as usize] as usize) < PIECE
    }

    pub(super) fn push(&mut self, piece: Piece, buffers: &mut Buffers) {
        buffers.lengths[piece.buffer as usize] = piece.end;
        buffers.next[piece.buffer as usize] = NONE;
        match self.is_empty() {
            true => self.first = piece.buffer,
            false => buffers.next[self.last as usize] = piece.buffer,
        }
        self.last = piece.buffer;
    }

    pub(super) fn pop(&mut self, buffers: &mut Buffers) -> Option<Piece> {
        if self.is_empty() {
            return None;
        }
        let buffer = self.first;
        self.first = buffers.next[buffer as usize];
        Some(Piece { buffer, start: 0, end: buffers.lengths[buffer as usize] })
    }
}

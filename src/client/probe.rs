//! The bytes of a probe. Each probe of a run differs from every other, and every byte of an answer is checked.
//!
//! ```text
//! 0      4      8        16        24 ... size
//! magic  run    sequence sent (ns) pattern
//! ```
//!
//! The pattern follows from the sequence number and the time, so that no byte of these can change unseen either.
//!
//! A probe with less room has the last bytes of its sequence number only, so it may be taken for one that was sent long before;
//! one without any byte cannot be told from another at all.

/// The start of each probe that has room for a header.
const MAGIC: [u8; 4] = *b"ECHO";

/// The length of the header.
pub const HEADER: usize = 24;

/// The start of a corrupt answer differs in no more bits; that of another run does so once in ten million times.
const SPOILT: u32 = 2;

/// Writes and checks the probes of one run.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// Random: the answers to another run are no answers to this one.
    run: u32,
    /// Bytes of a probe.
    size: usize,
}

/// What an answer turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Every byte is as sent.
    Whole {
        /// The probe that it answers; of a short probe only the low bits, see [`Probes::mask`].
        sequence: u64,
    },
    /// It belongs to this run, but its length or bytes differ.
    Corrupt,
    /// It is no answer to this run.
    Stray,
}

impl Probes {
    /// Probes of `size` bytes.
    pub fn new(run: u32, size: usize) -> Self {
        Self { run, size }
    }

    /// Bytes of a probe.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The bits of a sequence number that a probe carries.
    pub fn mask(&self) -> u64 {
        match self.size {
            8.. => u64::MAX,
            0 => 0,
            size => (1 << (8 * size)) - 1,
        }
    }

    /// Writes probe number `sequence`, sent `sent` nanoseconds after the start of the run, into `to`, which has [`Probes::size`]
    /// bytes.
    pub fn write(&self, sequence: u64, sent: u64, to: &mut [u8]) {
        self.write_part(sequence, sent, 0, to);
    }

    /// Writes the bytes of a probe from byte `from` on, as many as `to` has.
    pub fn write_part(&self, sequence: u64, sent: u64, from: usize, to: &mut [u8]) {
        let (header, length) = self.header(sequence, sent);
        let (head, pattern) = to.split_at_mut(length.saturating_sub(from).min(to.len()));
        if !head.is_empty() {
            head.copy_from_slice(&header[from..][..head.len()]);
        }
        fill(self.seed(sequence, sent), from.saturating_sub(length), pattern);
    }

    /// Whether these are the bytes of a probe from byte `from` on: a stream brings an answer in pieces.
    pub fn is_part(&self, sequence: u64, sent: u64, from: usize, bytes: &[u8]) -> bool {
        let (header, length) = self.header(sequence, sent);
        let (head, pattern) = bytes.split_at(length.saturating_sub(from).min(bytes.len()));
        let is_header = head.is_empty() || *head == header[from..][..head.len()];
        is_header && is_filled(self.seed(sequence, sent), from.saturating_sub(length), pattern)
    }

    /// What the pattern follows from. A probe without a header has no time.
    fn seed(&self, sequence: u64, sent: u64) -> u64 {
        if self.size < HEADER { sequence } else { sequence ^ sent.rotate_left(32) }
    }

    /// What stands before the pattern, and its length.
    fn header(&self, sequence: u64, sent: u64) -> ([u8; HEADER], usize) {
        let mut header = [0; HEADER];
        let sequence = sequence.to_be_bytes();
        if self.size < HEADER {
            let length = self.size.min(8);
            header[..length].copy_from_slice(&sequence[8 - length..]);
            return (header, length);
        }
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&self.run.to_be_bytes());
        header[8..16].copy_from_slice(&sequence);
        header[16..].copy_from_slice(&sent.to_be_bytes());
        (header, HEADER)
    }

    /// Checks an answer. One that differs from this run in a bit or two of its first bytes is corrupt: another run has drawn another
    /// number.
    pub fn check(&self, answer: &[u8]) -> Answer {
        if self.size < HEADER {
            let length = self.size.min(8);
            if answer.len() != self.size {
                return Answer::Corrupt;
            }
            let mut bytes = [0; 8];
            bytes[8 - length..].copy_from_slice(&answer[..length]);
            let sequence = u64::from_be_bytes(bytes);
            return match is_filled(sequence, 0, &answer[length..]) {
                true => Answer::Whole { sequence },
                false => Answer::Corrupt,
            };
        }
        let Some((header, rest)) = answer.split_first_chunk::<HEADER>() else { return Answer::Corrupt };
        let [start, sequence, sent] =
            [0, 8, 16].map(|at| header[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)));
        let ours = u64::from(u32::from_be_bytes(MAGIC)) << 32 | u64::from(self.run);
        match (start ^ ours).count_ones() {
            0 => {}
            1..=SPOILT => return Answer::Corrupt,
            _ => return Answer::Stray,
        }
        match answer.len() == self.size && is_filled(self.seed(sequence, sent), 0, rest) {
            true => Answer::Whole { sequence },
            false => Answer::Corrupt,
        }
    }

    /// The number of a probe whose beginning is quoted, as in an ICMP error.
    pub fn quoted(&self, start: &[u8]) -> Option<u64> {
        let (header, rest) = start.split_first_chunk::<8>().filter(|_| self.size >= HEADER)?;
        let is_ours = header[..4] == MAGIC && header[4..] == self.run.to_be_bytes();
        let sequence = rest.first_chunk::<8>().filter(|_| is_ours)?;
        Some(u64::from_be_bytes(*sequence))
    }

    /// When the probe was sent, in nanoseconds after the start of the run, if it has room for that.
    pub fn sent(&self, answer: &[u8]) -> Option<u64> {
        let bytes = answer.get(16..HEADER).filter(|_| self.size >= HEADER)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Eight bytes of the pattern behind the header, of which `sequence` is the seed (the SplitMix64 generator). Any of them can be had
/// without those before.
fn word(sequence: u64, index: usize) -> [u8; 8] {
    let mut word = sequence.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).to_le_bytes()
}

/// How many of `bytes` bytes lie in the word that the byte `from` of the pattern is in, unless that word is whole.
fn broken(from: usize, bytes: usize) -> usize {
    ((8 - from % 8) % 8).min(bytes)
}

fn fill(sequence: u64, from: usize, to: &mut [u8]) {
    let (first, whole) = to.split_at_mut(broken(from, to.len()));
    first.copy_from_slice(&word(sequence, from / 8)[from % 8..][..first.len()]);
    for (chunk, index) in whole.chunks_mut(8).zip(from.div_ceil(8)..) {
        chunk.copy_from_slice(&word(sequence, index)[..chunk.len()]);
    }
}

fn is_filled(sequence: u64, from: usize, bytes: &[u8]) -> bool {
    let (first, whole) = bytes.split_at(broken(from, bytes.len()));
    *first == word(sequence, from / 8)[from % 8..][..first.len()]
        && whole
            .chunks(8)
            .zip(from.div_ceil(8)..)
            .all(|(chunk, index)| *chunk == word(sequence, index)[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 9] = [1, 7, 8, 9, 23, 24, 25, 64, 1500];

    fn probe(probes: &Probes, sequence: u64) -> Vec<u8> {
        let mut bytes = vec![0; probes.size()];
        probes.write(sequence, 12_345, &mut bytes);
        bytes
    }

    #[test]
    fn what_was_written_is_whole() {
        for size in SIZES {
            let probes = Probes::new(7, size);
            for sequence in [1, 255, 65_535, u64::from(u32::MAX) + 9, u64::MAX] {
                let answer = probes.check(&probe(&probes, sequence & probes.mask()));
                assert_eq!(answer, Answer::Whole { sequence: sequence & probes.mask() }, "{size}");
            }
        }
        let probes = Probes::new(7, 64);
        assert_eq!(probes.sent(&probe(&probes, 3)), Some(12_345));
        let quoted = probe(&probes, 3);
        assert_eq!((probes.quoted(&quoted[..16]), probes.quoted(&quoted[..15])), (Some(3), None));
        assert_eq!(Probes::new(8, 64).quoted(&quoted), None);
        assert_eq!(Probes::new(7, 0).check(&[]), Answer::Whole { sequence: 0 });
    }

    #[test]
    fn every_byte_counts() {
        let probes = Probes::new(7, 64);
        let sent = probe(&probes, 9);
        for at in 0..64 {
            let mut answer = sent.clone();
            answer[at] ^= 1;
            assert_eq!(probes.check(&answer), Answer::Corrupt, "byte {at}");
        }
        let mut other = sent.clone();
        other[4..8].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
        assert_eq!(probes.check(&other), Answer::Stray);
        assert_eq!(probes.check(&sent[..63]), Answer::Corrupt);
        assert_eq!(probes.check(&[&sent[..], b"x"].concat()), Answer::Corrupt);
        assert_eq!(probes.check(b"short"), Answer::Corrupt);
    }

    #[test]
    fn parts_make_up_the_whole() {
        for size in SIZES {
            let probes = Probes::new(7, size);
            let sequence = 77 & probes.mask();
            let whole = probe(&probes, sequence);
            for from in 0..size {
                for to in [from + 1, size] {
                    let mut part = vec![0; to - from];
                    probes.write_part(sequence, 12_345, from, &mut part);
                    assert_eq!(part, whole[from..to], "{size}: {from}..{to}");
                    assert!(probes.is_part(sequence, 12_345, from, &part));
                    part[to - from - 1] ^= 1;
                    assert!(!probes.is_part(sequence, 12_345, from, &part), "{size}: {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn no_probe_is_like_another() {
        let probes = Probes::new(7, 64);
        assert_ne!(probe(&probes, 1)[HEADER..], probe(&probes, 2)[HEADER..]);
        assert_eq!(Probes::new(8, 64).check(&probe(&probes, 1)), Answer::Stray);
    }
}

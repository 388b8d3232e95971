//! The bytes of a probe. Each probe of a run differs from every other, and every byte of an answer is checked.
//!
//! ```text
//! 0      4      8        16        24 ... size
//! magic  run    sequence sent (ns) pattern
//! ```
//!
//! A probe with less room has the last bytes of its sequence number only, so it may be taken for one that was sent long before;
//! one without any byte cannot be told from another at all.

/// The start of each probe that has room for a header.
const MAGIC: [u8; 4] = *b"ECHO";

/// The length of the header.
pub const HEADER: usize = 24;

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
            HEADER.. | 8..HEADER => u64::MAX,
            0 => 0,
            size => (1 << (8 * size)) - 1,
        }
    }

    /// Writes probe number `sequence`, sent `sent` nanoseconds after the start of the run, into `to`, which has [`Probes::size`]
    /// bytes.
    pub fn write(&self, sequence: u64, sent: u64, to: &mut [u8]) {
        if self.size < HEADER {
            let length = self.size.min(8);
            to[..length].copy_from_slice(&sequence.to_be_bytes()[8 - length..]);
            fill(sequence, &mut to[length..]);
            return;
        }
        to[..4].copy_from_slice(&MAGIC);
        to[4..8].copy_from_slice(&self.run.to_be_bytes());
        to[8..16].copy_from_slice(&sequence.to_be_bytes());
        to[16..HEADER].copy_from_slice(&sent.to_be_bytes());
        fill(sequence, &mut to[HEADER..]);
    }

    /// Checks an answer. The time in it is that of the client's own clock, so it is not checked.
    pub fn check(&self, answer: &[u8]) -> Answer {
        if self.size < HEADER {
            let length = self.size.min(8);
            if answer.len() != self.size {
                return Answer::Corrupt;
            }
            let mut bytes = [0; 8];
            bytes[8 - length..].copy_from_slice(&answer[..length]);
            let sequence = u64::from_be_bytes(bytes);
            return match is_filled(sequence, &answer[length..]) {
                true => Answer::Whole { sequence },
                false => Answer::Corrupt,
            };
        }
        let Some((header, rest)) = answer.split_first_chunk::<HEADER>() else { return Answer::Corrupt };
        let [m0, m1, m2, m3, r0, r1, r2, r3, sequence @ .., _, _, _, _, _, _, _, _] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Answer::Stray;
        }
        if u32::from_be_bytes([r0, r1, r2, r3]) != self.run {
            return Answer::Stray;
        }
        let sequence = u64::from_be_bytes(sequence);
        match answer.len() == self.size && is_filled(sequence, rest) {
            true => Answer::Whole { sequence },
            false => Answer::Corrupt,
        }
    }

    /// When the probe was sent, in nanoseconds after the start of the run, if it has room for that.
    pub fn sent(&self, answer: &[u8]) -> Option<u64> {
        let bytes = answer.get(16..HEADER).filter(|_| self.size >= HEADER)?;
        Some(u64::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// The pattern behind the header: eight bytes at a time, from a seed that the sequence number gives (the SplitMix64 generator).
fn words(sequence: u64) -> impl FnMut() -> [u8; 8] {
    let mut state = sequence;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    }
}

fn fill(sequence: u64, to: &mut [u8]) {
    let mut next = words(sequence);
    to.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&next()[..chunk.len()]));
}

fn is_filled(sequence: u64, bytes: &[u8]) -> bool {
    let mut next = words(sequence);
    bytes.chunks(8).all(|chunk| *chunk == next()[..chunk.len()])
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
        assert_eq!(Probes::new(7, 0).check(&[]), Answer::Whole { sequence: 0 });
    }

    #[test]
    fn every_byte_counts() {
        let probes = Probes::new(7, 64);
        let sent = probe(&probes, 9);
        for at in (8..16).chain(HEADER..64) {
            let mut answer = sent.clone();
            answer[at] ^= 1;
            assert_eq!(probes.check(&answer), Answer::Corrupt, "byte {at}");
        }
        for at in 0..8 {
            let mut answer = sent.clone();
            answer[at] ^= 1;
            assert_eq!(probes.check(&answer), Answer::Stray, "byte {at}");
        }
        assert_eq!(probes.check(&sent[..63]), Answer::Corrupt);
        assert_eq!(probes.check(&[&sent[..], b"x"].concat()), Answer::Corrupt);
        assert_eq!(probes.check(b"short"), Answer::Corrupt);
    }

    #[test]
    fn no_probe_is_like_another() {
        let probes = Probes::new(7, 64);
        assert_ne!(probe(&probes, 1)[HEADER..], probe(&probes, 2)[HEADER..]);
        assert_eq!(Probes::new(8, 64).check(&probe(&probes, 1)), Answer::Stray);
    }
}

//! Decisions that can be repeated: each is a pure function of the seed, the plan, the listener, the source, a running number and
//! the question. Nothing else has a say: neither the time, nor the mode, nor the worker that asks.
//!
//! The mixing function is the finaliser of splitmix64 (Steele, Lea, Flood, 2014), a bijection that spreads each bit of its input
//! over all bits of its result. It is frozen: a seed that a test names must decide the same in every version.

use std::net::IpAddr;

use crate::config::{FaultPlan, embedded::plain};

/// The odd number next to 2^64 divided by the golden ratio, by which splitmix64 steps.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is decided. The numbers are part of the frozen function.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Question {
    Drop = 1,
    EnterBurst = 2,
    LeaveBurst = 3,
    Duplicate = 4,
    Reorder = 5,
    Corrupt = 6,
    CorruptPlace = 7,
    Truncate = 8,
    Delay = 9,
    ResetNow = 10,
}

/// The decisions of a plan on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decisions(u64);

/// The decisions about one source. The value also identifies the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceDecisions(u64);

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn absorb(state: u64, word: u64) -> u64 {
    mix(state.wrapping_add(STEP) ^ mix(word.wrapping_add(STEP)))
}

/// Takes in a text: its length, then eight bytes at a time.
fn absorb_text(state: u64, text: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    text.chunks(8).map(word).fold(absorb(state, text.len() as u64), absorb)
}

impl Decisions {
    pub(super) fn new(plan: &FaultPlan, listener: &str) -> Decisions {
        let of_plan = absorb_text(mix(plan.seed()), plan.name.as_bytes());
        Decisions(absorb_text(of_plan, listener.as_bytes()))
    }

    /// About the datagrams from an address and a port, or about the connections from an address.
    pub(super) fn of_address(self, address: IpAddr, port: Option<u16>) -> SourceDecisions {
        let of_address = match plain(address) {
            IpAddr::V4(v4) => absorb(absorb(self.0, 4), v4.to_bits().into()),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                absorb(absorb(absorb(self.0, 6), (bits >> 64) as u64), bits as u64)
            }
        };
        SourceDecisions(port.map_or(of_address, |port| absorb(of_address, u64::from(port) + 1)))
    }

    /// About a unix socket with this name, or about all of those without one.
    pub(super) fn of_name(self, name: &[u8]) -> SourceDecisions {
        SourceDecisions(absorb_text(absorb(self.0, 1), name))
    }
}

impl SourceDecisions {
    /// What identifies the source in a table; never 0.
    pub(super) fn identity(self) -> u64 {
        self.0.max(1)
    }

    /// A number that is evenly distributed over all numbers.
    pub(super) fn draw(self, number: u64, question: Question) -> u64 {
        absorb(absorb(self.0, number), question as u64)
    }

    /// The decisions about what happens in the course of event `number`.
    pub(super) fn within(self, number: u64) -> SourceDecisions {
        SourceDecisions(absorb(self.0, number))
    }
}

/// The next number of a sequence that begins with a draw.
pub(super) fn next(draw: u64) -> u64 {
    mix(draw.wrapping_add(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> FaultPlan {
        let toml = format!("[daemon]\nallow-faults = true\n[[faults]]\nname = \"wifi\"\nseed = {seed}\n");
        crate::faults::tests::plan(&toml)
    }

    /// These numbers must never change: tests all over the world name a seed.
    #[test]
    fn the_function_is_frozen() {
        let decisions = Decisions::new(&plan(42), "udp");
        let v4 = decisions.of_address([10, 1, 2, 3].into(), Some(4000));
        let v6 = decisions.of_address("2001:db8::7".parse().unwrap(), None);
        let unix = decisions.of_name(b"/run/client.sock");
        let draws = [
            v4.draw(1, Question::Drop),
            v4.draw(2, Question::Drop),
            v4.draw(1, Question::Delay),
            v6.draw(1, Question::ResetNow),
            unix.draw(7, Question::CorruptPlace),
            next(v4.draw(1, Question::Drop)),
        ];
        assert_eq!(draws, FROZEN, "{draws:#x?}");
    }

    const FROZEN: [u64; 6] = [
        0x6195_3a99_9514_d9d6,
        0x9faa_23cd_5f5c_97d1,
        0xea83_2d5c_c751_cbf9,
        0x1edc_e1c5_882d_aba7,
        0x95ba_23be_d444_3701,
        0x502b_d140_3a89_c394,
    ];

    #[test]
    fn every_part_has_a_say() {
        let base = || Decisions::new(&plan(1), "udp");
        let draw = |decisions: Decisions, port, number, question| {
            decisions.of_address([10, 0, 0, 1].into(), port).draw(number, question)
        };
        let usual = draw(base(), Some(7), 1, Question::Drop);
        for other in [
            draw(Decisions::new(&plan(2), "udp"), Some(7), 1, Question::Drop),
            draw(Decisions::new(&plan(1), "udp2"), Some(7), 1, Question::Drop),
            draw(base(), Some(8), 1, Question::Drop),
            draw(base(), None, 1, Question::Drop),
            draw(base(), Some(7), 2, Question::Drop),
            draw(base(), Some(7), 1, Question::Duplicate),
            base().of_address([10, 0, 0, 2].into(), Some(7)).draw(1, Question::Drop),
        ] {
            assert_ne!(other, usual);
        }
        let mapped = base().of_address("::ffff:10.0.0.1".parse().unwrap(), Some(7));
        assert_eq!(mapped.draw(1, Question::Drop), usual, "a dual-stack socket decides the same");
    }

    /// 3 sigma of 100,000 draws of 2 %, for ten sources.
    #[test]
    fn draws_are_evenly_distributed() {
        let decisions = Decisions::new(&plan(3), "udp");
        let chance = plan_chance();
        for last in 1..=10 {
            let source = decisions.of_address([10, 0, 0, last].into(), Some(4000));
            let hits =
                (1..=100_000).filter(|number| chance.hits(source.draw(*number, Question::Drop))).count();
            assert!((1_866..=2_134).contains(&hits), "{hits}");
        }
    }

    fn plan_chance() -> crate::config::Chance {
        crate::config::Chance(20_000_000)
    }
}

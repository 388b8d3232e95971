//! The values of `[[faults]]` as people write them: chances, delays, and after how much something happens.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::units;

pub(super) mod notations;

/// How likely a fault is, in parts of a billion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chance(pub u32);

/// A chance of 100 %.
pub(super) const CERTAIN: u32 = 1_000_000_000;

impl Chance {
    /// Whether a `draw`, evenly distributed over all numbers, hits.
    pub fn hits(self, draw: u64) -> bool {
        // The high bits of the product: what the draw is of a billion.
        let of_billion = (u128::from(draw) * u128::from(CERTAIN)) >> 64;
        of_billion < u128::from(self.0)
    }

    /// Whether it never hits.
    pub fn is_never(self) -> bool {
        self.0 == 0
    }
}

/// Replies lost in bursts: the model of Gilbert and Elliott with two states, of which one loses every reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropBurst {
    /// How likely a burst begins with a reply outside of one.
    pub enter: Chance,
    /// How likely it is over before the next reply.
    pub leave: Chance,
}

/// A reply that is held until later ones have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reorder {
    /// How likely it is.
    pub chance: Chance,
    /// How many replies to the same source go first.
    pub by: u32,
}

/// A reply that is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncate {
    /// How likely it is.
    pub chance: Chance,
    /// The bytes that are left.
    pub to: u32,
}

/// Whatever is held longer is a mistake of the unit.
pub const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// How long a reply is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// The middle of the distribution.
    pub middle: Duration,
    /// How far it is spread around it: the largest distance of a uniform one, the standard deviation of a normal one.
    pub spread: Duration,
    /// Whether it is a normal distribution, of which what is below zero counts as zero, and what is above [`LONGEST_HOLD`] as that.
    pub is_normal: bool,
}

/// Answers on streams in small pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The most bytes of a piece.
    pub bytes: u32,
    /// The time from one piece to the next.
    pub every: Duration,
}

/// When something happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum After {
    /// Once so many bytes were answered.
    Bytes(u64),
    /// So long after it was accepted.
    Time(Duration),
}

/// A connection on which nothing moves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// When it begins.
    pub after: After,
    /// How long it lasts; without a time for ever.
    pub lasts: Option<Duration>,
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ten million parts of a billion are a per cent.
        let (whole, rest) = (self.0 / 10_000_000, self.0 % 10_000_000);
        match rest {
            0 => write!(f, "{whole}%"),
            rest => write!(f, "{whole}.{}%", format!("{rest:07}").trim_end_matches('0')),
        }
    }
}

impl fmt::Display for DropBurst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} enter, {} leave", self.enter, self.leave)
    }
}

impl fmt::Display for Reorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.chance, self.by)
    }
}

impl fmt::Display for Truncate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}B", self.chance, self.to)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (middle, spread) = (units::write_duration(self.middle), units::write_duration(self.spread));
        match (self.is_normal, self.spread.is_zero()) {
            (true, _) => write!(f, "normal {middle}, {spread}"),
            (false, true) => f.write_str(&middle),
            (false, false) => write!(f, "{middle} +-{spread}"),
        }
    }
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B every {}", self.bytes, units::write_duration(self.every))
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Bytes(bytes) => write!(f, "{bytes}B"),
            After::Time(time) => f.write_str(&units::write_duration(*time)),
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasts {
            Some(time) => write!(f, "{} for {}", self.after, units::write_duration(time)),
            None => write!(f, "{} for ever", self.after),
        }
    }
}

#[cfg(test)]
mod tests;

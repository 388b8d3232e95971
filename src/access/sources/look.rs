//! What the table has about a source. Looking changes nothing: nothing is charged, and the source is not marked as seen.

use std::{net::IpAddr, sync::atomic::Ordering::Acquire};

use ipnet::Ipv6Net;

use super::{OPEN, SourceKey, SourceTable};
use crate::{
    access::{
        rate::RateLimiter,
        state::{Level, SourceState},
    },
    config::{Rate, embedded::plain},
};

impl SourceTable {
    /// The state of a source at the time `now`. One that is not in the table has nothing open, and its buckets are full.
    pub fn look(&self, source: SourceKey, now: u64) -> SourceState {
        let (number, owner) = self.look_up(source);
        let set = &self.sets[number];
        let seen = set.find(owner).map(|way| {
            let (word, buckets) = (set.words[way].load(Acquire), &set.buckets[way]);
            [
                word & OPEN,
                buckets.count.load(Acquire),
                buckets.bytes.load(Acquire),
                buckets.cool_until.load(Acquire),
            ]
        });
        // Evicted meanwhile: the buckets may be those of another source.
        let seen = seen.filter(|_| set.find(owner).is_some());
        let [open, count, bytes, cool_until] = seen.unwrap_or_default();
        let level = |limiter: &Option<RateLimiter>, rate: &Option<Rate>, bucket| {
            let (limiter, rate) = limiter.as_ref().zip(rate.as_ref())?;
            Some(Level { now: limiter.left(rate, bucket, now), of: rate.burst })
        };
        SourceState {
            counted_as: self.counted_as(source),
            open: (self.most > 0).then(|| Level { now: open, of: self.most.into() }),
            requests: level(&self.count, &self.rates.count, count),
            bytes: level(&self.bytes, &self.rates.bytes, bytes),
            cool_down: cool_until.saturating_sub(now) as f64 / 1e9,
        }
    }

    fn counted_as(&self, source: SourceKey) -> String {
        match source {
            SourceKey::User(user) => format!("user {user}"),
            SourceKey::Ip(ip) => match plain(ip) {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => Ipv6Net::new(ip, self.prefix)
                    .map_or_else(|_| ip.to_string(), |network| network.trunc().to_string()),
            },
        }
    }
}

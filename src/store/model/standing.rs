//! How far an identity is on its way to pass as a whole, and what it loses that for.

use std::time::Duration;

use super::is_worn;
use crate::store::attempt::{Promotion, Rules};
use crate::store::timestamp::Timestamp;

/// Different senders, and different recipients, that a standing can tell apart: further ones do not count.
pub const MAX_DISTINCT: usize = 8;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is known of an SPF domain, or of a client's exact address, once a triplet of it matured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Passes as a whole.
    pub promoted: bool,
    /// When this is forgotten: `pass_ttl` after a triplet matured last, or, once promoted, after it last profited.
    pub expires: Timestamp,
    /// When the first triplet matured.
    pub since: Timestamp,
    /// Different senders that matured.
    pub senders: Distinct,
    /// Different recipients they matured with.
    pub recipients: Distinct,
    /// When the day began for which the following are counted.
    pub day: Timestamp,
    /// First attempts of that day.
    pub first_seen: u32,
    /// Attempts by which triplets matured on that day.
    pub matured: u32,
}

impl Standing {
    pub(super) fn begin(now: Timestamp) -> Self {
        Self {
            promoted: false,
            expires: now,
            since: now,
            senders: Distinct::default(),
            recipients: Distinct::default(),
            day: now,
            first_seen: 0,
            matured: 0,
        }
    }

    /// After a triplet of this sender and recipient matured.
    pub(super) fn with_matured(
        self,
        sender: &[u8; 16],
        recipient: &[u8; 16],
        promotion: &Promotion,
        rules: &Rules,
        now: Timestamp,
    ) -> Self {
        let mut standing = self.on(now);
        standing.matured = standing.matured.saturating_add(1);
        standing.senders.insert(sender);
        standing.recipients.insert(recipient);
        standing.expires = standing.expires.max(now.plus(rules.pass_ttl));
        standing.promoted |= standing.senders.len() >= promotion.senders
            && standing.recipients.len() >= promotion.recipients
            && now.since(standing.since) >= promotion.span;
        standing
    }

    /// After a first attempt; `None` when that was one too many.
    pub(super) fn with_first_seen(self, promotion: &Promotion, now: Timestamp) -> Option<Self> {
        let mut standing = self.on(now);
        standing.first_seen = standing.first_seen.saturating_add(1);
        let bearable = promotion.first_seen_per_matured.saturating_mul(standing.matured.max(1));
        (standing.first_seen <= bearable).then_some(standing)
    }

    /// With its life begun anew, if enough of it is used up.
    pub(super) fn renewed(self, rules: &Rules, now: Timestamp) -> Self {
        let is_worn = is_worn(self.expires, now, rules);
        Self { expires: if is_worn { now.plus(rules.pass_ttl) } else { self.expires }, ..self }
    }

    /// With the counts of the day that `now` belongs to.
    fn on(self, now: Timestamp) -> Self {
        if now.since(self.day) < DAY { self } else { Self { day: now, first_seen: 0, matured: 0, ..self } }
    }
}

/// A few different things, by hashes of 32 bits. Zero stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distinct([u32; MAX_DISTINCT]);

impl Distinct {
    /// These, as a store wrote them.
    pub const fn from_numbers(numbers: [u32; MAX_DISTINCT]) -> Self {
        Self(numbers)
    }

    /// The numbers to write.
    pub const fn numbers(&self) -> &[u32; MAX_DISTINCT] {
        &self.0
    }

    /// How many they are.
    pub fn len(&self) -> u8 {
        self.0.iter().map(|number| u8::from(*number != 0)).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, hash: &[u8; 16]) {
        let number = hash.first_chunk().map_or(0, |part| u32::from_le_bytes(*part)).max(1);
        if let Some(slot) = self.0.iter_mut().find(|slot| **slot == 0 || **slot == number) {
            *slot = number;
        }
    }
}

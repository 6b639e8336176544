//! A decision as the scripts are asked for it, and what they answer.

use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::names;
use crate::store::{
    Answer, Attempt, AttemptKeys, HashKey, IdentityKey, IdentityKind, Key, KnownBy, NetworkKey, Timestamp,
    model,
};

/// The time of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// This.
    Given(Timestamp),
    /// So long before what the clock of the server says, which all Greylags on it share.
    Ago(Duration),
}

/// A decision to make.
pub(super) struct Question<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) keys: AttemptKeys,
    pub(super) network: NetworkKey,
    pub(super) hash_key: HashKey,
}

impl<'a> Question<'a> {
    pub(super) fn new(attempt: &'a Attempt, hash_key: HashKey) -> Self {
        let (keys, network) = (hash_key.keys(attempt), hash_key.cap_network(attempt.client));
        Self { attempt, keys, network, hash_key }
    }

    /// The arguments that all scripts begin with.
    pub(super) fn arguments(&self, at: At, record: bool) -> Vec<Vec<u8>> {
        let rules = &self.attempt.rules;
        let (now, ago) = match at {
            At::Given(now) => (millis_of(now).to_string(), 0),
            At::Ago(span) => (String::new(), millis(span)),
        };
        let letter = |kind| if kind == IdentityKind::Spf { 's' } else { 'o' };
        let kinds: String = self.keys.identities().map(|under| letter(under.kind)).collect();
        let promotion = self.promotion();
        let of_promotion = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        vec![
            now.into(),
            ago.to_string().into(),
            flag(record),
            kinds.into(),
            millis(rules.min_delay).to_string().into(),
            millis(rules.retry_window).to_string().into(),
            millis(rules.pass_ttl).to_string().into(),
            flag(rules.promote_pairs),
            names::network(self.network).into(),
            rules.network_cap.to_string().into(),
            of_promotion(promotion.map(|it| it.senders.into())).into(),
            of_promotion(promotion.map(|it| it.recipients.into())).into(),
            of_promotion(promotion.map(|it| millis(it.span))).into(),
            of_promotion(promotion.map(|it| it.first_seen_per_matured.into())).into(),
            distinct(self.keys.sender()).into(),
            distinct(self.keys.recipient()).into(),
        ]
    }

    /// The pairs, the proofs of the triplets, the clocks; without any identity there are none.
    pub(super) fn clock_keys(&self) -> Vec<Vec<u8>> {
        let pairs = self.keys.identities().map(|under| names::proof(&under.pair));
        let triplets = self.keys.identities().map(|under| names::proof(&under.triplet));
        let clocks = self.keys.identities().map(|under| names::clock(&under.triplet));
        pairs.chain(triplets).chain(clocks).collect()
    }

    pub(super) fn account_key(&self) -> Vec<u8> {
        names::account(&names::network(self.network))
    }

    /// The clock by which the attempt is judged where its network is over its cap.
    pub(super) fn capped(&self) -> Key {
        self.hash_key.capped(self.attempt)
    }

    pub(super) fn capped_key(&self) -> Vec<u8> {
        names::capped(&names::network(self.network), &self.capped())
    }

    /// The identities whose standing counts: the SPF domain, and for the other kinds the exact address.
    pub(super) fn standings(&self) -> [Option<IdentityKey>; 2] {
        let mut standings = [None, None];
        for (kind, identity) in model::standing_keys(self.attempt, &self.hash_key, &self.keys) {
            let [spf, others] = &mut standings;
            *(if kind == IdentityKind::Spf { spf } else { others }) = Some(identity);
        }
        standings
    }

    /// The rules of release that let it pass.
    pub(super) fn releases(&self) -> impl Iterator<Item = Key> + '_ {
        std::iter::once(self.keys.release()).chain(self.keys.identities().map(|under| under.release))
    }

    pub(super) fn release_keys(&self) -> Vec<Vec<u8>> {
        self.releases().map(|key| names::release(&key)).collect()
    }

    fn promotion(&self) -> Option<crate::store::Promotion> {
        self.attempt.rules.promotion.filter(|_| !self.attempt.never_promote)
    }

    /// The answer that a script gave as a word, a number, and the place of an identity.
    pub(super) fn answer(&self, word: &str, value: &str, of: &str) -> Result<Answer, RedisError> {
        let time = || value.parse().map(Duration::from_millis).map_err(|_| nonsense(value));
        let place = |text: &str| text.parse::<usize>().ok().and_then(|at| at.checked_sub(1));
        let kind = |text: &str| {
            let under = place(text).and_then(|at| self.keys.identities().nth(at));
            under.map(|under| under.kind).ok_or_else(|| nonsense(text))
        };
        Ok(match word {
            "first" => Answer::FirstSeen { wait: self.attempt.rules.min_delay },
            "early" => Answer::TooEarly { wait: time()? },
            "matured" => Answer::Matured { waited: time()?, identity: kind(of)? },
            "pair" => Answer::Known { by: KnownBy::Pair, identity: kind(value)? },
            "triplet" => Answer::Known { by: KnownBy::Triplet, identity: kind(value)? },
            "promoted" => {
                let identity = if value == "s" { IdentityKind::Spf } else { IdentityKind::Address };
                Answer::Known { by: KnownBy::Promotion, identity }
            }
            "released" => Answer::Released,
            "capped" if value.is_empty() => Answer::Capped { wait: None },
            "capped" => Answer::Capped { wait: Some(time()?) },
            other => return Err(nonsense(other)),
        })
    }
}

/// The number by which a standing tells senders and recipients apart.
fn distinct(hash: &[u8; 16]) -> String {
    hash.first_chunk().map_or(0, |part| u32::from_le_bytes(*part)).max(1).to_string()
}

fn flag(value: bool) -> Vec<u8> {
    if value { b"1".into() } else { b"0".into() }
}

/// The largest time scripts are given: their numbers are exact up to 2^53, and sums have to be, too.
const FOREVER: u64 = 1 << 47;

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(FOREVER).min(FOREVER)
}

pub(super) fn millis_of(time: Timestamp) -> u64 {
    time.as_millis().min(FOREVER)
}

pub(super) fn nonsense(what: &str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "an answer without sense", what.to_owned()))
}

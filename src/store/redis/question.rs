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
    /// The identities whose standing counts: the SPF domain, and for the other kinds the exact address.
    pub(super) standings: [Option<IdentityKey>; 2],
}

impl<'a> Question<'a> {
    pub(super) fn new(attempt: &'a Attempt, hash_key: HashKey) -> Self {
        let (keys, network) = (hash_key.keys(attempt), hash_key.cap_network(attempt.client));
        let mut standings = [None, None];
        for (kind, identity) in model::standing_keys(attempt, &hash_key, &keys) {
            let [spf, others] = &mut standings;
            *(if kind == IdentityKind::Spf { spf } else { others }) = Some(identity);
        }
        Self { attempt, keys, network, hash_key, standings }
    }

    /// The arguments that all scripts begin with; `lua/common.lua` unpacks them.
    pub(super) fn arguments(&self, at: At, record: bool) -> Vec<Vec<u8>> {
        let rules = &self.attempt.rules;
        let promotion = self.promotion();
        let [spf, others] = self.standings.map(|standing| standing.is_some());
        let (is_given, time) = match at {
            At::Given(now) => (true, millis_of(now)),
            At::Ago(span) => (false, millis(span)),
        };
        let mut numbers = Vec::with_capacity(64);
        let counts = !self.attempt.mail_counted;
        numbers.extend([is_given, record, rules.promote_pairs, spf, others, counts].map(u8::from));
        let span = promotion.map_or(0, |it| millis(it.span));
        for time in [time, millis(rules.min_delay), millis(rules.retry_window), millis(rules.pass_ttl), span]
        {
            numbers.extend(time.to_be_bytes());
        }
        let [senders, recipients, bearable] = promotion
            .map_or([0; 3], |it| [it.senders.into(), it.recipients.into(), it.first_seen_per_matured]);
        for number in [rules.network_cap, senders, recipients, bearable] {
            numbers.extend(number.to_be_bytes());
        }
        let letter = |kind| if kind == IdentityKind::Spf { b's' } else { b'o' };
        vec![
            self.keys.identities().map(|under| letter(under.kind)).collect(),
            names::network(self.network).into(),
            distinct(self.keys.sender()).into(),
            distinct(self.keys.recipient()).into(),
            numbers,
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

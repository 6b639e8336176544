//! The greylist's behaviour, without a store: given the records an attempt finds, what is answered and what is written.
//!
//! # Records
//!
//! | record | key | says |
//! |---|---|---|
//! | *clock* | triplet (identity, sender, recipient) | when the triplet was first attempted; runs for `retry_window` |
//! | *proof* | pair (identity, sender), or triplet | lets it pass until it expires; `pass_ttl` after its last renewal |
//! | [`Standing`] | identity | how far an SPF domain or an exact address is on its way to pass as a whole |
//! | *release* | (recipient, sender) or (recipient, identity) | lets mail pass until it expires |
//! | *account* | [`cap_network`](super::cap_network) | the clocks begun by attempts of this network, in the order in which they were begun |
//!
//! A clock that expired is as good as none, whether or not a store still has it; so are proofs, standings and releases. A store
//! may drop what expired more than an hour ago (a clock that was ahead, and is set right, finds what it knew), and the oldest
//! clocks when it is full.
//!
//! # What an attempt does
//!
//! 1. [`known`]: reads the proofs of all its pairs and triplets. If one is live, the answer is `Known`; proofs with less than 7/8
//!    of their life left are renewed. This needs no lock: of two proofs under one key the later expiry counts, so their order is of
//!    no account. Where one is renewed, so is the promoted standing of its identity ([`renew_standings`]), which outlives it so;
//!    nothing else is read or written.
//! 2. Otherwise reads the clocks of all its triplets. The earliest live one decides between `FirstSeen`, `TooEarly` and `Matured`.
//!    Each identity is proven by its own clock only: it becomes a proof, and ends. Identities without a live clock begin one.
//! 3. If clocks are to be begun: reads the account of the network. Where it would have more than `network_cap`, expired clocks at
//!    its beginning do not count, up to [`MAX_SWEPT`], and those that expired more than an hour ago end. If that is not enough, the
//!    oldest of the others end, at most one for each that begins, if all of those are older than 2 × `min_delay`. Else none begins; and if the attempt found no clock at
//!    all, it is judged by the clock of (network, recipient's domain), which is in no account, proves nothing and does not end
//!    by maturing: `Capped`.
//! 4. Reads the standings of the SPF domain and, for the other kinds of identities, of the exact address. If one is promoted the
//!    answer is `Known` by promotion, whatever the clocks say; they are kept all the same, as if the attempt were greylisted, so
//!    that first attempts and matured ones can be counted. Then a first attempt counts against a standing that exists, once for all
//!    recipients of its mail, and a matured one for it (it begins with the first of them).
//! 5. If the answer is to wait still, reads the releases of its sender and its identities: `Released`.
//!
//! # What has to be atomic
//!
//! Steps 1 and 2 with their writes, over the records of one (sender, recipient): two attempts must not both find no clock. All their
//! keys begin with the hash of the sender, so in Redis they are one script in one slot. Standings, accounts and releases may be
//! read before and written after it, each atomic in itself: they count, and nothing is lost if two attempts find the same state.
//! Writes are applied in the order of the list. What was answered must survive the process.
//!
//! # What may differ by the nature of a store
//!
//! - Where another process writes too, standings and accounts may be up to 60 s old, releases up to 5 s.
//! - A store may bound how many identities it keeps for one sender, and for one sender and recipient, to the latest 16; not so
//!   for the null sender, which all bounces share.
//! - A full store in this process lets its oldest clock go; a Redis that evicts is misconfigured and said to be so.

mod clocks;
mod standing;

use std::time::Duration;

use clocks::{Clocks, State};
pub use standing::{Distinct, MAX_DISTINCT, Standing};

use super::attempt::{Answer, Attempt, IdentityKind, KnownBy, Promotion, Rules};
use super::fault::StoreFault;
use super::key::{AttemptKeys, HashKey, IdentityKey, Key, KeysUnder, NetworkKey};
use super::timestamp::Timestamp;

/// Most expired clocks that one attempt looks at in a full account.
pub const MAX_SWEPT: usize = 64;

/// Room for what nearly every attempt writes.
const USUAL_WRITES: usize = 6;

/// Lets a pair or a triplet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Last moment at which it does.
    pub expires: Timestamp,
}

impl Proven {
    fn renew(now: Timestamp, rules: &Rules) -> Self {
        Self { expires: now.plus(rules.pass_ttl) }
    }

    /// Of two records under one key, the one that counts.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.expires > self.expires { other } else { self }
    }
}

/// Less than 7/8 of its life is left. Renewing only then spares nearly every write for busy senders.
fn is_worn(expires: Timestamp, now: Timestamp, rules: &Rules) -> bool {
    expires.since(now) < unworn(rules)
}

/// What is left of the life of a proof at least that need not be renewed.
fn unworn(rules: &Rules) -> Duration {
    rules.pass_ttl - rules.pass_ttl / 8
}

/// Looks proofs up. Expired ones may be returned or not, to the same effect.
pub trait Proofs {
    /// The proof of a pair or a triplet.
    fn proven(&self, key: &Key) -> Result<Option<Proven>, StoreFault>;
}

/// Looks standings up. Expired ones may be returned or not, to the same effect.
pub trait Standings {
    /// The standing of an identity.
    fn standing(&self, identity: &IdentityKey) -> Result<Option<Standing>, StoreFault>;
}

/// Looks everything else up. Expired records may be returned or not, to the same effect.
pub trait Records: Proofs + Standings {
    /// When the clock of a triplet began.
    fn clock(&self, triplet: &Key) -> Result<Option<Timestamp>, StoreFault>;

    /// How many clocks a network's account has.
    fn running(&self, network: NetworkKey) -> Result<u32, StoreFault>;

    /// The clocks of a network's account, the one first begun first.
    fn oldest(&self, network: NetworkKey) -> impl Iterator<Item = (Key, Timestamp)>;

    /// When a rule of release expires.
    fn release(&self, key: &Key) -> Result<Option<Timestamp>, StoreFault>;
}

/// One change, over whatever the key has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A clock begins, or begins anew: it is the last of its network's account then.
    Begin(Key, Clock),
    /// A clock ends: it matured, or made room.
    End(Key),
    /// A pair or a triplet is proven. Of two, the later expiry counts.
    Prove(Key, Proven),
    /// An identity has this standing, or lost it.
    Stand(IdentityKey, Option<Standing>),
}

/// A clock that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// When the triplet was first attempted.
    pub first_seen: Timestamp,
    /// After so much time nobody will ask for it, but for a margin for clocks that are set back.
    pub lasts: Duration,
    /// The network whose account it is in.
    pub network: Option<NetworkKey>,
}

/// What comes of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is answered.
    pub answer: Answer,
    /// What has to be recorded before the answer is given, in this order. Empty, and without allocation, for most known senders.
    pub writes: Vec<Write>,
}

/// Decides about an attempt at `now`, whose `keys` are made with `hash_key`.
pub fn decide(
    attempt: &Attempt,
    hash_key: &HashKey,
    keys: &AttemptKeys,
    now: Timestamp,
    records: &impl Records,
) -> Result<Decision, StoreFault> {
    if let Some(mut decision) = known(keys, &attempt.rules, now, records)? {
        let renewed = renew_standings(attempt, hash_key, keys, now, &decision.writes, records)?;
        decision.writes.extend(renewed);
        return Ok(decision);
    }
    Unproven::new(attempt, hash_key, keys).decide(now, records, Vec::new())
}

/// Decides about an attempt at `now` if a proof lets it pass. Every proven identity is looked at, not only the first: all that
/// are in use have to be renewed.
pub fn known(
    keys: &AttemptKeys,
    rules: &Rules,
    now: Timestamp,
    proofs: &impl Proofs,
) -> Result<Option<Decision>, StoreFault> {
    let live = |key: &Key| proofs.proven(key).map(|found| found.filter(|proven| now <= proven.expires));
    let mut answer = None;
    let mut writes = Vec::new();
    for under in keys.identities() {
        let pair = if rules.promote_pairs { live(&under.pair)? } else { None };
        let (by, proven) = match pair {
            Some(proven) => (KnownBy::Pair, proven),
            None => match live(&under.triplet)? {
                Some(proven) => (KnownBy::Triplet, proven),
                None => continue,
            },
        };
        answer = answer.or(Some(Answer::Known { by, identity: under.kind }));
        // A triplet proven while pairs were not promoted proves its pair now.
        let promotes = rules.promote_pairs && by == KnownBy::Triplet;
        if promotes || is_worn(proven.expires, now, rules) {
            writes.push(Write::Prove(provable(&under, rules), Proven::renew(now, rules)));
        }
    }
    Ok(answer.map(|answer| Decision { answer, writes }))
}

/// Until when [`known`] answers as it does at `now`, and nothing has to be written. `None` where something has to be now, and where a
/// stronger identity may be proven meanwhile, which would be answered then.
pub fn known_until(
    keys: &AttemptKeys,
    rules: &Rules,
    now: Timestamp,
    proofs: &impl Proofs,
) -> Result<Option<Timestamp>, StoreFault> {
    let mut until = None;
    for under in keys.identities() {
        let proof = proofs.proven(&provable(&under, rules))?;
        let Some(proof) = proof.filter(|proof| now <= proof.expires) else {
            match until {
                Some(_) => continue,
                None => return Ok(None),
            }
        };
        if is_worn(proof.expires, now, rules) {
            return Ok(None);
        }
        let worn = now.plus(proof.expires.since(now).saturating_sub(unworn(rules)));
        until = until.map_or(Some(worn), |until: Timestamp| Some(until.min(worn)));
    }
    Ok(until)
}

/// The standings to renew beside the proofs that `writes` renews: of promoted identities, whose mail may all be known by pairs. So a
/// standing is looked at, and written, only as seldom as a proof is.
pub fn renew_standings(
    attempt: &Attempt,
    hash_key: &HashKey,
    keys: &AttemptKeys,
    now: Timestamp,
    writes: &[Write],
    standings: &impl Standings,
) -> Result<Vec<Write>, StoreFault> {
    let rules = &attempt.rules;
    let is_renewed = |kind: IdentityKind| {
        keys.identities().any(|under| {
            let proof = provable(&under, rules);
            standing_kind(under.kind) == kind
                && writes.iter().any(|write| matches!(write, Write::Prove(key, _) if *key == proof))
        })
    };
    let mut renewed = Vec::new();
    let standings_of = standing_keys(attempt, hash_key, keys).filter(|(kind, _)| is_renewed(*kind));
    for (_, identity) in standings_of {
        let found = standings.standing(&identity)?;
        if let Some(before) = found.filter(|standing| standing.promoted && now <= standing.expires) {
            let after = before.renewed(rules, now);
            if after != before {
                renewed.push(Write::Stand(identity, Some(after)));
            }
        }
    }
    Ok(renewed)
}

/// The identities whose standings an attempt is about, each with the kind that it passes as: the SPF domain, and for the other kinds
/// the client's exact address. None where nothing is promoted.
pub fn standing_keys(
    attempt: &Attempt,
    hash_key: &HashKey,
    keys: &AttemptKeys,
) -> impl Iterator<Item = (IdentityKind, IdentityKey)> {
    let promotes = attempt.rules.promotion.is_some() && !attempt.never_promote;
    let spf = keys.identities().find(|under| under.kind == IdentityKind::Spf).map(|under| under.identity);
    let has_others = keys.identities().any(|under| under.kind != IdentityKind::Spf);
    let address = (promotes && has_others).then(|| hash_key.address(attempt.client));
    let kinds = [(IdentityKind::Spf, spf), (IdentityKind::Address, address)];
    kinds.into_iter().filter(move |_| promotes).filter_map(|(kind, identity)| Some((kind, identity?)))
}

/// What an identity of this kind has its standing as.
const fn standing_kind(kind: IdentityKind) -> IdentityKind {
    match kind {
        IdentityKind::Spf => IdentityKind::Spf,
        IdentityKind::Host | IdentityKind::Network | IdentityKind::Address => IdentityKind::Address,
    }
}

/// What has to be recorded when an attempt made at `made` turns out to have further identities, those of `attempt`: their clocks
/// run from then on. Clocks that began earlier stay, and what is proven needs none. Where the network's account is full, and
/// nothing may go, the identities are left out.
pub fn add_identities(
    attempt: &Attempt,
    hash_key: &HashKey,
    keys: &AttemptKeys,
    made: Timestamp,
    records: &impl Records,
) -> Result<Vec<Write>, StoreFault> {
    let unproven = Unproven::new(attempt, hash_key, keys);
    let mut clocks = Clocks::read(keys, &attempt.rules, made, records)?;
    for (clock, under) in clocks.each.iter_mut().zip(keys.identities()) {
        let proven =
            |key: &Key| records.proven(key).map(|found| found.is_some_and(|proven| made <= proven.expires));
        if proven(&under.triplet)? || (attempt.rules.promote_pairs && proven(&under.pair)?) {
            clock.state = State::Proven;
        }
    }
    let mut writes = Vec::new();
    if clocks.make_room(&unproven, made, records, &mut writes)? {
        clocks.begin(&unproven, made, &mut writes);
    }
    Ok(writes)
}

/// An attempt that no proof lets pass, with the keys it is decided by: each is made once.
pub struct Unproven<'a> {
    attempt: &'a Attempt,
    hash_key: &'a HashKey,
    keys: &'a AttemptKeys,
    /// What [`standing_keys`] says.
    standings: [Option<(IdentityKind, IdentityKey)>; 2],
    /// The network whose account its clocks are in.
    network: NetworkKey,
}

impl<'a> Unproven<'a> {
    /// The attempt with these `keys`, which are made with `hash_key`.
    pub fn new(attempt: &'a Attempt, hash_key: &'a HashKey, keys: &'a AttemptKeys) -> Self {
        let mut standings = [None; 2];
        standings
            .iter_mut()
            .zip(standing_keys(attempt, hash_key, keys))
            .for_each(|(place, of)| *place = Some(of));
        let network = hash_key.cap_network(attempt.client);
        Self { attempt, hash_key, keys, standings, network }
    }

    /// The network whose account its clocks are in.
    pub const fn network(&self) -> NetworkKey {
        self.network
    }

    /// The identities whose standings it is about.
    pub fn standings(&self) -> impl Iterator<Item = IdentityKey> + '_ {
        self.standings.iter().flatten().map(|(_, identity)| *identity)
    }

    /// Decides about it at `now`. There must be no live proof of it in `records`, or it is taken for new: where another may come in
    /// between, [`decide`] looks for one. What has to be written goes into `writes`, which is empty and may have room already.
    pub fn decide(
        &self,
        now: Timestamp,
        records: &impl Records,
        mut writes: Vec<Write>,
    ) -> Result<Decision, StoreFault> {
        let rules = &self.attempt.rules;
        let clocks = Clocks::read(self.keys, rules, now, records)?;
        writes.reserve(USUAL_WRITES);
        let has_room = clocks.make_room(self, now, records, &mut writes)?;
        let mut answer = if has_room || clocks.earliest.is_some() {
            clocks.answer(rules, now)
        } else {
            self.capped(now, records, &mut writes)?
        };
        clocks.write(self, now, has_room, &mut writes);
        if let Some(identity) = self.stand(&clocks, answer, now, records, &mut writes)? {
            answer = Answer::Known { by: KnownBy::Promotion, identity };
        }
        if must_wait(answer) && is_released(self.keys, now, records)? {
            answer = Answer::Released;
        }
        Ok(Decision { answer, writes })
    }

    /// Judges by the clock of (network, recipient's domain).
    fn capped(
        &self,
        now: Timestamp,
        records: &impl Records,
        writes: &mut Vec<Write>,
    ) -> Result<Answer, StoreFault> {
        let (key, rules) = (self.hash_key.capped(self.attempt), &self.attempt.rules);
        let clock = live_clock(&key, rules, now, records)?;
        if clock.is_none_or(|first| now < first) {
            let clock = Clock { first_seen: now, lasts: rules.retry_window, network: None };
            writes.push(Write::Begin(key, clock));
        }
        let wait = clock.map_or(Some(rules.min_delay), |first| wait_left(now.since(first), rules));
        Ok(Answer::Capped { wait })
    }

    /// Counts for and against the standings it is about. Returns the kind of the identity that passes as a whole, if any does.
    fn stand(
        &self,
        clocks: &Clocks,
        answer: Answer,
        now: Timestamp,
        records: &impl Records,
        writes: &mut Vec<Write>,
    ) -> Result<Option<IdentityKind>, StoreFault> {
        let rules = &self.attempt.rules;
        let Some(promotion) = &rules.promotion else { return Ok(None) };
        let is_first = matches!(answer, Answer::FirstSeen { .. }) && !self.attempt.mail_counted;
        let mut promoted = None;
        for (kind, identity) in self.standings.iter().flatten() {
            let before = records.standing(identity)?.filter(|standing| now <= standing.expires);
            if promoted.is_none() && before.is_some_and(|standing| standing.promoted) {
                promoted = Some(*kind);
            }
            let has_matured = clocks.matured(|matured| standing_kind(matured) == *kind, rules, now);
            let after = standing_after(before, has_matured, is_first, self.keys, promotion, rules, now);
            if after != before {
                writes.push(Write::Stand(*identity, after));
            }
        }
        Ok(promoted)
    }
}

fn standing_after(
    before: Option<Standing>,
    has_matured: bool,
    is_first: bool,
    keys: &AttemptKeys,
    promotion: &Promotion,
    rules: &Rules,
    now: Timestamp,
) -> Option<Standing> {
    if has_matured {
        let standing = before.unwrap_or_else(|| Standing::begin(now));
        return Some(standing.with_matured(keys.sender(), keys.recipient(), promotion, rules, now));
    }
    let mut standing = before?;
    if is_first {
        standing = standing.with_first_seen(promotion, now)?;
    }
    Some(if standing.promoted { standing.renewed(rules, now) } else { standing })
}

fn is_released(keys: &AttemptKeys, now: Timestamp, records: &impl Records) -> Result<bool, StoreFault> {
    let is_live = |key: &Key| records.release(key).map(|found| found.is_some_and(|expires| now <= expires));
    if is_live(&keys.release())? {
        return Ok(true);
    }
    for under in keys.identities() {
        if is_live(&under.release)? {
            return Ok(true);
        }
    }
    Ok(false)
}

const fn must_wait(answer: Answer) -> bool {
    matches!(answer, Answer::FirstSeen { .. } | Answer::TooEarly { .. } | Answer::Capped { wait: Some(_) })
}

fn live_clock(
    key: &Key,
    rules: &Rules,
    now: Timestamp,
    records: &impl Records,
) -> Result<Option<Timestamp>, StoreFault> {
    Ok(records.clock(key)?.filter(|first| now.since(*first) <= rules.retry_window))
}

fn is_mature(first: Timestamp, now: Timestamp, rules: &Rules) -> bool {
    first <= now && now.since(first) >= rules.min_delay
}

/// What is left to wait after `waited`; `None` when nothing is.
fn wait_left(waited: Duration, rules: &Rules) -> Option<Duration> {
    rules.min_delay.checked_sub(waited).filter(|wait| !wait.is_zero())
}

const fn provable(under: &KeysUnder, rules: &Rules) -> Key {
    if rules.promote_pairs { under.pair } else { under.triplet }
}

#[cfg(test)]
mod tests;

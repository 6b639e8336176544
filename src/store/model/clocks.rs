//! The clocks that an attempt finds, and those that it begins and ends.

use super::{
    Clock, IdentityKind, MAX_SWEPT, Proven, Records, Unproven, Write, is_mature, live_clock, provable,
    wait_left,
};
use crate::store::attempt::{Answer, Rules};
use crate::store::fault::StoreFault;
use crate::store::key::{AttemptKeys, Key, MAX_IDENTITIES};
use crate::store::table::is_forgettable;
use crate::store::timestamp::Timestamp;

/// The clocks that an attempt finds.
pub(super) struct Clocks {
    pub(super) each: [Found; MAX_IDENTITIES],
    /// The earliest, and the strongest identity it is of.
    pub(super) earliest: Option<(Timestamp, IdentityKind)>,
}

#[derive(Clone, Copy)]
pub(super) struct Found {
    kind: IdentityKind,
    triplet: Key,
    /// What it proves when it matures.
    provable: Key,
    pub(super) state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is no such identity.
    Unused,
    /// Needs no clock.
    Proven,
    /// No live clock.
    None,
    /// Runs since.
    Runs(Timestamp),
}

impl Clocks {
    pub(super) fn read(
        keys: &AttemptKeys,
        rules: &Rules,
        now: Timestamp,
        records: &impl Records,
    ) -> Result<Self, StoreFault> {
        let mut clocks = Self { each: [Found::UNUSED; MAX_IDENTITIES], earliest: None };
        for (found, under) in clocks.each.iter_mut().zip(keys.identities()) {
            let clock = live_clock(&under.triplet, rules, now, records)?;
            *found = Found {
                kind: under.kind,
                triplet: under.triplet,
                provable: provable(&under, rules),
                state: clock.map_or(State::None, State::Runs),
            };
            if let Some(began) = clock
                && clocks.earliest.is_none_or(|(earliest, _)| began < earliest)
            {
                clocks.earliest = Some((began, under.kind));
            }
        }
        Ok(clocks)
    }

    pub(super) fn answer(&self, rules: &Rules, now: Timestamp) -> Answer {
        let Some((first, identity)) = self.earliest else {
            return Answer::FirstSeen { wait: rules.min_delay };
        };
        let waited = now.since(first);
        match wait_left(waited, rules) {
            None => Answer::Matured { waited, identity },
            Some(wait) => Answer::TooEarly { wait },
        }
    }

    /// Whether the clocks that have to be begun have room in the account of their network; ends older ones for it.
    pub(super) fn make_room(
        &self,
        unproven: &Unproven<'_>,
        now: Timestamp,
        records: &impl Records,
        writes: &mut Vec<Write>,
    ) -> Result<bool, StoreFault> {
        let begun = self.each.iter().filter(|found| found.state == State::None).count();
        if begun == 0 {
            return Ok(true);
        }
        let (network, rules) = (unproven.network, &unproven.attempt.rules);
        let cap = rules.network_cap as usize;
        if begun > cap {
            return Ok(false);
        }
        if records.running(network)? as usize + begun <= cap {
            return Ok(true);
        }
        let is_over = |began: Timestamp| now.since(began) > rules.retry_window;
        let over = records.oldest(network).take_while(|(_, began)| is_over(*began)).take(MAX_SWEPT);
        let over: Vec<(Key, Timestamp)> = over.collect();
        // They do not count, but end only when a store may have dropped them already: the clock may yet be set back.
        let is_gone = |began: Timestamp| is_forgettable(began.plus(rules.retry_window), now);
        writes.extend(over.iter().filter(|(_, began)| is_gone(*began)).map(|(key, _)| Write::End(*key)));
        let running = records.running(network)? as usize - over.len();
        let excess = (running + begun).saturating_sub(cap).min(begun);
        let old_age = rules.min_delay.saturating_mul(2);
        let mut leaving = [None; MAX_IDENTITIES];
        for (leaving, (key, began)) in
            leaving.iter_mut().zip(records.oldest(network).skip(over.len())).take(excess)
        {
            *leaving = (now.since(began) > old_age).then_some(key);
        }
        let leaving = leaving.iter().flatten();
        if leaving.clone().count() < excess {
            return Ok(false);
        }
        writes.extend(leaving.map(|key| Write::End(*key)));
        Ok(true)
    }

    pub(super) fn write(
        &self,
        unproven: &Unproven<'_>,
        now: Timestamp,
        has_room: bool,
        writes: &mut Vec<Write>,
    ) {
        let rules = &unproven.attempt.rules;
        for Found { triplet, provable, state, .. } in &self.each {
            if let State::Runs(first) = *state
                && is_mature(first, now, rules)
            {
                writes.push(Write::Prove(*provable, Proven::renew(now, rules)));
                writes.push(Write::End(*triplet));
            }
        }
        if has_room {
            self.begin(unproven, now, writes);
        }
    }

    /// Begins the clocks of identities that were never seen; and of those seen at a time yet to come, by a clock that was set back
    /// since: the earlier moment counts, or the client would wait until that time comes again.
    pub(super) fn begin(&self, unproven: &Unproven<'_>, now: Timestamp, writes: &mut Vec<Write>) {
        for Found { triplet, state, .. } in &self.each {
            let begins = match state {
                State::None => true,
                State::Runs(first) => now < *first,
                State::Unused | State::Proven => false,
            };
            if begins {
                let (network, lasts) = (Some(unproven.network), unproven.attempt.rules.retry_window);
                writes.push(Write::Begin(*triplet, Clock { first_seen: now, lasts, network }));
            }
        }
    }

    /// Whether a clock matured of an identity of the given kinds.
    pub(super) fn matured(
        &self,
        kinds: impl Fn(IdentityKind) -> bool,
        rules: &Rules,
        now: Timestamp,
    ) -> bool {
        self.each.iter().any(|found| {
            kinds(found.kind) && matches!(found.state, State::Runs(first) if is_mature(first, now, rules))
        })
    }
}

impl Found {
    const UNUSED: Self = Self {
        kind: IdentityKind::Address,
        triplet: Key::from_bytes([0; 16]),
        provable: Key::from_bytes([0; 16]),
        state: State::Unused,
    };
}

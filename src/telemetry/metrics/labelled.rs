//! Handles by the values of their labels.

use std::sync::OnceLock;

use metrics::{Counter, counter};

use crate::driver::Protocol;
use crate::reason::Reason;
use crate::telemetry::protocol_name;
use crate::verdict::{Action, Finding};

pub(super) const PROTOCOLS: [Protocol; 2] = [Protocol::Milter, Protocol::Policy];

/// One handle for each value of a label; few enough to be searched.
pub(super) struct Labelled<K, H>(Vec<(K, H)>);

impl<K: Copy + PartialEq, H> Labelled<K, H> {
    pub(super) fn new(keys: impl IntoIterator<Item = K>, register: impl Fn(K) -> H) -> Self {
        Self(keys.into_iter().map(|key| (key, register(key))).collect())
    }
}

impl<K: PartialEq, H> Labelled<K, H> {
    pub(super) const fn of(handles: Vec<(K, H)>) -> Self {
        Self(handles)
    }

    pub(super) fn get(&self, key: K) -> Option<&H> {
        self.0.iter().find(|(it, _)| *it == key).map(|(_, handle)| handle)
    }

    /// As [`Self::get`], looked for at `place` first.
    pub(super) fn get_at(&self, place: usize, key: K) -> Option<&H> {
        match self.0.get(place) {
            Some((it, handle)) if *it == key => Some(handle),
            _ => self.get(key),
        }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &H> {
        self.0.iter().map(|(_, handle)| handle)
    }
}

/// Counters by protocol, reason and action. Hundreds are possible and few ever count, so each is registered when it first does.
pub(super) struct DecisionCounters {
    name: &'static str,
    counters: Vec<OnceLock<Counter>>,
}

impl DecisionCounters {
    pub(super) fn new(name: &'static str) -> Self {
        // One more than the reasons: decisions without any.
        let count = PROTOCOLS.len() * (Reason::ALL.len() + 1) * Action::ALL.len();
        Self { name, counters: (0..count).map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn count(&self, protocol: Protocol, finding: Option<&Finding>) {
        let action = finding.map_or(Action::Accept, |finding| finding.outcome.action());
        self.count_one(protocol, finding.map(|finding| finding.reason), action);
    }

    pub(super) fn count_one(&self, protocol: Protocol, reason: Option<Reason>, action: Action) {
        let reason_index = reason.map_or(Reason::ALL.len(), |reason| reason as usize);
        let index = (protocol as usize * (Reason::ALL.len() + 1) + reason_index) * Action::ALL.len()
            + action as usize;
        let Some(counter) = self.counters.get(index) else { return };
        let register = || {
            counter!(
                self.name,
                "protocol" => protocol_name(protocol),
                "check" => reason.map_or("none", |reason| reason.check().name()),
                "reason" => reason.map_or("none", Reason::code),
                "action" => action.name(),
            )
        };
        counter.get_or_init(register).increment(1);
    }
}

//! Scopes: other settings for some clients, senders or recipients.

mod compare;
mod lint;
mod listeners;
mod names;
mod read;

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use super::effective::Settings;
use super::lists::{AddressMap, AddressPatterns, HostPatterns, Networks};
use crate::facts::{Client, Facts, Recipient, host_name};
use crate::reason::Check;

pub(super) use listeners::unknown_listeners;
pub use names::{Listeners, Logins, PolicyContexts};
pub(super) use read::{read, shipped};

crate::settings! {
    /// When a scope holds: all keys that are given must match, of a list one entry is enough.
    pub struct When {
        /// The client's address; a local submission counts as 127.0.0.1.
        client: Option<Networks> = None,
        /// The client's FCrDNS-verified host name.
        client_name: Option<HostPatterns> = None,
        /// The HELO name, verified or not.
        helo: Option<HostPatterns> = None,
        /// The reverse-path.
        sender: Option<AddressPatterns> = None,
        /// The recipient; a scope that names recipients does not hold where no recipient is judged. "bob@example.test" holds for
        /// bob+shop@example.test too; a scope for that one alone comes after it.
        recipient: Option<AddressPatterns> = None,
        /// Whether the client logged in.
        authenticated: Option<bool> = None,
        /// The name the client logged in with.
        login: Option<Logins> = None,
        /// Whether the session is encrypted.
        tls: Option<bool> = None,
        /// The listener of ours that was asked, by its address in `greylag.toml`.
        listener: Option<Listeners> = None,
        /// What Postfix's `policy_context` says; a scope that names one does not hold for the milter protocol.
        policy_context: Option<PolicyContexts> = None,
    }
}

impl When {
    fn matches(&self, facts: &Facts, recipient: Option<&Recipient>) -> bool {
        let connection = &facts.connection;
        holds(&self.client, |list| client_address(connection.client).is_some_and(|ip| list.contains(ip)))
            && holds(&self.client_name, |list| {
                connection.client_name.as_deref().is_some_and(|name| list.contains(name))
            })
            && holds(&self.helo, |list| {
                facts.helo.as_deref().and_then(host_name).is_some_and(|name| list.contains(&name))
            })
            && holds(&self.sender, |list| {
                facts.sender.as_ref().is_some_and(|path| list.contains(path.address()))
            })
            && holds(&self.recipient, |list| {
                recipient.is_some_and(|recipient| list.contains_recipient(recipient.address()))
            })
            && holds(&self.authenticated, |wanted| facts.login.is_some() == *wanted)
            && holds(&self.login, |list| facts.login.as_deref().is_some_and(|login| list.contains(login)))
            && holds(&self.tls, |wanted| facts.tls.is_some() == *wanted)
            && holds(&self.listener, |list| list.contains(&connection.listener))
            && holds(&self.policy_context, |list| {
                facts.policy_context.as_deref().is_some_and(|context| list.contains(context))
            })
    }
}

fn holds<T>(key: &Option<T>, test: impl FnOnce(&T) -> bool) -> bool {
    key.as_ref().is_none_or(test)
}

fn client_address(client: Client) -> Option<IpAddr> {
    match client {
        Client::Ip(address) => Some(address),
        Client::Local => Some(Ipv4Addr::LOCALHOST.into()),
        Client::Unknown => None,
    }
}

/// One scope.
#[derive(Debug)]
pub(super) struct Scope {
    name: String,
    /// Its place in the file.
    span: Range<usize>,
    when: When,
    /// The settings it names, with their values in `values`.
    pub(super) sets: Vec<Set>,
    pub(super) values: Settings,
}

/// A setting that a scope names, and where.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) check: Check,
    pub(super) key: &'static str,
    pub(super) span: Range<usize>,
}

/// Scopes with more patterns than these are tested one by one: their own lists are an index already.
const INDEXED: usize = 100;

/// All scopes in the order of the file. Those that name recipients or senders are found through an index, so that ten thousand
/// domains with a scope each cost no more than one.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    by_recipient: AddressMap<Vec<usize>>,
    by_sender: AddressMap<Vec<usize>>,
    others: Vec<usize>,
    /// Whether any names what the milter and the policy service are told differently.
    tell_hooks_apart: bool,
}

impl Scopes {
    pub(super) fn new(scopes: Vec<Scope>) -> Self {
        let names_hook = |scope: &Scope| scope.when.listener.is_some() || scope.when.policy_context.is_some();
        let mut all = Self { tell_hooks_apart: scopes.iter().any(names_hook), ..Self::default() };
        for (index, scope) in scopes.iter().enumerate() {
            let (map, patterns) = match (&scope.when.recipient, &scope.when.sender) {
                (Some(patterns), _) if patterns.len() <= INDEXED => (&mut all.by_recipient, patterns),
                (_, Some(patterns)) if patterns.len() <= INDEXED => (&mut all.by_sender, patterns),
                _ => {
                    all.others.push(index);
                    continue;
                }
            };
            patterns.patterns().for_each(|pattern| map.entry(&pattern).0.push(index));
        }
        Self { scopes, ..all }
    }

    /// Whether the milter and the policy service may judge one mail by different settings.
    pub(super) const fn tell_hooks_apart(&self) -> bool {
        self.tell_hooks_apart
    }

    /// The scopes that hold for `recipient` of the mail `facts` are about, by their place in the file.
    pub(super) fn matching(&self, facts: &Facts, recipient: Option<&Recipient>) -> Vec<usize> {
        if self.scopes.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut add = |scopes: &Vec<usize>| {
            let matches = |index: &&usize| self.scopes[**index].when.matches(facts, recipient);
            found.extend(scopes.iter().filter(matches));
        };
        add(&self.others);
        if let Some(recipient) = recipient {
            self.by_recipient.for_each_match_of_recipient(recipient.address(), &mut add);
        }
        if let Some(sender) = &facts.sender {
            self.by_sender.for_each_match(sender.address(), add);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// `base` with what the scopes set, the later over the earlier; checks that none touches stay the same `Arc`.
    pub(super) fn apply(&self, base: &Settings, matching: &[usize]) -> Settings {
        let mut settings = base.clone();
        for scope in matching.iter().filter_map(|index| self.scopes.get(*index)) {
            scope.apply(&mut settings);
            if settings.content.rule.names_scope(&scope.name) {
                Arc::make_mut(&mut settings.content).rule.enter(&scope.name);
            }
        }
        settings
    }

    /// All of them, in the order in which they apply.
    pub(super) fn all(&self) -> &[Scope] {
        &self.scopes
    }

    pub(super) fn name(&self, index: usize) -> Option<&str> {
        self.scopes.get(index).map(|scope| scope.name.as_str())
    }
}

impl Scope {
    fn apply(&self, settings: &mut Settings) {
        for set in &self.sets {
            settings.copy(set.check, set.key, &self.values);
        }
    }

    /// Whether both say the same, wherever they stand.
    pub(super) fn is(&self, other: &Self) -> bool {
        let value = |scope: &Self, set: &Set| {
            scope.values.entries(set.check).into_iter().find(|(key, _)| *key == set.key)
        };
        let sets =
            |scope: &Self| scope.sets.iter().map(|set| (set.check, value(scope, set))).collect::<Vec<_>>();
        self.name == other.name && self.when == other.when && sets(self) == sets(other)
    }

    pub(super) const fn span(&self) -> &Range<usize> {
        &self.span
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn when(&self) -> &When {
        &self.when
    }

    pub(super) fn has(&self, check: Check, key: &str) -> bool {
        self.sets.iter().any(|set| set.check == check && set.key == key)
    }
}

#[cfg(test)]
mod tests;

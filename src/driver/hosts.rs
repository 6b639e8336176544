//! The domains that clients' names gave them lately: finding one out means to look for the address in the name in every way that
//! providers write it.

use std::net::IpAddr;
use std::sync::Arc;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::facts::Facts;
use crate::filter::Known;

/// Clients that are remembered: some 2 MB of them.
const CAPACITY: usize = 10_000;

type Key = (IpAddr, Box<str>);

/// A key that is looked for.
#[derive(Hash)]
struct Question<'a>(IpAddr, &'a str);

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, (address, name): &Key) -> bool {
        self.0 == *address && *self.1 == **name
    }
}

/// [`Known::greylist_host`] by the client's address and verified name, on which alone it depends.
#[derive(Debug)]
pub(super) struct Hosts(Cache<Key, Option<Arc<str>>>);

impl Default for Hosts {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl Hosts {
    /// Tells what was found out before, if it was.
    pub(super) fn recall(&self, facts: &Facts, known: &Known) -> bool {
        if known.greylist_host.get().is_some() {
            return true;
        }
        let found = question(facts).and_then(|(address, name)| self.0.get(&Question(address, name)));
        let is_found = found.is_some();
        if let Some(host) = found {
            known.greylist_host.get_or_init(|| host);
        }
        is_found
    }

    /// Takes what was found out.
    pub(super) fn remember(&self, facts: &Facts, known: &Known) {
        if let Some(host) = known.greylist_host.get()
            && let Some((address, name)) = question(facts)
        {
            self.0.insert((address, name.into()), host.clone());
        }
    }
}

fn question(facts: &Facts) -> Option<(IpAddr, &str)> {
    facts.connection.client.ip().zip(facts.connection.client_name.as_deref())
}

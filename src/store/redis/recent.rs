//! What this process knows from less than a minute ago of what other slots of a Cluster hold. Its own changes are in it at once; those
//! of other Greylags come when what is known is too old, which [`super::super::model`] allows for standings and accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::store::model::Standing;
use crate::store::{IdentityKey, NetworkKey};

/// How long something is known.
const LIFE: Duration = Duration::from_secs(60);

/// Identities, and networks, of which something is known: some 15 MB at most.
const CAPACITY: usize = 65_536;

/// Standings of identities, and how many clocks run in the accounts of networks.
#[derive(Debug)]
pub(super) struct Recent {
    standings: Cache<IdentityKey, (Instant, Option<Standing>)>,
    running: Cache<NetworkKey, (Instant, Arc<AtomicU32>)>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { standings: Cache::new(CAPACITY), running: Cache::new(CAPACITY) }
    }

    /// The standing of an identity, if that is known.
    pub(super) fn standing(&self, identity: &IdentityKey) -> Option<Option<Standing>> {
        let (noted, standing) = self.standings.get(identity)?;
        (noted.elapsed() < LIFE).then_some(standing)
    }

    pub(super) fn note_standing(&self, identity: IdentityKey, standing: Option<Standing>) {
        self.standings.insert(identity, (Instant::now(), standing));
    }

    pub(super) fn forget_standing(&self, identity: &IdentityKey) {
        self.standings.remove(identity);
    }

    /// How many clocks run at most in the account of a network, if that is known: those that ended count still.
    pub(super) fn running(&self, network: NetworkKey) -> Option<u32> {
        let (noted, running) = self.running.get(&network)?;
        (noted.elapsed() < LIFE).then(|| running.load(Ordering::Relaxed))
    }

    pub(super) fn note_running(&self, network: NetworkKey, running: u32) {
        self.running.insert(network, (Instant::now(), Arc::new(AtomicU32::new(running))));
    }

    /// So many clocks began.
    pub(super) fn add_running(&self, network: NetworkKey, begun: usize) {
        if let Some((_, running)) = self.running.get(&network) {
            running.fetch_add(u32::try_from(begun).unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }

    /// Somebody changed records by hand.
    pub(super) fn forget_all(&self) {
        self.standings.clear();
        self.running.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_here_counts_at_once() {
        let (recent, network) = (Recent::new(), NetworkKey::from_number(7).unwrap());
        recent.add_running(network, 3);
        assert_eq!(recent.running(network), None);
        recent.note_running(network, 5);
        recent.add_running(network, 3);
        assert_eq!(recent.running(network), Some(8));
        let identity = IdentityKey::from_bytes([1; 16]);
        assert_eq!(recent.standing(&identity), None);
        recent.note_standing(identity, None);
        assert_eq!(recent.standing(&identity), Some(None));
        recent.forget_all();
        assert_eq!((recent.running(network), recent.standing(&identity)), (None, None));
    }
}

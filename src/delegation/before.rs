//! Requests that were made before: the first about a mail whose sender comes regularly is mostly known by its bytes.
//!
//! Two requests that differ in nothing but what is of one mail tell the same facts, so what the driver remembers of these
//! ([`Regular`]) is what it would say of both. That is found here without reading the request.

use std::fmt;
use std::hash::{BuildHasher, Hasher as _};
use std::sync::Arc;

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;

use crate::driver::Regular;

/// Requests that are remembered, about half a kilobyte each.
const CAPACITY: usize = 20_000;

/// Requests to one listener, by a hash of what lasts of them.
pub(super) struct Requests {
    before: Cache<u64, Arc<Before>>,
    random: RandomState,
}

/// A request, and what was remembered of its facts.
pub(super) struct Before {
    /// What lasts of it, and where its parts end.
    text: Box<[u8]>,
    ends: [usize; 3],
    pub(super) regular: Arc<Regular>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { before: Cache::new(CAPACITY), random: RandomState::default() }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("len", &self.before.len()).finish_non_exhaustive()
    }
}

impl Requests {
    /// The request of which this lasts, if it came before.
    pub(super) fn recall(&self, lasting: [&[u8]; 3]) -> Option<Arc<Before>> {
        self.before.get(&self.hash(lasting)).filter(|before| before.is(lasting))
    }

    /// Remembers that the facts of this request are those of a regular.
    pub(super) fn remember(&self, lasting: [&[u8]; 3], regular: &Arc<Regular>) {
        let before =
            Before { text: lasting.concat().into(), ends: ends(lasting), regular: Arc::clone(regular) };
        self.before.insert(self.hash(lasting), Arc::new(before));
    }

    fn hash(&self, lasting: [&[u8]; 3]) -> u64 {
        let mut hasher = self.random.build_hasher();
        lasting.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    }
}

impl Before {
    fn is(&self, lasting: [&[u8]; 3]) -> bool {
        let [first, second, _] = ends(lasting);
        self.ends == ends(lasting)
            && self.text.get(..first) == Some(lasting[0])
            && self.text.get(first..second) == Some(lasting[1])
            && self.text.get(second..) == Some(lasting[2])
    }
}

fn ends([first, second, third]: [&[u8]; 3]) -> [usize; 3] {
    let second = first.len() + second.len();
    [first.len(), second, second + third.len()]
}

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
    /// What lasts of it, and how long its parts are.
    lasting: Box<[u8]>,
    lengths: [usize; 3],
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
        let before = Before {
            lasting: lasting.concat().into(),
            lengths: lasting.map(<[u8]>::len),
            regular: Arc::clone(regular),
        };
        self.before.insert(self.hash(lasting), Arc::new(before));
    }

    /// The last part says little: of requests that differ in it alone, the latest is remembered.
    fn hash(&self, [client, mail, _]: [&[u8]; 3]) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write(client);
        hasher.write(mail);
        hasher.finish()
    }
}

impl Before {
    fn is(&self, lasting: [&[u8]; 3]) -> bool {
        matches(&self.lasting, self.lengths, lasting)
    }
}

/// Whether these are the parts, of such lengths, that were put together.
fn matches(together: &[u8], lengths: [usize; 3], parts: [&[u8]; 3]) -> bool {
    let rest = parts.iter().try_fold(together, |rest, part| rest.strip_prefix(*part));
    lengths == parts.map(<[u8]>::len) && rest.is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_each_of_its_parts() {
        let lasting: [&[u8]; 3] = [b"one", b"two", b"three"];
        let is = |other| matches(&lasting.concat(), lasting.map(<[u8]>::len), other);
        assert!(is(lasting));
        for other in [
            [&b"onE"[..], b"two", b"three"],
            [b"one", b"twO", b"three"],
            [b"one", b"two", b"threE"],
            [b"onet", b"wo", b"three"],
            [b"one", b"twot", b"hree"],
            [b"one", b"two", b"three\n"],
            [b"one", b"two", b""],
        ] {
            assert!(!is(other), "{other:?}");
        }
    }
}

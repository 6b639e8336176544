//! Requests that were made before: the first about a mail whose sender comes regularly is mostly known by its bytes.
//!
//! Two requests that differ in nothing but what is of one mail tell the same facts, so what the driver remembers of these
//! ([`Again`]) is what it would say of both. That is found here without reading the request.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use quick_cache::sync::Cache;

use crate::driver::Again;

/// Requests that are remembered, some hundreds of bytes for each.
const CAPACITY: usize = 20_000;
/// Bytes of a request that may last: most are a few hundred, and longer ones are read each time.
const MOST_LASTING: usize = 2_048;
/// Ends of requests that are kept for those that end alike: each mail server writes few, as they tell of itself.
const ENDS: usize = 16;

/// Requests to one listener, by a hash of what lasts of them.
pub(super) struct Requests {
    before: Cache<u64, Arc<Before>>,
    random: RandomState,
    /// The latest.
    ends: Mutex<VecDeque<Arc<[u8]>>>,
}

/// A request, and what was remembered of its facts.
pub(super) struct Before {
    lasting: Lasting,
    pub(super) again: Again,
}

/// What lasts of a request.
struct Lasting {
    /// What it says of the client and of the mail, and how long either is.
    said: Box<[u8]>,
    lengths: [usize; 2],
    /// Shared with others.
    end: Arc<[u8]>,
}

impl Default for Requests {
    fn default() -> Self {
        Self { before: Cache::new(CAPACITY), random: RandomState::default(), ends: Mutex::default() }
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
        self.before.get(&self.hash(lasting)).filter(|before| before.lasting.is(lasting))
    }

    /// Remembers that this was said of the facts of this request.
    pub(super) fn remember(&self, lasting: [&[u8]; 3], again: &Again) {
        if let Some(kept) = self.keep(lasting) {
            let before = Before { lasting: kept, again: again.clone() };
            self.before.insert(self.hash(lasting), Arc::new(before));
        }
    }

    /// The same, kept; `None` where it is too long for that.
    fn keep(&self, [client, mail, end]: [&[u8]; 3]) -> Option<Lasting> {
        let lengths = [client.len(), mail.len()];
        if lengths.iter().sum::<usize>() + end.len() > MOST_LASTING {
            return None;
        }
        Some(Lasting { said: [client, mail].concat().into(), lengths, end: self.shared(end) })
    }

    /// The end of a request, shared with the others that end so.
    fn shared(&self, end: &[u8]) -> Arc<[u8]> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ends.iter().find(|known| known[..] == *end) {
            return Arc::clone(known);
        }
        ends.truncate(ENDS - 1);
        ends.push_front(end.into());
        Arc::clone(&ends[0])
    }

    /// The last part says little: of requests that differ in it alone, the latest is remembered.
    fn hash(&self, [client, mail, _]: [&[u8]; 3]) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write(client);
        hasher.write(mail);
        hasher.finish()
    }
}

impl Lasting {
    fn is(&self, [client, mail, end]: [&[u8]; 3]) -> bool {
        let rest = self.said.strip_prefix(client);
        self.lengths == [client.len(), mail.len()] && rest == Some(mail) && self.end[..] == *end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_not_kept() {
        let requests = Requests::default();
        let [some, rest] = [1, MOST_LASTING - 2].map(|length| vec![b'x'; length]);
        assert!(requests.keep([&some, &rest, &some]).is_some());
        assert!(requests.keep([&some, &rest, b"xx"]).is_none());
    }

    #[test]
    fn a_request_is_known_by_each_of_its_parts() {
        let lasting: [&[u8]; 3] = [b"one", b"two", b"three"];
        let kept = Requests::default().keep(lasting).unwrap();
        let is = |other| kept.is(other);
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

    #[test]
    fn requests_that_end_alike_share_that() {
        let requests = Requests::default();
        let keep = |end: &str| requests.keep([b"one", b"two", end.as_bytes()]).unwrap().end;
        let first = keep("0");
        assert!(Arc::ptr_eq(&first, &keep("0")));
        (1..ENDS).for_each(|n| drop(keep(&n.to_string())));
        assert!(Arc::ptr_eq(&first, &keep("0")));
        assert_eq!(*keep("another"), *b"another");
        assert!(!Arc::ptr_eq(&first, &keep("0")), "as old as that");
        assert_eq!(requests.ends.lock().unwrap().len(), ENDS);
    }
}

//! Content whose scan failed by a fault of ours. What failed once is deferred, as the fault may be cured when the sender comes
//! again; what fails twice would fail for days, so the check's `on_scan_fault` decides it instead.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::facts::Message;

/// How long a failure is remembered: as long as senders commonly try again (RFC 5321 §4.5.4.1 has them give up after four or
/// five days).
const LIFETIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// Contents remembered; the oldest is forgotten first. There are that many only where something is badly wrong, and then the
/// forgotten are deferred, as they were the first time.
const CAPACITY: usize = 1_024;

/// The contents that failed lately, by keyed hashes.
#[derive(Debug)]
pub(super) struct Faults {
    key: [u8; 16],
    failed: Mutex<VecDeque<(u128, Instant)>>,
}

impl Faults {
    /// Remembers nothing yet. Hashes are keyed anew by each process, so that nobody can make two contents collide.
    pub(super) fn new() -> Self {
        let mut key = [0; 16];
        // Without random bytes the hashes still tell contents apart that nobody made to collide.
        let _ = getrandom::fill(&mut key);
        Self { key, failed: Mutex::default() }
    }

    /// Remembers that the scan of `message` failed at `now`; `true` when it had failed before.
    pub(super) fn again(&self, message: &Message, now: Instant) -> bool {
        let hash = self.hash(message);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|(_, at)| now.saturating_duration_since(*at) < LIFETIME);
        let before = failed.iter().position(|(other, _)| *other == hash);
        if let Some(at) = before {
            failed.remove(at);
        }
        if failed.len() == CAPACITY {
            failed.pop_front();
        }
        failed.push_back((hash, now));
        before.is_some()
    }

    /// Header and body as they came: a sender that tries again sends the same bytes, for all hops that add to the header lie
    /// behind it.
    fn hash(&self, message: &Message) -> u128 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        for field in message.headers() {
            for text in [&field.name, &field.value] {
                hasher.write_usize(text.len());
                hasher.write(text);
            }
        }
        hasher.write(message.body());
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Message {
        Message::from_bytes(format!("Subject: {number}\r\n\r\nHello\r\n").as_bytes())
    }

    #[test]
    fn the_same_content_is_known_again_however_it_was_cut() {
        let (faults, now) = (Faults::new(), Instant::now());
        assert!(!faults.again(&message(1), now));
        assert!(!faults.again(&message(2), now));
        let mut cut = message(1);
        let body = cut.body().to_vec();
        cut.clear_body();
        cut.push_body(&body[..2]);
        cut.push_body(&body[2..]);
        assert!(faults.again(&cut, now));
        assert!(faults.again(&message(2), now));
    }

    #[test]
    fn it_is_forgotten_after_five_days() {
        let (faults, now) = (Faults::new(), Instant::now());
        assert!(!faults.again(&message(1), now));
        assert!(faults.again(&message(1), now + LIFETIME - Duration::from_secs(1)));
        assert!(!faults.again(&message(1), now + LIFETIME * 2));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (faults, now) = (Faults::new(), Instant::now());
        for number in 0..=CAPACITY {
            assert!(!faults.again(&message(number), now));
        }
        assert_eq!(faults.failed.lock().unwrap().len(), CAPACITY);
        assert!(faults.again(&message(1), now));
        assert!(!faults.again(&message(0), now));
    }
}

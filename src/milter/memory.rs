//! Memory of messages that are being received: a bound for each, and one for all connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What messages under way may take together, in bytes. Copies are the same memory.
#[derive(Clone, Debug)]
pub struct MessageMemory {
    free: Arc<AtomicUsize>,
}

impl MessageMemory {
    /// This many bytes for all messages.
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// A share for one message after the other; nothing is taken yet.
    pub(super) fn share(&self) -> Share {
        Share { memory: self.clone(), taken: 0, spare: 0 }
    }
}

/// What a message takes of the memory of all at a time, in bytes, where there is that much: a small one reaches for what all
/// connections share once, and not with each packet.
const STEP: usize = 4096;

/// What one message has taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: MessageMemory,
    taken: usize,
    /// Taken from the memory of all, and not by the message yet.
    spare: usize,
}

impl Share {
    /// Takes `bytes` more; `false` when others have taken them.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if let Some(lacking) = bytes.checked_sub(self.spare).filter(|lacking| *lacking > 0) {
            let Some(reached) = [lacking.max(STEP), lacking].into_iter().find(|size| self.reach(*size))
            else {
                return false;
            };
            self.spare += reached;
        }
        self.spare -= bytes;
        self.taken += bytes;
        true
    }

    /// Takes so much from the memory of all.
    fn reach(&self, bytes: usize) -> bool {
        let less = |free: usize| free.checked_sub(bytes);
        self.memory.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn give_back(&mut self) {
        self.shrink_to(0);
    }

    /// Gives back what was taken beyond `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let beyond = self.taken.saturating_sub(bytes);
        self.taken -= beyond;
        let all = beyond + std::mem::take(&mut self.spare);
        if all > 0 {
            self.memory.free.fetch_add(all, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_takes_the_others_lack_until_it_is_given_back() {
        let memory = MessageMemory::new(100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.take(60));
        assert!(!other.take(41));
        assert!(other.take(40));
        assert_eq!((one.taken(), other.taken()), (60, 40));
        drop(one);
        assert!(other.take(60));
        assert!(!other.take(1));
        other.give_back();
        assert!(other.take(100));
    }

    #[test]
    fn small_pieces_are_taken_in_steps_while_there_is_room_for_them() {
        let memory = MessageMemory::new(STEP + 100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.take(60) && one.take(60));
        assert_eq!((one.taken(), memory.free.load(Ordering::Relaxed)), (120, 100));
        assert!(other.take(60) && !other.take(41) && other.take(40));
        assert!(one.take(STEP - 120) && !one.take(1));
        drop(other);
        assert!(one.take(100));
        one.shrink_to(60);
        assert_eq!((one.taken(), memory.free.load(Ordering::Relaxed)), (60, STEP + 40));
        one.give_back();
        assert_eq!((one.taken(), memory.free.load(Ordering::Relaxed)), (0, STEP + 100));
    }
}

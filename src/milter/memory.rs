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
        Share { memory: self.clone(), taken: 0 }
    }
}

/// What one message has taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: MessageMemory,
    taken: usize,
}

impl Share {
    /// Takes `bytes` more; `false` when others have taken them.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let less = |free: usize| free.checked_sub(bytes);
        let taken = self.memory.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        self.taken += if taken { bytes } else { 0 };
        taken
    }

    pub(super) const fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn give_back(&mut self) {
        self.memory.free.fetch_add(std::mem::take(&mut self.taken), Ordering::Relaxed);
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
}

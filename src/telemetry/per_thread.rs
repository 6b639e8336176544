//! One of something for each thread that answers mail, so that none of them waits for another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// So many of something as there are threads that answer: one for each processor.
#[derive(Debug)]
pub(super) struct PerThread<T>(Box<[Mutex<T>]>);

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self((0..threads).map(|_| Mutex::default()).collect())
    }
}

impl<T> PerThread<T> {
    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// That of this thread. More threads than processors share.
    pub(super) fn own(&self) -> Option<MutexGuard<'_, T>> {
        let place = NUMBER.with(|number| number % self.0.len());
        self.0.get(place).map(lock)
    }

    /// All of them, one after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(lock)
    }
}

thread_local! {
    /// This thread's number, given when it first asks: threads that never do take no place.
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

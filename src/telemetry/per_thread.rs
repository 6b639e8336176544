//! One of something for each thread that answers mail, so that none of them waits for another.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// So many of something as there are threads that answer: one for each processor. More threads than processors share.
#[derive(Debug)]
pub(super) struct PerThread<T>(Box<[T]>);

/// What is changed as a whole: behind a lock, for which a thread hardly ever waits.
pub(super) type LockedPerThread<T> = PerThread<Mutex<T>>;

impl<T: Default> Default for PerThread<T> {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self((0..threads).map(|_| T::default()).collect())
    }
}

impl<T> PerThread<T> {
    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// That of this thread.
    pub(super) fn own(&self) -> Option<&T> {
        let number = number();
        let place = if number < self.0.len() { number } else { number % self.0.len() };
        self.0.get(place)
    }

    /// All of them.
    pub(super) fn each(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> LockedPerThread<T> {
    /// That of this thread.
    pub(super) fn lock_own(&self) -> Option<MutexGuard<'_, T>> {
        self.own().map(lock)
    }

    /// All of them, one after the other.
    pub(super) fn lock_each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.each().map(lock)
    }
}

/// This thread's number, given when it first asks: threads that never do take no place.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

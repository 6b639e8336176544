//! Memory that is lent from one mail to the next.
//!
//! Asked of the allocator each time, a large buffer would be grown and copied with each mail, and a decoder cleared. So they are kept,
//! for all threads: the tasks of connections move between them.

use std::sync::Mutex;

/// What nobody uses. Nobody waits for it either: whoever finds another at it does without, and asks the allocator.
pub(crate) struct Spare<T> {
    kept: Mutex<Vec<T>>,
    /// What all of it may take, by `size`.
    room: usize,
    size: fn(&T) -> usize,
}

impl<T> Spare<T> {
    /// Keeps what takes no more than `room` together, by `size` of each.
    pub(crate) const fn new(room: usize, size: fn(&T) -> usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), room, size }
    }

    /// The largest, so that it is seldom too small. `None` where nothing is left.
    pub(crate) fn take(&self) -> Option<T> {
        let mut kept = self.kept.try_lock().ok()?;
        let (largest, _) = kept.iter().enumerate().max_by_key(|(_, one)| (self.size)(one))?;
        Some(kept.swap_remove(largest))
    }

    /// Keeps it where there is room, or lets it go.
    pub(crate) fn leave(&self, one: T) {
        if let Ok(mut kept) = self.kept.try_lock()
            && kept.iter().chain([&one]).map(self.size).sum::<usize>() <= self.room
        {
            kept.push(one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare(room: usize) -> Spare<Vec<u8>> {
        Spare::new(room, Vec::capacity)
    }

    fn take_all(spare: &Spare<Vec<u8>>) -> Vec<usize> {
        std::iter::from_fn(|| spare.take()).map(|bytes| bytes.capacity()).collect()
    }

    #[test]
    fn the_largest_is_lent_first() {
        let spare = spare(100);
        [20, 40, 30].into_iter().for_each(|room| spare.leave(Vec::with_capacity(room)));
        assert_eq!(take_all(&spare), [40, 30, 20]);
        assert_eq!(take_all(&spare), [0; 0]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let spare = spare(100);
        [101, 60, 50, 40, 1].into_iter().for_each(|room| spare.leave(Vec::with_capacity(room)));
        assert_eq!(take_all(&spare), [60, 40]);
    }

    #[test]
    fn nobody_waits_for_it() {
        let spare = spare(100);
        spare.leave(Vec::with_capacity(10));
        let held = spare.kept.lock().unwrap();
        assert_eq!(take_all(&spare), [0; 0]);
        spare.leave(Vec::with_capacity(20));
        drop(held);
        assert_eq!(take_all(&spare), [10]);
    }

    #[test]
    fn what_one_thread_leaves_another_takes() {
        let spare = spare(100);
        std::thread::scope(|threads| threads.spawn(|| spare.leave(Vec::with_capacity(10))).join().unwrap());
        assert_eq!(take_all(&spare), [10]);
    }
}

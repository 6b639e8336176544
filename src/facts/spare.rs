//! Memory of large messages, lent from one to the next.
//!
//! Asked of the allocator each time, it lies now here and now there, and what stays resident is every page that was ever used. So it
//! is kept, and no more is asked for than a message is known to need: pages that were set aside and not used would be given to others
//! later, one by one, and resident memory would grow for hours after a few busy seconds.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// A buffer with less room comes from the allocator, and goes back to it, in bytes.
const MIN_ROOM: usize = 64 << 10;

/// A buffer with more room is not kept, in bytes: what follows a message of many megabytes has seldom use for its memory.
const MAX_ROOM: usize = 4 << 20;

/// Room of all buffers kept, in bytes: as many large messages as are commonly read at once.
const MAX_SPARE: usize = 16 << 20;

static SPARE: Spare = Spare::new();

/// Bytes whose memory is used again if it is large.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// No bytes, with room for so many.
    pub(super) fn with_room(room: usize) -> Self {
        Self(if room < MIN_ROOM { Vec::with_capacity(room) } else { SPARE.take(room) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() >= MIN_ROOM {
            SPARE.leave(std::mem::take(&mut self.0));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// Memory that nobody uses. Nobody waits for it either: whoever finds it taken turns to the allocator.
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The largest, so that a message seldom has to be moved when it grows.
    fn take(&self, room: usize) -> Vec<u8> {
        let left = self.0.try_lock().ok().and_then(|mut spare| {
            let (largest, _) = spare.iter().enumerate().max_by_key(|(_, bytes)| bytes.capacity())?;
            Some(spare.swap_remove(largest))
        });
        left.filter(|bytes| bytes.capacity() >= room).unwrap_or_else(|| Vec::with_capacity(room))
    }

    fn leave(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= MAX_ROOM
            && let Ok(mut spare) = self.0.try_lock()
            && spare.iter().map(Vec::capacity).sum::<usize>() + bytes.capacity() <= MAX_SPARE
        {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare_rooms(spare: &Spare) -> Vec<usize> {
        spare.0.lock().unwrap().iter().map(Vec::capacity).collect()
    }

    #[test]
    fn the_next_gets_the_memory_of_the_last_and_none_of_its_bytes() {
        let spare = Spare::new();
        let mut last = spare.take(2 * MIN_ROOM);
        last.extend_from_slice(b"of an earlier message");
        let memory = last.as_ptr();
        spare.leave(last);
        let next = spare.take(MIN_ROOM + 900);
        assert_eq!((next.as_ptr(), next.len(), next.capacity()), (memory, 0, 2 * MIN_ROOM));
    }

    #[test]
    fn the_largest_is_lent_first() {
        let spare = Spare::new();
        for taken in [2, 4, 3].map(|times| spare.take(times * MIN_ROOM)) {
            spare.leave(taken);
        }
        let lent = [(); 4].map(|()| spare.take(MIN_ROOM));
        assert_eq!(lent.map(|bytes| bytes.capacity() / MIN_ROOM), [4, 3, 2, 1]);
    }

    #[test]
    fn what_is_too_small_for_the_next_is_let_go() {
        let spare = Spare::new();
        spare.leave(spare.take(MIN_ROOM));
        assert_eq!(spare_rooms(&spare), [MIN_ROOM]);
        assert_eq!(spare.take(MIN_ROOM + 1).capacity(), MIN_ROOM + 1);
        assert_eq!(spare_rooms(&spare).len(), 0);
    }

    #[test]
    fn only_so_much_is_kept_and_nothing_huge() {
        let spare = Spare::new();
        spare.leave(Vec::with_capacity(MAX_ROOM + 1));
        assert_eq!(spare_rooms(&spare).len(), 0);
        let rooms = || (0..6).map(|_| spare.take(MAX_ROOM - 1)).chain([spare.take(MIN_ROOM)]);
        for taken in rooms().collect::<Vec<_>>() {
            spare.leave(taken);
        }
        assert_eq!(spare_rooms(&spare), [MAX_ROOM - 1; MAX_SPARE / MAX_ROOM]);
    }

    #[test]
    fn nobody_waits_for_it() {
        let spare = Spare::new();
        spare.leave(spare.take(MIN_ROOM));
        let held = spare.0.lock().unwrap();
        let other = spare.take(MIN_ROOM);
        assert_eq!(other.capacity(), MIN_ROOM);
        spare.leave(other);
        assert_eq!(held.len(), 1);
    }
}

//! Memory of large messages, lent from one to the next.
//!
//! No more is asked for than a message is known to need: what is kept was used.

use std::ops::{Deref, DerefMut};

use crate::spare::Spare;

/// A buffer with less room comes from the allocator, and goes back to it, in bytes.
const MIN_ROOM: usize = 64 << 10;

/// A buffer with more room is not kept, in bytes: what follows a message of many megabytes has seldom use for its memory.
const MAX_ROOM: usize = 4 << 20;

/// Room of all buffers kept, in bytes: as many large messages as are commonly read at once.
const MAX_SPARE: usize = 16 << 20;

static SPARE: Spare<Vec<u8>> = Spare::new(MAX_SPARE, Vec::capacity);

/// Bytes whose memory is used again if it is large.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    /// No bytes, with room for so many.
    pub(super) fn with_room(room: usize) -> Self {
        Self(if room < MIN_ROOM { Vec::with_capacity(room) } else { take(&SPARE, room) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() >= MIN_ROOM {
            leave(&SPARE, std::mem::take(&mut self.0));
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

fn take(spare: &Spare<Vec<u8>>, room: usize) -> Vec<u8> {
    spare.take().filter(|bytes| bytes.capacity() >= room).unwrap_or_else(|| Vec::with_capacity(room))
}

fn leave(spare: &Spare<Vec<u8>>, mut bytes: Vec<u8>) {
    if bytes.capacity() <= MAX_ROOM {
        bytes.clear();
        spare.leave(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> Spare<Vec<u8>> {
        Spare::new(MAX_SPARE, Vec::capacity)
    }

    #[test]
    fn the_next_gets_the_memory_of_the_last_and_none_of_its_bytes() {
        let spare = spare();
        let mut last = take(&spare, 2 * MIN_ROOM);
        last.extend_from_slice(b"of an earlier message");
        let memory = last.as_ptr();
        leave(&spare, last);
        let next = take(&spare, MIN_ROOM + 900);
        assert_eq!((next.as_ptr(), next.len(), next.capacity()), (memory, 0, 2 * MIN_ROOM));
    }

    #[test]
    fn what_is_too_small_for_the_next_is_let_go() {
        let spare = spare();
        leave(&spare, take(&spare, MIN_ROOM));
        assert_eq!(take(&spare, MIN_ROOM + 1).capacity(), MIN_ROOM + 1);
        assert_eq!(spare.take(), None);
    }

    #[test]
    fn nothing_huge_is_kept() {
        let spare = spare();
        leave(&spare, Vec::with_capacity(MAX_ROOM + 1));
        assert_eq!(spare.take(), None);
        leave(&spare, Vec::with_capacity(MAX_ROOM));
        assert_eq!(spare.take().map(|bytes| bytes.capacity()), Some(MAX_ROOM));
    }
}

//! Decisions that are kept for a while: until they are in the log, or as long as there is room for them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::decision::DecisionLine;
use super::record::{RecordedMade, RecordedSaid};
use super::said::Said;

/// Decisions in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// One behind the other, what is its own of each, and what is said of it where that is not shared.
    bytes: VecDeque<u8>,
    each: VecDeque<Each>,
    /// What they take, in bytes.
    size: usize,
}

#[derive(Clone, Debug)]
struct Each {
    length: usize,
    /// What it has from a decision before, with others.
    shared: Option<Arc<Said>>,
}

/// One that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) made: RecordedMade<'a>,
    pub(super) said: Words<'a>,
}

/// What is said of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words<'a> {
    /// Of it alone.
    Own(&'a [u8]),
    /// Of others, too.
    Shared(&'a Said),
}

impl Kept {
    /// What it takes to keep a decision, in bytes: as if nothing was shared, as the others may go.
    pub(super) fn size_of(bytes: &[u8], shared: Option<&Arc<Said>>) -> usize {
        size_of::<Each>() + bytes.len() + shared.map_or(0, |said| said.bytes().len())
    }

    /// How many lines of the log it makes.
    pub(super) fn lines_of(bytes: &[u8], shared: Option<&Arc<Said>>) -> u64 {
        let said = match shared {
            Some(shared) => Words::Shared(shared).read(),
            None => RecordedMade::read(bytes).and_then(|(_, own)| Words::Own(own).read()),
        };
        said.map_or(1, |said| DecisionLine::all(&said).count() as u64)
    }

    /// What all take, in bytes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Keeps a decision: all of it as [`super::Decision::write`] has it, or what is its own and what it shares.
    pub(super) fn push(&mut self, bytes: &[u8], shared: Option<&Arc<Said>>) {
        self.size += Self::size_of(bytes, shared);
        self.bytes.extend(bytes);
        self.each.push_back(Each { length: bytes.len(), shared: shared.cloned() });
    }

    pub(super) fn drop_oldest(&mut self) {
        let Some(Each { length, shared }) = self.each.pop_front() else { return };
        let bytes = self.bytes.drain(..length.min(self.bytes.len()));
        self.size -= size_of::<Each>() + bytes.len() + shared.map_or(0, |said| said.bytes().len());
    }

    /// Forgets all, and keeps the room.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.each.clear();
        self.size = 0;
    }

    /// All of them.
    pub(super) fn records(&mut self) -> impl Iterator<Item = Record<'_>> {
        let mut bytes = &*self.bytes.make_contiguous();
        self.each.iter().filter_map(move |Each { length, shared }| {
            let (decision, rest) = bytes.split_at_checked(*length)?;
            bytes = rest;
            let (made, own) = RecordedMade::read(decision)?;
            let said = shared.as_deref().map_or(Words::Own(own), Words::Shared);
            Some(Record { made, said })
        })
    }
}

impl<'a> Words<'a> {
    pub(super) fn read(self) -> Option<RecordedSaid<'a>> {
        RecordedSaid::read(match self {
            Self::Own(bytes) => bytes,
            Self::Shared(said) => said.bytes(),
        })
    }
}

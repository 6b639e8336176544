//! What one message may cost to look into: one budget for all its parts, archives and nested messages.
//!
//! The budget counts work, not time, so that a mail meets the same limits on every machine. Wall time is the
//! driver's: it sets the [`Cancel`] flag, which every charge looks at.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checks::AttachmentSettings;
use crate::reason::Reason;

/// Work of looking at one part or archive entry, in bytes: about what its names and its node cost.
const NODE: u64 = 4096;
/// Work allowed for each byte of the message and each byte that may be inflated. Ordinary mail needs about four:
/// encoding, tree, raw view and archive listing.
const WORK_PER_BYTE: u64 = 16;
/// Deepest nesting whatever the settings say, so that no setting can overflow the stack.
pub(crate) const DEPTH_CAP: u32 = 64;
/// The largest dictionary, window or model a decoder may ask for, in bytes: what xz -9 and 7-Zip's "ultra" use.
/// Decoders touch it only as far as they write output, which is paid for.
pub(super) const MAX_DICTIONARY: u64 = 64 << 20;
/// What the decoders may have together that are at work at the same time, one for what is inside another's file.
const MAX_DICTIONARIES: u64 = 2 * MAX_DICTIONARY;
/// Bytes that room is made for before any comes: all that most entries are read for.
const FIRST: u64 = 1024;
/// Bytes of a page in an archive that are looked through for files, and of all pages of a message.
const PAGE: u64 = 512 << 10;
const PAGES: u64 = 8 << 20;
/// Work of decoding a byte that nobody looks at, on the way to the next file of a solid archive.
const SKIPPED: u64 = 8;

/// Tells a running scan to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops the scan at its next step.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A limit that was reached; it ends the scan. Depth does not, and so is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("more parts or entries than allowed")]
    Entries,
    #[error("more inflated bytes or work than allowed")]
    Bytes,
    #[error("out of time")]
    Cancelled,
}

impl Exceeded {
    /// The cause it is reported as.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Entries => Reason::AttachmentLimitEntries,
            Self::Bytes => Reason::AttachmentLimitBytes,
            Self::Cancelled => Reason::AttachmentScanTimeout,
        }
    }
}

/// What is left for one message.
pub(super) struct Budget<'c> {
    cancel: &'c Cancel,
    max_depth: u32,
    parts: u32,
    entries: u32,
    inflated: u64,
    pages: u64,
    /// Bytes of dictionaries that may still be asked for.
    dictionaries: Rc<Cell<u64>>,
    work_limit: u64,
    work: u64,
    /// Whether more work or a larger dictionary was asked for than is allowed.
    is_spent: bool,
}

impl<'c> Budget<'c> {
    /// The budget of a message of `size` bytes.
    pub(super) fn new(size: usize, settings: &AttachmentSettings, cancel: &'c Cancel) -> Self {
        let (parts, entries) = (settings.max_parts.get(), settings.max_entries.get());
        let bytes = (size as u64).saturating_add(settings.max_inflated.0);
        let nodes = u64::from(parts) + u64::from(entries);
        Self {
            cancel,
            max_depth: settings.max_depth.get().min(DEPTH_CAP),
            parts,
            entries,
            inflated: settings.max_inflated.0,
            pages: PAGES.min(settings.max_inflated.0 / 8),
            dictionaries: Rc::new(Cell::new(MAX_DICTIONARIES)),
            work_limit: bytes.saturating_mul(WORK_PER_BYTE).saturating_add(nodes.saturating_mul(NODE)),
            work: 0,
            is_spent: false,
        }
    }

    /// The same, but with no more than so much work, and dictionaries no larger than that.
    pub(super) fn within(self, work: u64) -> Self {
        self.dictionaries.set(self.dictionaries.get().min(work));
        Self { work_limit: self.work_limit.min(work), ..self }
    }

    /// Whether more was asked for than is allowed: what was found is not all there is, whoever made what of it.
    pub(super) const fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Containers and messages one inside the other, at most.
    pub(super) const fn max_depth(&self) -> u32 {
        self.max_depth
    }

    /// MIME parts that may still come.
    pub(super) const fn parts_left(&self) -> u32 {
        self.parts
    }

    /// Work done so far.
    pub(super) const fn work_done(&self) -> u64 {
        self.work
    }

    /// One MIME part.
    pub(super) fn part(&mut self) -> Result<(), Exceeded> {
        self.parts = self.parts.checked_sub(1).ok_or(Exceeded::Entries)?;
        self.work(NODE)
    }

    /// One archive entry.
    pub(super) fn entry(&mut self) -> Result<(), Exceeded> {
        self.entries = self.entries.checked_sub(1).ok_or(Exceeded::Entries)?;
        self.work(NODE)
    }

    /// Bytes that may still be inflated of a page in an archive.
    pub(super) fn page_left(&self) -> u64 {
        self.pages.min(PAGE)
    }

    /// A page in an archive, of which so many bytes were inflated and are looked through.
    pub(super) fn page(&mut self, bytes: u64) -> Result<(), Exceeded> {
        self.pages = self.pages.saturating_sub(bytes);
        self.work(2 * bytes)
    }

    /// Work that costs about as much as looking at `bytes` bytes.
    pub(super) fn work(&mut self, bytes: u64) -> Result<(), Exceeded> {
        // What is refused is not done, so that it counts only as far as to refuse all that follows.
        self.work = self.work.saturating_add(bytes).min(self.work_limit.saturating_add(1));
        if self.cancel.is_cancelled() {
            return Err(Exceeded::Cancelled);
        }
        self.is_spent |= self.work > self.work_limit;
        if self.is_spent { Err(Exceeded::Bytes) } else { Ok(()) }
    }

    /// The dictionary of a decoder, until it is dropped.
    pub(super) fn dictionary(&mut self, bytes: u64) -> Result<Dictionary, Exceeded> {
        let Some(left) = self.dictionaries.get().checked_sub(bytes) else {
            self.is_spent = true;
            return Err(Exceeded::Bytes);
        };
        self.dictionaries.set(left);
        Ok(Dictionary { bytes, left: Rc::clone(&self.dictionaries) })
    }

    /// The reader that every decompressor is read through.
    pub(super) const fn inflating<R: Read>(&mut self, decoder: R) -> Budgeted<'_, 'c, R> {
        Budgeted { decoder: Some(decoder), budget: self }
    }

    /// Reads a decoder to its end for what stands behind it. The bytes are paid for as work, not as inflated: none are
    /// kept. Returns whether it came without an error.
    pub(super) fn skip(&mut self, decoder: &mut dyn Read) -> Result<bool, Exceeded> {
        let mut scratch = [0; 8192];
        loop {
            match contained(|| decoder.read(&mut scratch)) {
                Some(Ok(0)) => return Ok(true),
                Some(Ok(read)) => self.work(read as u64 * SKIPPED)?,
                Some(Err(_)) | None => return Ok(false),
            }
        }
    }

    fn inflate(&mut self, bytes: u64) -> Result<(), Exceeded> {
        self.inflated = self.inflated.checked_sub(bytes).ok_or(Exceeded::Bytes)?;
        self.work(bytes)
    }
}

/// Memory that a decoder has, given back to the budget when this is dropped.
pub(super) struct Dictionary {
    bytes: u64,
    left: Rc<Cell<u64>>,
}

impl Dictionary {
    /// The decoder that has it. Both are let go at its end: a container that came out of it may need as much again.
    pub(super) const fn of<R: Read>(self, decoder: R) -> Holding<R> {
        Holding(Some((decoder, self)))
    }
}

impl Drop for Dictionary {
    fn drop(&mut self) {
        self.left.set(self.left.get() + self.bytes);
    }
}

/// A decoder with its dictionary.
pub(super) struct Holding<R>(Option<(R, Dictionary)>);

impl<R: Read> Read for Holding<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some((decoder, _)) = &mut self.0 else { return Ok(0) };
        let read = decoder.read(out)?;
        if read == 0 && !out.is_empty() {
            self.0 = None;
        }
        Ok(read)
    }
}

/// What `call` returns, or nothing where it panics. Only for code of foreign crates on hostile bytes, which some of
/// them index by: a fault of ours should be seen as one.
pub(super) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).ok()
}

/// A decompressor whose output is paid for.
pub(super) struct Budgeted<'b, 'c, R> {
    /// Gone once it has panicked.
    decoder: Option<R>,
    budget: &'b mut Budget<'c>,
}

/// What came out of a decompressor.
#[derive(Default)]
pub(super) struct Inflated {
    /// The output up to its end or its first error.
    pub(super) bytes: Vec<u8>,
    /// Whether it came without an error.
    pub(super) intact: bool,
}

impl<R: Read> Budgeted<'_, '_, R> {
    /// Everything up to `limit` bytes; data that cannot be decoded ends it early.
    pub(super) fn up_to(self, limit: u64) -> Result<Inflated, Exceeded> {
        let room = usize::try_from(limit.min(FIRST)).unwrap_or_default();
        let mut inflated = Inflated { bytes: Vec::with_capacity(room), intact: true };
        self.onto(&mut inflated, limit)?;
        Ok(inflated)
    }

    /// The same, behind what came `before`.
    pub(super) fn onto(self, before: &mut Inflated, limit: u64) -> Result<(), Exceeded> {
        before.intact = match self.take(limit).read_to_end(&mut before.bytes) {
            Ok(_) => true,
            // A decoder that would need a larger dictionary than it may have.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => return Err(Exceeded::Bytes),
            Err(error) => match error.downcast::<Exceeded>() {
                Ok(exceeded) => return Err(exceeded),
                Err(_) => false,
            },
        };
        Ok(())
    }
}

impl<R: Read> Read for Budgeted<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return Err(io::ErrorKind::InvalidData.into()) };
        let Some(read) = contained(|| decoder.read(out)) else {
            self.decoder = None;
            return Err(io::ErrorKind::InvalidData.into());
        };
        let read = read?;
        self.budget.inflate(read as u64).map_err(io::Error::other)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ByteSize;
    use std::num::NonZeroU32;

    fn settings() -> AttachmentSettings {
        AttachmentSettings {
            max_parts: NonZeroU32::new(2).unwrap(),
            max_entries: NonZeroU32::new(3).unwrap(),
            max_inflated: ByteSize(100),
            ..AttachmentSettings::default()
        }
    }

    #[test]
    fn each_limit_has_its_cause() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        assert_eq!((budget.max_depth(), budget.parts_left()), (8, 2));
        assert_eq!((budget.part(), budget.part(), budget.part()), (Ok(()), Ok(()), Err(Exceeded::Entries)));
        assert_eq!((budget.entry(), budget.entry(), budget.entry()), (Ok(()), Ok(()), Ok(())));
        assert_eq!(budget.entry(), Err(Exceeded::Entries));
        assert_eq!(budget.work(u64::MAX), Err(Exceeded::Bytes));
        assert_eq!(budget.work_done(), 1 + budget.work_limit, "what was refused is not done");
        assert_eq!(budget.work(0), Err(Exceeded::Bytes));
    }

    #[test]
    fn output_is_paid_for_as_it_comes() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        let inflated = budget.inflating(io::repeat(b'x')).up_to(60).unwrap();
        assert_eq!((inflated.bytes.len(), inflated.intact), (60, true));
        let inflated = budget.inflating(io::repeat(b'x').take(40)).up_to(u64::MAX).unwrap();
        assert_eq!((inflated.bytes.len(), inflated.intact), (40, true));
        assert_eq!(budget.inflating(io::repeat(b'x')).up_to(1).err(), Some(Exceeded::Bytes));
        assert_eq!(budget.work_done(), 100);
    }

    #[test]
    fn the_rest_comes_behind_the_beginning() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        let mut inflated = budget.inflating(io::repeat(b'x')).up_to(2).unwrap();
        assert_eq!(budget.inflating(io::repeat(b'y')).onto(&mut inflated, 3), Ok(()));
        assert_eq!((inflated.bytes.as_slice(), inflated.intact), (b"xxyyy".as_slice(), true));
        assert_eq!(budget.work_done(), 5);
    }

    #[test]
    fn a_decoder_that_fails_keeps_what_it_gave() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("corrupt"));
                }
                out[..3].copy_from_slice(b"abc");
                Ok(3)
            }
        }
        let cancel = Cancel::default();
        let inflated = Budget::new(0, &settings(), &cancel).inflating(Broken(false)).up_to(u64::MAX).unwrap();
        assert_eq!((inflated.bytes.as_slice(), inflated.intact), (b"abc".as_slice(), false));
    }

    #[test]
    fn a_decoder_that_panics_is_one_that_fails() {
        struct Panicking;
        impl Read for Panicking {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("index out of bounds, as in a decoder");
            }
        }
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        let inflated = budget.inflating(Panicking).up_to(u64::MAX).unwrap();
        assert_eq!((inflated.bytes.len(), inflated.intact), (0, false));
        assert_eq!(budget.skip(&mut Panicking), Ok(false));
    }

    #[test]
    fn a_dictionary_too_large_is_a_limit() {
        struct Greedy;
        impl Read for Greedy {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::OutOfMemory.into())
            }
        }
        let cancel = Cancel::default();
        let inflated = Budget::new(0, &settings(), &cancel).inflating(Greedy).up_to(u64::MAX);
        assert_eq!(inflated.err(), Some(Exceeded::Bytes));
    }

    #[test]
    fn decoders_share_the_memory_of_their_dictionaries() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        let outer = budget.dictionary(MAX_DICTIONARY).unwrap();
        let mut decoder = budget.dictionary(MAX_DICTIONARY).unwrap().of(io::repeat(b'x').take(10));
        assert_eq!(budget.dictionary(1).err(), Some(Exceeded::Bytes));
        assert_eq!(decoder.read(&mut [0; 20]).unwrap(), 10);
        assert_eq!(budget.dictionary(1).err(), Some(Exceeded::Bytes));
        assert_eq!(decoder.read(&mut [0; 20]).unwrap(), 0, "its end");
        assert!(budget.dictionary(MAX_DICTIONARY).is_ok());
        drop(outer);
        assert!(budget.dictionary(MAX_DICTIONARIES).is_ok());
        assert_eq!(budget.dictionary(u64::MAX).err(), Some(Exceeded::Bytes));
    }

    #[test]
    fn skipped_bytes_are_work() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(0, &settings(), &cancel);
        assert_eq!(budget.skip(&mut io::repeat(0).take(1000)), Ok(true));
        assert_eq!(budget.work_done(), 8000);
        assert_eq!(budget.skip(&mut io::repeat(0)), Err(Exceeded::Bytes));
    }

    #[test]
    fn a_cancelled_scan_stops_at_its_next_step() {
        let cancel = Cancel::default();
        let mut budget = Budget::new(1000, &settings(), &cancel);
        assert_eq!(budget.work(1), Ok(()));
        cancel.clone().cancel();
        assert_eq!(budget.work(1), Err(Exceeded::Cancelled));
        assert_eq!(budget.inflating(io::repeat(0)).up_to(50).err(), Some(Exceeded::Cancelled));
    }
}

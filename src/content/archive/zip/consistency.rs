//! What the directory of a zip and the headers of its entries say against each other.
//!
//! Unpackers that read the one see other files than those that read the other. Small contradictions are common in
//! honest archives: sizes that only the directory knows, entries that share bytes by mistake. They are let pass.

use std::collections::HashMap;

use super::raw::Header;
use crate::content::filename::end_of_name;

/// Entries that may overlap, and by how many bytes at most each is let pass: some writers of JAR files miscount, and
/// ClamAV has the same limits for them.
const MAX_OVERLAPPING: usize = 5;
const FUDGE: usize = 2;
/// The method deflate (APPNOTE.TXT 4.4.5).
const DEFLATED: u16 = 8;

/// What was seen of the entries that the directory lists.
#[derive(Default)]
pub(super) struct Consistency<'z> {
    /// From where to where each stands in the archive, its header and its data; sorted by [`Self::seal`].
    ranges: Vec<(usize, usize)>,
    /// The data that both headers say to be deflated and agree on the length of; sorted by [`Self::seal`].
    deflated: Vec<(usize, usize)>,
    /// Checksum and size of each name's content.
    contents: HashMap<&'z [u8], (u32, u64)>,
    pub(super) is_inconsistent: bool,
    pub(super) has_duplicates: bool,
}

impl<'z> Consistency<'z> {
    /// Adds an entry: its header in the directory, its own header, checksum, size and packed size of its content.
    pub(super) fn listed(
        &mut self,
        central: Option<&Header<'z>>,
        local: Option<&Header<'_>>,
        (checksum, size): (u32, u64),
        packed_size: u64,
    ) {
        let (Some(central), Some(local)) = (central, local) else {
            self.is_inconsistent = true;
            return;
        };
        self.is_inconsistent |= !agree(central, local);
        let packed_size = usize::try_from(packed_size).unwrap_or(usize::MAX);
        let end = local.end.saturating_add(packed_size);
        self.ranges.push((local.offset, end));
        let is_certain = !local.has_sizes_behind() && u64::from(local.compressed_size) == packed_size as u64;
        if is_certain && local.method == DEFLATED && central.method == DEFLATED {
            self.deflated.push((local.end, end));
        }
        if !central.is_directory() {
            let content = (checksum, size);
            let other = self.contents.insert(end_of_name(central.name), content);
            self.has_duplicates |= other.is_some_and(|other| other != content);
        }
    }

    /// Ends the directory. Returns whether more entries overlap than an honest archive has.
    pub(super) fn seal(&mut self) -> bool {
        self.ranges.sort_unstable();
        let mut end = 0usize;
        let mut overlapping = 0;
        for (start, range_end) in &self.ranges {
            overlapping += usize::from(start + FUDGE < end);
            end = end.max(*range_end);
        }
        reach(&mut self.ranges);
        self.deflated.sort_unstable();
        reach(&mut self.deflated);
        overlapping > MAX_OVERLAPPING
    }

    /// Has deflated data searched as well, as a reader that another directory leads may unpack what lies in them.
    pub(super) fn search_deflated_too(&mut self) {
        self.deflated.clear();
    }

    /// Whether a header stands inside an entry that the directory lists, so that it is a part of its content.
    pub(super) fn is_inside(&self, offset: usize) -> bool {
        end_of(&self.ranges, offset).is_some()
    }

    /// Where the deflated data end that `offset` lies in, if it does. What looks like a header in them may be one of an archive that
    /// was not worth compressing, and is seen when they are inflated, as every unpacker does.
    pub(super) fn end_of_deflated(&self, offset: usize) -> Option<usize> {
        end_of(&self.deflated, offset)
    }

    /// Where the next deflated data begin, at or behind `offset`.
    pub(super) fn next_deflated(&self, offset: usize) -> Option<usize> {
        let next = self.deflated.partition_point(|(start, _)| *start < offset);
        self.deflated.get(next).map(|(start, _)| *start)
    }
}

/// Makes each of the sorted ranges reach as far as all before it, so that what lies in one of them is a look-up away.
fn reach(ranges: &mut [(usize, usize)]) {
    let mut furthest = 0;
    for (_, end) in ranges {
        furthest = furthest.max(*end);
        *end = furthest;
    }
}

/// The end of the range that `offset` lies in, but not at the beginning of.
fn end_of(ranges: &[(usize, usize)], offset: usize) -> Option<usize> {
    let before = ranges.partition_point(|(start, _)| *start < offset);
    let (_, end) = ranges.get(before.checked_sub(1)?)?;
    (offset < *end).then_some(*end)
}

/// Whether both headers of an entry would have the same file unpacked in the same way.
fn agree(central: &Header<'_>, local: &Header<'_>) -> bool {
    let is_size_known = !local.has_sizes_behind() && !matches!(local.compressed_size, 0 | u32::MAX);
    let is_size_told = central.compressed_size != u32::MAX;
    central.name == local.name
        && central.method == local.method
        && central.is_encrypted() == local.is_encrypted()
        && (!is_size_known || !is_size_told || central.compressed_size == local.compressed_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ranges: &[(usize, usize)]) -> Consistency<'static> {
        Consistency { ranges: ranges.to_vec(), ..Consistency::default() }
    }

    #[test]
    fn overlaps_count_from_the_sixth_and_the_third_byte() {
        let shared = |count: usize| ranges(&vec![(0, 100); count]).seal();
        assert_eq!((shared(6), shared(7)), (false, true));
        let fudged: Vec<_> = (0..20).map(|n| (n * 10, n * 10 + 12)).collect();
        assert!(!ranges(&fudged).seal());
        let shifted: Vec<_> = (0..20).map(|n| (n * 10, n * 10 + 13)).collect();
        assert!(ranges(&shifted).seal());
    }

    #[test]
    fn what_is_inside_an_entry_is_found() {
        let mut entries = ranges(&[(50, 60), (0, 40), (10, 20)]);
        assert!(!entries.seal());
        let inside: Vec<usize> =
            [0, 1, 39, 40, 50, 51, 59, 60].into_iter().filter(|at| entries.is_inside(*at)).collect();
        assert_eq!(inside, [1, 39, 51, 59]);
    }

    #[test]
    fn deflated_data_are_told_by_where_they_begin_and_end() {
        let mut entries =
            Consistency { deflated: vec![(50, 60), (0, 40), (10, 20)], ..Consistency::default() };
        assert!(!entries.seal());
        let told = |at| (entries.end_of_deflated(at), entries.next_deflated(at));
        let expected =
            [(None, Some(0)), (Some(40), Some(10)), (Some(40), Some(50)), (None, Some(50)), (None, Some(50))];
        assert_eq!([0, 1, 39, 40, 50].map(told), expected);
        assert_eq!([59, 60].map(told), [(Some(60), None), (None, None)]);
        entries.search_deflated_too();
        assert_eq!((entries.end_of_deflated(1), entries.next_deflated(0)), (None, None));
    }
}

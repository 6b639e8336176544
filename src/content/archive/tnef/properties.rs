//! The row of MAPI properties in an attribute of TNEF (MS-OXTNEF 2.1.3.5; types of MS-OXCDATA 2.11.1).

/// Types of properties that are read; the others are skipped by their size.
pub(super) const BYTES: u16 = 0x0102;
pub(super) const OBJECT: u16 = 0x000d;
pub(super) const TEXT: u16 = 0x001e;
pub(super) const UNICODE: u16 = 0x001f;
/// Flag of a type: several values.
const SEVERAL: u16 = 0x1000;
/// Ids from here on stand for names, which come before the value.
const NAMED: u16 = 0x8000;

/// A value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Property<'t> {
    pub(super) id: u16,
    pub(super) kind: u16,
    pub(super) value: &'t [u8],
}

/// The values of text, bytes and objects, to the first that is damaged.
pub(super) fn read(data: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut fields = Fields(data);
    let count = fields.u32().unwrap_or(0);
    let mut row = (0..count).map_while(move |_| fields.property());
    let mut values: Vec<Property<'_>> = Vec::new();
    std::iter::from_fn(move || {
        while values.is_empty() {
            values = row.next()?;
            values.reverse();
        }
        values.pop()
    })
}

struct Fields<'t>(&'t [u8]);

impl<'t> Fields<'t> {
    fn take(&mut self, size: usize) -> Option<&'t [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Bytes behind their number, filled up to a multiple of four; as many as there are where they are cut.
    fn bytes(&mut self) -> Option<&'t [u8]> {
        let size = self.u32()? as usize;
        let bytes = self.take(size.min(self.0.len()))?;
        let padding = size.next_multiple_of(4) - size;
        self.take(padding.min(self.0.len()))?;
        Some(bytes)
    }

    /// The values of the next property.
    fn property(&mut self) -> Option<Vec<Property<'t>>> {
        let tag = self.u32()?;
        let (kind, id) = (tag as u16, (tag >> 16) as u16);
        if id >= NAMED {
            self.take(16)?;
            match self.u32()? {
                0 => drop(self.u32()?),
                _ => drop(self.bytes()?),
            }
        }
        let base = kind & !SEVERAL;
        let is_several = kind & SEVERAL != 0;
        let has_size = matches!(base, BYTES | OBJECT | TEXT | UNICODE);
        let count = if is_several || has_size { self.u32()? } else { 1 };
        if has_size {
            let values = (0..count).map_while(|_| self.bytes());
            return Some(values.map(|value| Property { id, kind: base, value }).collect());
        }
        let size: u64 = match base {
            0x0001 => 0,
            0x0002 | 0x0003 | 0x0004 | 0x000a | 0x000b => 4,
            0x0005 | 0x0006 | 0x0007 | 0x0014 | 0x0040 => 8,
            0x0048 => 16,
            _ => return None,
        };
        // Short numbers are filled up one by one, but together where there are several.
        let size = if is_several && base == 0x0002 {
            (2 * u64::from(count)).next_multiple_of(4)
        } else {
            size * u64::from(count)
        };
        self.take(usize::try_from(size).ok()?)?;
        Some(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A property of this type with one value.
    fn sized(id: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        let mut out = [kind.to_le_bytes(), id.to_le_bytes()].concat();
        out.extend(1u32.to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn row(properties: &[Vec<u8>]) -> Vec<u8> {
        [&(properties.len() as u32).to_le_bytes(), properties.concat().as_slice()].concat()
    }

    #[test]
    fn values_are_found_between_those_that_are_skipped() {
        let number = [&[3, 0, 1, 0x37][..], &[1, 0, 0, 0]].concat();
        let time = [&[0x40, 0, 7, 0x30][..], &[0; 8]].concat();
        let numbers = [&[2, 0x10, 1, 0x37][..], &[3, 0, 0, 0], &[0; 8]].concat();
        let named = [&[3, 0, 1, 0x80][..], &[0; 16], &[0; 4], &[9; 4], &[1, 0, 0, 0]].concat();
        let texts = [
            &[0x1e, 0x10, 2, 0x37][..],
            &[2, 0, 0, 0],
            &[1, 0, 0, 0, b'a', 0, 0, 0],
            &[1, 0, 0, 0, b'b', 0, 0, 0],
        ]
        .concat();
        let data = row(&[number, time, numbers, named, texts, sized(0x3707, TEXT, b"evil.exe\0")]);
        let found: Vec<_> = read(&data).map(|property| (property.id, property.value)).collect();
        assert_eq!(found, [(0x3702, &b"a"[..]), (0x3702, b"b"), (0x3707, b"evil.exe\0")]);
    }

    #[test]
    fn no_cut_and_no_number_reads_past_the_end() {
        let data = row(&[sized(0x3707, UNICODE, b"a\0.\0"), sized(0x3701, BYTES, &[1; 30])]);
        for cut in 0..data.len() {
            assert!(read(&data[..cut]).count() <= 2);
        }
        let flood = [&[0xff; 4][..], &[1, 0, 0, 0].repeat(1000)].concat();
        assert_eq!(read(&flood).count(), 0);
        let values = [&[1, 0, 0, 0][..], &[2, 1, 1, 0x37], &[0xff; 4], &[0xff; 4], b"abc"].concat();
        assert_eq!(read(&values).map(|property| property.value).collect::<Vec<_>>(), [b"abc"]);
    }
}

//! The `.Z` files of `compress`: LZW with codes of 9 to 16 bits that grow as the table fills.
//!
//! Three bytes of header: `1f 9d`, then the longest code's bits and a flag that code 256 clears the table. Codes come
//! in groups of eight, lowest bit first, and a group is cut off where the width of codes changes, so the rest of it is
//! skipped.

use std::io::{self, Read};

/// Flag of the header: code 256 clears the table.
const CLEARS: u8 = 0x80;
const CLEAR: usize = 256;
const MIN_BITS: u32 = 9;
const MAX_BITS: u32 = 16;

/// A decoder of the file `data`.
pub(super) struct Decoder<'d> {
    data: &'d [u8],
    /// Bit at which the next code begins, and at which its group began.
    bit: usize,
    group: usize,
    bits: u32,
    max_bits: u32,
    clears: bool,
    /// For each code: the code before its last byte, and that byte.
    table: Vec<(u16, u8)>,
    previous: Option<usize>,
    first: u8,
    /// Bytes decoded and not yet read, the next one last.
    pending: Vec<u8>,
}

impl<'d> Decoder<'d> {
    /// The decoder of a file, unless its header is none.
    pub(super) fn new(file: &'d [u8]) -> Option<Self> {
        let (header, data) = file.split_at_checked(3)?;
        let max_bits = u32::from(header[2] & 0x1f);
        if !header.starts_with(b"\x1f\x9d") || !(MIN_BITS..=MAX_BITS).contains(&max_bits) {
            return None;
        }
        let clears = header[2] & CLEARS != 0;
        let mut decoder = Self {
            data,
            bit: 0,
            group: 0,
            bits: MIN_BITS,
            max_bits,
            clears,
            table: Vec::new(),
            previous: None,
            first: 0,
            pending: Vec::new(),
        };
        decoder.clear();
        Some(decoder)
    }

    fn clear(&mut self) {
        self.table = (0..=u8::MAX).map(|byte| (0, byte)).collect();
        if self.clears {
            self.table.push((0, 0));
        }
        self.bits = MIN_BITS;
        self.previous = None;
    }

    /// The next code, at the width the table asks for.
    fn code(&mut self) -> Option<usize> {
        if self.table.len() >= 1 << self.bits && self.bits < self.max_bits {
            self.end_group();
            self.bits += 1;
        }
        let byte = self.bit / 8;
        let word = self.data.get(byte..)?.iter().take(3).enumerate();
        let word = word.fold(0usize, |word, (at, byte)| word | usize::from(*byte) << (8 * at));
        if self.bit + self.bits as usize > self.data.len() * 8 {
            return None;
        }
        let code = (word >> (self.bit % 8)) & ((1 << self.bits) - 1);
        self.bit += self.bits as usize;
        Some(code)
    }

    /// Skips to the end of the group of eight codes.
    fn end_group(&mut self) {
        let group = self.bits as usize * 8;
        self.bit = self.group + (self.bit - self.group).div_ceil(group) * group;
        self.group = self.bit;
    }

    /// Decodes one code into `pending`; false at the end.
    fn step(&mut self) -> io::Result<bool> {
        let Some(code) = self.code() else { return Ok(false) };
        if code == CLEAR && self.clears {
            self.end_group();
            self.clear();
            return Ok(true);
        }
        let mut at = code;
        if code >= self.table.len() {
            // The code being defined: what came before, and its first byte again.
            let previous = self.previous.filter(|_| code == self.table.len());
            at = previous.ok_or(io::ErrorKind::InvalidData)?;
            self.pending.push(self.first);
        }
        while at > usize::from(u8::MAX) {
            let (before, byte) = self.table[at];
            self.pending.push(byte);
            at = usize::from(before);
        }
        self.first = at as u8;
        self.pending.push(self.first);
        if let Some(previous) = self.previous
            && self.table.len() < 1 << self.max_bits
        {
            self.table.push((previous as u16, self.first));
        }
        self.previous = Some(code);
        Ok(true)
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.pending.is_empty() {
            if !self.step()? {
                return Ok(0);
            }
        }
        let mut written = 0;
        while let Some(byte) = self.pending.pop_if(|_| written < out.len()) {
            out[written] = byte;
            written += 1;
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// What `compress -b BITS` makes of `text`, but that the table is never cleared.
    fn compress(text: &[u8], max_bits: u32) -> Vec<u8> {
        let mut table: HashMap<(usize, u8), usize> = HashMap::new();
        let (mut free, mut bits, mut out, mut group) = (257, MIN_BITS, Vec::new(), Vec::new());
        let flush = |group: &mut Vec<usize>, bits: u32, out: &mut Vec<u8>, is_end: bool| {
            let mut bytes = vec![0u8; bits as usize];
            for (at, code) in group.iter().enumerate() {
                for bit in 0..bits as usize {
                    let to = at * bits as usize + bit;
                    bytes[to / 8] |= ((code >> bit & 1) as u8) << (to % 8);
                }
            }
            if is_end {
                bytes.truncate((group.len() * bits as usize).div_ceil(8));
            }
            if !group.is_empty() {
                out.extend(bytes);
            }
            group.clear();
        };
        let mut codes = text.iter().copied();
        let mut current = usize::from(codes.next().unwrap());
        let mut emit = |code: usize, free: usize, bits: &mut u32| {
            // The reader's table is one entry behind the writer's.
            group.push(code);
            if group.len() == 8 {
                flush(&mut group, *bits, &mut out, false);
            }
            if free > (1 << *bits) - 1 && *bits < max_bits {
                flush(&mut group, *bits, &mut out, false);
                *bits += 1;
            }
        };
        for byte in codes {
            if let Some(code) = table.get(&(current, byte)) {
                current = *code;
                continue;
            }
            emit(current, free, &mut bits);
            if free < 1 << max_bits {
                table.insert((current, byte), free);
                free += 1;
            }
            current = usize::from(byte);
        }
        emit(current, 0, &mut bits);
        flush(&mut group, bits, &mut out, true);
        [&[0x1f, 0x9d, 0x80 | max_bits as u8], out.as_slice()].concat()
    }

    fn decoded(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(file).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn text_comes_back_at_every_width() {
        let text: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8 % 61).collect();
        for max_bits in MIN_BITS..=MAX_BITS {
            assert!(decoded(&compress(&text, max_bits)).unwrap() == text, "{max_bits} bits");
        }
        assert_eq!(decoded(&compress(b"aaaaaaaaaaaaaaaaaaaaa", 16)).unwrap(), b"aaaaaaaaaaaaaaaaaaaaa");
    }

    #[test]
    fn a_file_of_the_compress_program_is_read() {
        // Made by ncompress 4.2.4.6 of "TOBEORNOTTOBEORTOBEORNOT".
        let file = b"\x1f\x9d\x90\x54\x9e\x08\x29\xf2\x44\x8a\x93\x27\x54\x02\x0e\x2c\xa8\x90\xa0\x41\x84";
        assert_eq!(decoded(file).unwrap(), b"TOBEORNOTTOBEORTOBEORNOT");
    }

    #[test]
    fn damage_ends_it() {
        assert!(Decoder::new(b"\x1f\x9d").is_none());
        assert!(Decoder::new(b"\x1f\x9d\x88..").is_none());
        assert!(Decoder::new(b"\x1f\x9d\x91..").is_none());
        assert_eq!(decoded(b"\x1f\x9d\x90").unwrap(), b"");
        assert!(decoded(b"\x1f\x9d\x90\xff\xff\xff").is_err());
    }
}

//! Decoders that never give up: what damaged text decodes to, as lenient mail programs read it.
//!
//! None of these inflates: what comes out is never longer than what goes in, but for BinHex runs, which are paid for.

use crate::content::raw::Lines;

/// What `=` means inside base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::content) enum Padding {
    /// It ends a group; another may follow.
    EndsGroup,
    /// It ends everything.
    EndsAll,
    /// Nothing, like any other character that does not belong there.
    Ignored,
}

/// Value of a base64 digit, in the usual alphabet or that for URLs (RFC 4648 §5).
pub(in crate::content) const fn digit(byte: u8) -> Option<u8> {
    let value = DIGITS[byte as usize];
    if value < NO_DIGIT { Some(value) } else { None }
}

/// The values of all bytes: every text is looked at for what it would be in base64.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut byte = 0;
    while byte < digits.len() {
        digits[byte] = match byte as u8 {
            letter @ b'A'..=b'Z' => letter - b'A',
            letter @ b'a'..=b'z' => letter - b'a' + 26,
            number @ b'0'..=b'9' => number - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => NO_DIGIT,
        };
        byte += 1;
    }
    digits
};
const NO_DIGIT: u8 = 64;

/// Base64 without regard for anything that is no digit; at most `limit` bytes.
pub(in crate::content) fn base64(text: &[u8], padding: Padding, limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(limit.min(text.len() / 4 * 3 + 3));
    let (mut bits, mut count) = (0u32, 0u32);
    for &byte in text {
        if out.len() >= limit {
            break;
        }
        if let Some(value) = digit(byte) {
            bits = (bits << 6) | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        } else if byte == b'=' {
            match padding {
                Padding::EndsGroup => count = 0,
                Padding::EndsAll => break,
                Padding::Ignored => {}
            }
        }
    }
    out
}

/// Quoted-printable (RFC 2045 §6.7) as the most lenient read it: digits of either case, `=` and spaces at the end of
/// a line join it with the next, a second `=` before that is dropped; at most `limit` bytes.
pub(in crate::content) fn quoted_printable(text: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(limit.min(text.len()));
    let mut at = 0;
    while let Some(&byte) = text.get(at)
        && out.len() < limit
    {
        at += 1;
        if byte != b'=' {
            out.push(byte);
            continue;
        }
        let high = text.get(at).copied().and_then(hex);
        if let (Some(high), Some(low)) = (high, text.get(at + 1).copied().and_then(hex)) {
            out.push(high << 4 | low);
            at += 2;
            continue;
        }
        let skipped = text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'=')).count();
        match &text[at + skipped..] {
            [b'\r', b'\n', ..] => at += skipped + 2,
            [b'\n' | b'\r', ..] => at += skipped + 1,
            _ => out.push(byte),
        }
    }
    out
}

const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Characters that may stand behind the digits of a line of uuencode.
const MAX_CHECKSUM: usize = 2;

/// The lines of uuencode that `text` begins with, decoded, and their length.
pub(in crate::content) fn uuencoded(text: &[u8]) -> (Vec<u8>, usize) {
    // Spaces are digits here, and those at the end of a line get lost.
    sized_lines(text, false, uu_digit)
}

fn uu_digit(byte: u8) -> Option<u8> {
    (b' '..=b'`').contains(&byte).then(|| byte.wrapping_sub(b' ') & 63)
}

/// Whether a line is one of uuencode with all its digits: words in capitals seldom have as many as the first of them says.
pub(in crate::content) fn is_uuencoded(line: &[u8]) -> bool {
    !sized_lines(line, true, uu_digit).0.is_empty()
}

/// The same in the alphabet of xxencode.
pub(in crate::content) fn xxencoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'+' => Some(0),
        b'-' => Some(1),
        b'0'..=b'9' => Some(byte - b'0' + 2),
        b'A'..=b'Z' => Some(byte - b'A' + 12),
        b'a'..=b'z' => Some(byte - b'a' + 38),
        _ => None,
    };
    sized_lines(text, true, digit).0
}

/// Lines whose first digit is the number of bytes in them. None is shorter than that takes, where they are to be full; a
/// line may go on behind it for a checksum. Empty lines between are none, and lines of no bytes end nothing, as for decoders that
/// read on to `end`.
fn sized_lines(text: &[u8], is_full: bool, digit: impl Fn(u8) -> Option<u8>) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut lines = Lines::new(text);
    let mut end = 0;
    while let Some(line) = lines.next() {
        if let Some((&first, digits)) = line.split_first() {
            let Some(length) = digit(first).map(usize::from) else { break };
            let needed = 4 * length.div_ceil(3);
            let used = &digits[..digits.len().min(needed)];
            let is_cut = is_full && used.len() < needed;
            if is_cut
                || digits.len() > needed + MAX_CHECKSUM
                || used.iter().any(|byte| digit(*byte).is_none())
            {
                break;
            }
            if length == 0 {
                // Where nothing follows, they are no part of it.
                continue;
            }
            let start = out.len();
            for group in used.chunks(4) {
                let value = |at: usize| u32::from(group.get(at).and_then(|byte| digit(*byte)).unwrap_or(0));
                let bits = value(0) << 18 | value(1) << 12 | value(2) << 6 | value(3);
                out.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
            }
            out.truncate(start + length.min(out.len() - start));
        }
        end = lines.offset();
    }
    (out, end)
}

/// The lines of a yEnc part (yEnc draft 1.3), line ends left out.
pub(super) fn yenc(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut is_escaped = false;
    for &byte in text {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if !is_escaped => is_escaped = true,
            byte => {
                out.push(byte.wrapping_sub(if is_escaped { 42 + 64 } else { 42 }));
                is_escaped = false;
            }
        }
    }
    out
}

/// A file in BinHex 4.0 (RFC 1741).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BinHex {
    pub(super) name: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// The file that `text`, what stands behind the first colon, holds; at most `limit` bytes of it.
pub(super) fn binhex(text: &[u8], limit: usize) -> Option<BinHex> {
    let file = runs(&six_bits(text), limit);
    let (&length, rest) = file.split_first()?;
    let name = rest.get(..usize::from(length))?.to_vec();
    // A NUL, type, creator, flags, then the lengths of both forks and a checksum.
    let header = rest.get(usize::from(length)..)?;
    let size = u32::from_be_bytes(header.get(11..15)?.try_into().ok()?);
    let data = header.get(21..)?;
    let data = data[..data.len().min(usize::try_from(size).unwrap_or(usize::MAX))].to_vec();
    Some(BinHex { name, data })
}

fn six_bits(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in text {
        let Some(value) = DIGITS.iter().position(|digit| digit == byte) else {
            if byte.is_ascii_whitespace() {
                continue;
            }
            break;
        };
        bits = (bits << 6) | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// Run lengths expanded: 0x90 and a count repeat the byte before; 0x90 and 0 are 0x90 itself.
fn runs(packed: &[u8], limit: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(packed.len());
    let mut bytes = packed.iter();
    while let Some(&byte) = bytes.next()
        && out.len() < limit
    {
        match (byte, out.last().copied()) {
            (0x90, last) => match (bytes.next(), last) {
                (Some(0), _) | (None, _) => out.push(0x90),
                (Some(count), Some(last)) => {
                    out.extend(std::iter::repeat_n(last, usize::from(*count).saturating_sub(1)));
                }
                (Some(_), None) => {}
            },
            (byte, _) => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_is_one_of_either_alphabet() {
        let alphabet =
            |last: &'static [u8; 2]| (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*last);
        let values = |byte: u8| {
            let places =
                [alphabet(b"+/"), alphabet(b"-_")].map(|mut digits| digits.position(|digit| digit == byte));
            places.into_iter().flatten().next()
        };
        for byte in 0..=u8::MAX {
            assert_eq!(digit(byte).map(usize::from), values(byte), "{byte}");
        }
    }

    #[test]
    fn damaged_base64_is_decoded() {
        for (text, padding, expected) in [
            ("ZXZpbA==", Padding::EndsGroup, "evil"),
            ("ZXZp\r\nbA", Padding::EndsGroup, "evil"),
            ("ZX!Zp*bA==", Padding::EndsGroup, "evil"),
            ("ZXZpbA==ZXZpbA==", Padding::EndsGroup, "evilevil"),
            ("ZXZpbA==ZXZpbA==", Padding::EndsAll, "evil"),
            ("ZX=Zp=bA", Padding::Ignored, "evil"),
            ("====", Padding::EndsGroup, ""),
        ] {
            assert_eq!(base64(text.as_bytes(), padding, 99), expected.as_bytes(), "{text}");
        }
        assert_eq!(base64(b"_-8=", Padding::EndsGroup, 99), base64(b"/+8=", Padding::EndsGroup, 99));
        assert_eq!(base64(b"ZXZpbA==", Padding::EndsGroup, 2), b"ev");
    }

    #[test]
    fn damaged_quoted_printable_is_decoded() {
        for (text, expected) in [
            ("PK=03=04", "PK\x03\x04"),
            ("a=4a=4Ab", "aJJb"),
            ("a=\r\nb", "ab"),
            ("a= \t\nb", "ab"),
            ("a==\r\nb", "ab"),
            ("a=\rb", "ab"),
            ("a=zz", "a=zz"),
            ("a=", "a="),
        ] {
            assert_eq!(quoted_printable(text.as_bytes(), 99), expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn uuencode_and_yenc_are_decoded() {
        assert_eq!(uuencoded(b"#86)C\r\n\r\n#86)C\r\n`\r\nend"), (b"abcabc".to_vec(), 16));
        assert_eq!(uuencoded(b"`\n \n#86)C\n`\n#86)C\n`\nend"), (b"abcabc".to_vec(), 18));
        assert_eq!(uuencoded(b" begin 644 a\n#86)C"), (vec![], 0));
        assert_eq!(xxencoded(b"1MK7X\n+\nend"), b"abc");
        assert!(is_uuencoded(b"#86)C") && is_uuencoded(b"M2&5L;&\\".repeat(9).get(..61).unwrap_or_default()));
        for line in [&b""[..], b"`", b"REGARDS,", b"#86)", b"#86)C!!!!"] {
            assert!(!is_uuencoded(line), "{}", line.escape_ascii());
        }
        assert_eq!(yenc(b"\x8b\x8c\r\n\x8d=n"), b"abc\x04");
    }

    #[test]
    fn binhex_is_decoded() {
        let mut file = vec![8];
        file.extend_from_slice(b"evil.exe\0APPLXXXX\0\0");
        file.extend_from_slice(&3u32.to_be_bytes());
        file.extend_from_slice(&[0; 6]);
        file.extend_from_slice(b"MZ\x90\0");
        const DIGITS: &[u8; 64] = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
        let mut packed = Vec::new();
        for byte in file {
            packed.extend(if byte == 0x90 { vec![0x90, 0] } else { vec![byte] });
        }
        packed.resize(packed.len().next_multiple_of(3), 0);
        let text: Vec<u8> = packed
            .chunks(3)
            .flat_map(|group| {
                let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
                [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
            })
            .collect();
        let expected = BinHex { name: b"evil.exe".to_vec(), data: b"MZ\x90".to_vec() };
        assert_eq!(binhex(&text, 1000), Some(expected));
        assert_eq!(binhex(b"!!!", 1000), None);
        assert_eq!(runs(b"a\x90\x04b\x90\0", 99), b"aaaab\x90");
    }
}

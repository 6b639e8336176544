//! The bytes of a name in an archive, under every encoding an unpacker may read them in.

use encoding_rs::WINDOWS_1252;

use crate::content::filename::end_of_name;

/// What the code page of the first PCs makes of the bytes from 0x80 on: the encoding of names in zips that do not say
/// theirs (APPNOTE.TXT appendix D), and of most archivers of that time.
static CP437: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å', 'É', 'æ', 'Æ', 'ô', 'ö',
    'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ', 'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐',
    '¬', '½', '¼', '¡', '«', '»', '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛',
    '┐', '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧', '╨', '╤', '╥', '╙',
    '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀', 'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ',
    'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩', '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²',
    '■', '\u{a0}',
];

/// The readings of `name`: UTF-8 alone where it is that, the old code pages too where it is not.
pub(super) fn readings(name: &[u8]) -> Vec<String> {
    if let Ok(name) = std::str::from_utf8(name) {
        return vec![name.to_owned()];
    }
    let windows = WINDOWS_1252.decode_without_bom_handling(name).0.into_owned();
    vec![String::from_utf8_lossy(name).into_owned(), cp437(name), windows]
}

/// Text of two bytes a character, the lower first; half characters are replaced.
pub(in crate::content) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The end of a name of two bytes a character, as far as a NUL, which ends it for most; where more is behind that, the end of
/// all, too.
pub(super) fn utf16_ended(bytes: &[u8]) -> Vec<String> {
    let mut units = bytes.chunks_exact(2);
    let first = units.position(|unit| unit == [0, 0]).unwrap_or(bytes.len() / 2);
    let last = bytes.chunks_exact(2).rposition(|unit| unit != [0, 0]).map_or(0, |at| at + 1);
    let lengths = [Some(first), (last > first).then_some(last)];
    lengths.into_iter().flatten().map(|length| utf16(end_of_name(&bytes[..2 * length]))).collect()
}

/// The same of a name of one byte a character, in its [`readings`].
pub(super) fn readings_ended(bytes: &[u8]) -> Vec<String> {
    let first = until_nul(bytes).len();
    let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let lengths = [Some(first), (last > first).then_some(last)];
    lengths.into_iter().flatten().flat_map(|length| readings(end_of_name(&bytes[..length]))).collect()
}

fn cp437(name: &[u8]) -> String {
    let character = |byte: &u8| match byte.checked_sub(0x80) {
        Some(upper) => CP437[usize::from(upper)],
        None => char::from(*byte),
    };
    name.iter().map(character).collect()
}

/// The bytes before the first NUL, and behind it: most systems end a name there.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_every_encoding_they_may_be_in() {
        assert_eq!(readings(b"a.exe"), ["a.exe"]);
        assert_eq!(readings("\u{e9}.exe".as_bytes()), ["\u{e9}.exe"]);
        assert_eq!(
            readings(b"\x82.exe\xff"),
            ["\u{fffd}.exe\u{fffd}", "\u{e9}.exe\u{a0}", "\u{201a}.exe\u{ff}"]
        );
        assert_eq!(cp437(b"\x7f\x80\xff"), "\u{7f}\u{c7}\u{a0}");
        assert_eq!(utf16(b"a\0.\0\x20\x20x"), "a.\u{2020}");
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(utf16_ended(&wide("a.js\0\0")), ["a.js"]);
        assert_eq!(utf16_ended(&wide("a.js\0b.txt")), ["a.js", "a.js\0b.txt"]);
        assert_eq!(readings_ended(b"a.js\0b.txt\0"), ["a.js", "a.js\0b.txt"]);
        assert_eq!(readings_ended(b"\0\0"), [""]);
        let long = [wide(&"d/".repeat(600)), wide("a.js\0"), wide(&"\0".repeat(600)), vec![0]].concat();
        assert!(matches!(&utf16_ended(&long)[..], [name] if name.ends_with("d/a.js") && name.len() == 512));
        assert_eq!((until_nul(b"a\0b"), until_nul(b"ab")), (&b"a"[..], &b"ab"[..]));
    }
}

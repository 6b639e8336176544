//! The file names a `Content-*` field can give to anyone: mail programs disagree on damaged parameters, so every
//! reading counts.
//!
//! RFC 2045 §5.1 (syntax), RFC 2183 (`filename`), RFC 2231 (continuations, charsets), RFC 2047 (not allowed
//! here, yet common). Decoding is left to [`super::filename`]: percent and encoded words are readings of a name,
//! like its other disguises.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// Longest parameter name that is looked at, in bytes.
const MAX_KEY: usize = 80;
/// How far behind a closing quote a value may go on, in bytes.
const MAX_TAIL: usize = 160;
/// Boundaries of one field that are compared with each other.
const MAX_BOUNDARIES: usize = 16;

/// Every name in the field `value` (bytes after the colon, folded or not), each as written.
pub(super) fn names(value: &[u8]) -> Vec<String> {
    let values = values(value, is_name);
    values.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Every value the parameter `boundary` can have in the field `value`: as written, without a charset (RFC 2231 §4),
/// and each only once.
pub(super) fn boundaries(value: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for value in values(value, |key| key.split(|byte| *byte == b'*').next() == Some(b"boundary")) {
        let bare = value.splitn(3, |byte| *byte == b'\'').nth(2).map(<[u8]>::to_vec);
        for value in bare.into_iter().chain([value]) {
            if !value.is_empty() && known.insert(value.clone()) {
                found.push(value);
            }
        }
    }
    found
}

/// Whether a field gives its boundary twice, in parts that contradict each other, or as an encoded word.
pub(super) fn is_ambiguous_boundary(value: &[u8]) -> bool {
    let mut plain: Vec<Vec<u8>> = Vec::new();
    let mut sections: Vec<Option<u32>> = Vec::new();
    each(value, |key, readings| {
        if key.split(|byte| *byte == b'*').next() != Some(b"boundary") || sections.len() > MAX_BOUNDARIES {
            return;
        }
        sections.push(section(key).map(|(_, number)| number));
        plain.extend(readings.first().cloned());
    });
    let numbered = sections.iter().flatten().count();
    let mut numbers: Vec<u32> = sections.iter().copied().flatten().collect();
    numbers.sort_unstable();
    numbers.dedup();
    let is_plain = numbered == 0;
    let differ = plain.iter().any(|value| Some(value) != plain.first());
    (is_plain && differ)
        || (!is_plain && (numbers.len() < numbered || numbered < sections.len()))
        || plain.iter().any(|value| value.starts_with(b"=?"))
}

/// Every value of the parameters that `wanted` names: under each reading, and joined from numbered sections.
fn values(value: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    let mut sections: BTreeMap<Vec<u8>, Vec<(u32, Vec<u8>)>> = BTreeMap::new();
    each(value, |key, readings| {
        if !wanted(key) {
            return;
        }
        if let Some(first) = readings.first()
            && let Some((base, index)) = section(key)
        {
            sections.entry(base.to_vec()).or_default().push((index, first.clone()));
        }
        values.extend(readings);
    });
    for mut parts in sections.into_values().filter(|parts| parts.len() > 1) {
        values.push(joined(&parts));
        if !parts.is_sorted_by_key(|(index, _)| *index) {
            parts.sort_by_key(|(index, _)| *index);
            values.push(joined(&parts));
        }
        // Where a number comes twice, some take the first of them.
        if parts.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            let mut last = parts.clone();
            parts.dedup_by_key(|(index, _)| *index);
            values.push(joined(&parts));
            last.reverse();
            last.dedup_by_key(|(index, _)| *index);
            last.reverse();
            values.push(joined(&last));
        }
    }
    values
}

/// Calls `found` with the name of each parameter, in lower case, and the readings of its value.
fn each(value: &[u8], mut found: impl FnMut(&[u8], Vec<Vec<u8>>)) {
    let value = without_cr(value);
    let mut at = 0;
    while let Some(equals) = memchr::memchr(b'=', &value[at..]) {
        let key = key_at_end(&value[at..at + equals]);
        at += equals + 1;
        if !(is_name(&key) || key.starts_with(b"boundary")) {
            continue;
        }
        let (readings, end) = readings(&value[at..]);
        at += end;
        found(&key, readings);
    }
}

/// The value of a field without carriage returns, and without the end of its line.
fn without_cr(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    if memchr::memchr(b'\r', value).is_none() {
        return value.into();
    }
    value.iter().copied().filter(|byte| *byte != b'\r').collect()
}

/// The parameter name before an equals sign, in lower case, without a comment behind it.
fn key_at_end(before: &[u8]) -> Cow<'_, [u8]> {
    let mut before = before[before.len().saturating_sub(MAX_KEY)..].trim_ascii_end();
    while before.ends_with(b")")
        && let Some(open) = last_comment(before)
    {
        before = before[..open].trim_ascii_end();
    }
    let ends_key = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b',' | b'"' | b')');
    let start = before.iter().rposition(ends_key).map_or(0, |at| at + 1);
    let key = &before[start..];
    if key.iter().any(u8::is_ascii_uppercase) { key.to_ascii_lowercase().into() } else { key.into() }
}

/// Where the comment begins that `text` ends with.
fn last_comment(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    text.iter().rposition(|byte| {
        match byte {
            b')' => depth += 1,
            b'(' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Whether a parameter of this name may name a file: `name`, `filename`, `filename*0*`, `x-name`, `file`.
fn is_name(key: &[u8]) -> bool {
    key.windows(4).any(|window| window == b"name") || key.starts_with(b"file")
}

/// Name and number of an RFC 2231 §3 section: `filename*1*` is 1 of `filename`.
fn section(key: &[u8]) -> Option<(&[u8], u32)> {
    let star = key.iter().position(|byte| *byte == b'*')?;
    let digits = key[star + 1..].split(|byte| *byte == b'*').next()?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((&key[..star], number))
}

fn joined(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    sections.iter().flat_map(|(_, value)| value).copied().collect()
}

/// What may be the value that `rest` begins with, and where it ends under the first of the readings.
fn readings(rest: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let start = space + comment(&rest[space..]);
    let value = &rest[start..];
    let (mut readings, end) = if value.starts_with(b"\"") { quoted(value) } else { token(value) };
    readings.retain(|reading| !reading.is_empty());
    (readings, start + end)
}

/// Length of the comment and the space after it that `rest` begins with, 0 where there is none.
fn comment(rest: &[u8]) -> usize {
    if !rest.starts_with(b"(") {
        return 0;
    }
    let close = rest.iter().take(MAX_KEY).position(|byte| *byte == b')');
    close.map_or(0, |close| {
        let after = &rest[close + 1..];
        close + 1 + after.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    })
}

/// A quoted string: unescaped; as written where it has escapes; up to the semicolon where more follows the
/// closing quote.
fn quoted(value: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut unescaped = Vec::new();
    let mut end = 1;
    while let Some(&byte) = value.get(end) {
        match byte {
            b'"' => break,
            b'\\' => {
                unescaped.extend(value.get(end + 1));
                end += 2;
            }
            byte => {
                unescaped.push(byte);
                end += 1;
            }
        }
    }
    let end = end.min(value.len());
    let written = &value[1..end];
    let after = &value[(end + 1).min(value.len())..];
    let after = &after[..after.len().min(MAX_TAIL)];
    let mut readings = vec![unescaped];
    if written.contains(&b'\\') {
        readings.push(written.to_vec());
    }
    let tail = &after[..after.iter().position(|byte| *byte == b';').unwrap_or(after.len())];
    if !tail.trim_ascii().is_empty() {
        readings.push([written, tail].concat().into_iter().filter(|byte| *byte != b'"').collect());
    }
    (readings, (end + 1).min(value.len()))
}

/// An unquoted value: up to the semicolon, up to the first space, without escapes, and with the semicolons behind which no
/// parameter follows.
fn token(value: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let whole = value[..end].trim_ascii();
    let first = whole.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let mut readings = vec![whole.to_vec()];
    if first.len() < whole.len() {
        readings.push(first.to_vec());
    }
    if whole.contains(&b'\\') {
        readings.push(whole.iter().copied().filter(|byte| *byte != b'\\').collect());
    }
    let long = with_semicolons(value);
    if long.len() > whole.len() {
        readings.push(long.to_vec());
    }
    (readings, end)
}

/// The unquoted value that `rest` begins with, up to the semicolon before the next parameter.
fn with_semicolons(rest: &[u8]) -> &[u8] {
    let rest = &rest[..rest.len().min(MAX_TAIL)];
    let end = match rest.iter().position(|byte| *byte == b'=') {
        Some(equals) => rest[..equals].iter().rposition(|byte| *byte == b';').unwrap_or(0),
        None => rest.len(),
    };
    let value = rest[..end].trim_ascii();
    value.strip_suffix(b";").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_of_a_parameter_is_given() {
        for (value, expected) in [
            ("attachment; filename=\"evil.exe\"", vec!["evil.exe"]),
            ("attachment; filename=evil.exe", vec!["evil.exe"]),
            ("attachment; filename=\r\n \"evil.exe\"", vec!["evil.exe"]),
            ("attachment; filename\r\n =\"evil.exe\"", vec!["evil.exe"]),
            ("attachment filename=\"evil.exe\"", vec!["evil.exe"]),
            ("filename=\"evil.exe\"", vec!["evil.exe"]),
            ("attachment; filename = evil.exe ; x=y", vec!["evil.exe"]),
            ("attachment; filename=a.txt;evil.exe; x=y", vec!["a.txt", "a.txt;evil.exe"]),
            ("attachment; filename=\\e\\vil.exe", vec!["\\e\\vil.exe", "evil.exe"]),
            ("attachment; filename=\"evil.exe", vec!["evil.exe"]),
            ("attachment; filename=\"evil.exe\r\n", vec!["evil.exe"]),
            ("attachment; filename=\"ok.txt\"; filename=\"evil.exe\"", vec!["ok.txt", "evil.exe"]),
            ("application/x; name=\"a\\\"b.exe\"", vec!["a\"b.exe", "a\\\"b.exe"]),
            ("attachment; filename*=utf-8''evil%2Eexe", vec!["utf-8''evil%2Eexe"]),
            (
                "attachment; filename*1=\".exe\"; filename*0=\"evil\"",
                vec![".exe", "evil", ".exeevil", "evil.exe"],
            ),
            (
                "attachment; filename*0*=utf-8''ev; filename*1*=il%2; filename*2*=Eexe",
                vec!["utf-8''ev", "il%2", "Eexe", "utf-8''evil%2Eexe"],
            ),
            ("attachment; FileName(c)=(d) evil.exe", vec!["evil.exe"]),
            ("attachment; name=ev.txt name=evil.exe", vec!["ev.txt name=evil.exe", "ev.txt"]),
            ("attachment; filename=\"a\" \"b.exe\"", vec!["a", "a b.exe"]),
            ("attachment; x:y=1; filename=evil.exe", vec!["evil.exe"]),
            ("text/plain; charset=utf-8; boundary=\"a=b\"", vec![]),
            ("attachment; filename=", vec![]),
            ("attachment; filename=\"", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(names(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn every_boundary_is_given_and_contradictions_are_told() {
        for (value, expected, is_ambiguous) in [
            ("multipart/mixed; boundary=a", vec!["a"], false),
            ("multipart/mixed; boundary=\"a b\"; boundary=\"a b\"", vec!["a b"], false),
            ("multipart/mixed; boundary=a; boundary=b", vec!["a", "b"], true),
            ("multipart/mixed; boundary=a; boundary*=us-ascii''b", vec!["a", "b", "us-ascii''b"], true),
            ("multipart/mixed; boundary*0=a; boundary*1=b", vec!["a", "b", "ab"], false),
            ("multipart/mixed; boundary*0=z; boundary*0=b", vec!["z", "b", "zb"], true),
            ("multipart/mixed; boundary((c))=b; boundary=z", vec!["b", "z"], true),
            ("multipart/mixed; boundary=\"=?us-ascii?q?b?=\"", vec!["=?us-ascii?q?b?="], true),
            ("multipart/mixed; charset=x", vec![], false),
        ] {
            let found = boundaries(value.as_bytes());
            let found: Vec<_> = found.iter().map(|found| String::from_utf8_lossy(found)).collect();
            assert_eq!(found, expected, "{value}");
            assert_eq!(is_ambiguous_boundary(value.as_bytes()), is_ambiguous, "{value}");
        }
    }

    #[test]
    fn time_grows_with_length_only() {
        for unit in ["name=", "name=\"", "f1*1=x;", "name=a\\\"", "name=(", "\\", "name=\"a\" b c=", "a="] {
            let value = unit.repeat(400_000 / unit.len());
            assert!(names(value.as_bytes()).len() <= value.len() / 2, "{unit}");
        }
    }
}

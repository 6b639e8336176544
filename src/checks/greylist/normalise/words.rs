//! Words of a local part, and those among them that are no words.
//!
//! A word is a run of letters and digits; everything else separates.

use std::borrow::Cow;

use crate::checks::greylist::generic;
use crate::facts::Address;

/// Words by which a sender or its host shows that only machines read there.
const BOUNCE: [&str; 12] = [
    "bnc", "bounce", "bounced", "bouncer", "bounces", "err", "error", "errors", "return", "returns", "rtn",
    "verp",
];
/// Words by which a sender, not its host, shows that no person writes: its numbers name mails.
const AUTOMATIC: [&str; 13] = [
    "envelope",
    "mailer",
    "mailing",
    "mailings",
    "news",
    "newsletter",
    "noreply",
    "notification",
    "notifications",
    "notify",
    "reply",
    "sentto",
    "unsubscribe",
];

/// Length of a UUID as text.
const UUID: usize = 36;
/// A word of so many letters has vowels.
const UNSPEAKABLE: usize = 16;

/// Where something stands in a text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Whether there is nothing in `local` that these rules could take off or mask: short words of small letters.
pub(super) fn is_plain(local: &str) -> bool {
    let mut letters = 0;
    local.len() < UUID
        && local.bytes().all(|byte| {
            letters = if byte.is_ascii_lowercase() { letters + 1 } else { 0 };
            letters < UNSPEAKABLE && (letters > 0 || matches!(byte, b'.' | b'-' | b'_'))
        })
}

/// Whether a machine makes these senders: the local part or a host of the domain says so, or it has four numbers or more.
pub(super) fn is_automatic(local: &str, domain: &str) -> bool {
    let hosts = hosts(domain);
    texts(local).any(|word| is_one_of(word, &BOUNCE) || is_one_of(word, &AUTOMATIC))
        || texts(hosts).any(|word| is_one_of(word, &BOUNCE))
        || texts(local).filter(|word| is_number(word)).count() >= 4
}

fn is_one_of(word: &str, known: &[&str]) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// `local` in lower case, every word that is none as `#`. Several such side by side are one.
pub(super) fn mask(local: &str, is_automatic: bool) -> String {
    let is_one_word = local.chars().all(char::is_alphanumeric);
    let local = without_uuids(local);
    let mut out = String::with_capacity(local.len());
    let mut behind = 0;
    for Bounds { start, end } in words(&local) {
        let word = &local[start..end];
        out.push_str(&local[behind..start]);
        behind = end;
        match (is_token(word, is_automatic, is_one_word), is_automatic) {
            (true, _) => out.push('#'),
            (false, true) => push_without_numbers(&mut out, word),
            (false, false) => out.extend(word.chars().flat_map(char::to_lowercase)),
        }
    }
    out.push_str(&local[behind..]);
    collapse(&out)
}

fn without_uuids(local: &str) -> Cow<'_, str> {
    let is_uuid = |text: &[u8]| {
        text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    match local.as_bytes().windows(UUID).position(is_uuid) {
        None => Cow::Borrowed(local),
        Some(at) => Cow::Owned(format!("{}#{}", &local[..at], without_uuids(&local[at + UUID..]))),
    }
}

/// `domain` with the numbers of its hosts as `#`: a service sends from `mail17.eu3.` and `mail18.eu3.` alike. The registrable
/// domain stays, and a name that a hoster gave its customer's machine.
pub(super) fn mask_hosts(domain: &str) -> Cow<'_, str> {
    if !has_numbered_host(domain) || generic::owner(domain, None).is_none() {
        return Cow::Borrowed(domain);
    }
    Cow::Owned(mask(hosts(domain), true) + registrable(domain))
}

/// Whether a host of `domain` has a number, which [`mask_hosts`] could mask.
pub(super) fn has_numbered_host(domain: &str) -> bool {
    let has_number = |text: &[u8]| text.iter().any(u8::is_ascii_digit);
    // A registrable domain has two labels at least.
    without_last_label(domain.as_bytes()).and_then(without_last_label).is_some_and(has_number)
        && has_number(hosts(domain).as_bytes())
}

fn without_last_label(domain: &[u8]) -> Option<&[u8]> {
    domain.get(..domain.iter().rposition(|byte| *byte == b'.')?)
}

/// What stands before the registrable domain.
fn hosts(domain: &str) -> &str {
    &domain[..domain.len() - registrable(domain).len()]
}

/// Where the address of `recipient` stands in `local`: local part and domain in either order, whatever separates them and their
/// own words.
pub(super) fn embedded(local: &str, recipient: &Address) -> Option<Bounds> {
    let domain = recipient.domain()?;
    // Nearly every sender is too short, as each letter of the address and what separates its parts has to stand in it.
    let letters = |text: &str| if text.is_ascii() { text.len() } else { text.chars().count() };
    if local.len() <= letters(recipient.local()) + letters(domain) {
        return None;
    }
    // Hardly any other has its recipient's domain in it: one look at its first word tells.
    let first = words(domain).next()?;
    if recipient.local().is_empty() || !contains_ignoring_case(local, &domain[first.start..first.end]) {
        return None;
    }
    words(local).map(|word| word.start).find_map(|start| {
        let end = spelled(&local[start..], recipient.local(), domain)
            .or_else(|| spelled(&local[start..], domain, recipient.local()))?;
        Some(Bounds { start, end: start + end })
    })
}

/// Where `one`, a separator and `other` end, when `text` begins with them, and a word ends there.
fn spelled(text: &str, one: &str, other: &str) -> Option<usize> {
    let first = same_words(text, one)?;
    let rest = &text[first..];
    let separator = rest.find(char::is_alphanumeric).filter(|length| (1..=4).contains(length))?;
    let mut begin = first + separator;
    // `joe_at_example.org`
    if let Some(behind) = same_words(&text[begin..], "at") {
        let separator = text[begin + behind..].find(char::is_alphanumeric).unwrap_or(0);
        if separator > 0 && same_words(&text[begin + behind + separator..], other).is_some() {
            begin += behind + separator;
        }
    }
    let end = begin + same_words(&text[begin..], other)?;
    (!text[end..].starts_with(char::is_alphanumeric)).then_some(end)
}

/// How much of the beginning of `text` says `wanted`, in whatever case and with whatever single separators.
fn same_words(text: &str, wanted: &str) -> Option<usize> {
    let mut found = text.char_indices();
    let mut end = 0;
    for wanted in wanted.chars() {
        let (at, c) = found.next()?;
        let same = c.to_lowercase().eq(wanted.to_lowercase());
        if !same && (c.is_alphanumeric() || wanted.is_alphanumeric()) {
            return None;
        }
        end = at + c.len_utf8();
    }
    Some(end)
}

/// The local part without a recipient in it whom we do not know, as the mail was forwarded to us: `list-joe=example.org` is from
/// `list-#`. The domain is certain; of the local part, only the last word is.
pub(super) fn without_embedded_domain(local: &str) -> Cow<'_, str> {
    for (equals, _) in local.match_indices('=').filter(|(at, _)| *at > 0) {
        let right = local[equals..].trim_start_matches('=');
        let length =
            right.find(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(right.len());
        // A token behind the domain is mostly set off by a hyphen, which a domain may have too.
        let domain = &right[..length];
        let (domain, _) = match domain.rfind('.').and_then(|dot| domain[dot..].find('-').map(|at| dot + at)) {
            Some(hyphen) => domain.split_at(hyphen),
            None => (domain, ""),
        };
        if !is_domain(domain) {
            continue;
        }
        let left = local[..equals].trim_end_matches('=');
        let kept = left
            .rfind(|c: char| !c.is_alphanumeric() && c != '.')
            .map_or(0, |at| at + separator_length(left, at));
        let behind = &right[domain.len()..];
        return Cow::Owned(format!("{}#{behind}", &left[..kept]));
    }
    Cow::Borrowed(local)
}

fn separator_length(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

fn is_domain(text: &str) -> bool {
    let Some((_, top)) = text.rsplit_once('.') else { return false };
    top.len() >= 2
        && top.bytes().all(|byte| byte.is_ascii_alphabetic())
        && text.split('.').all(|label| !label.is_empty())
}

fn is_token(word: &str, is_automatic: bool, is_one_word: bool) -> bool {
    if !word.is_ascii() {
        return false;
    }
    let (len, changes) = (word.len(), changes(word));
    // Runs of one kind are short in what is random; words and names have longer ones.
    let is_random = changes >= 3 && (changes + 1) * 7 >= len * 2;
    match (is_automatic, is_one_word) {
        (true, _) if is_number(word) => true,
        (true, _) => {
            let is_short_name = len < 10 && is_name_with_number(word);
            (len >= 6 && is_hex(word) && !is_short_name)
                || (len >= 8 && is_random)
                || (len >= 24 && changes > 0)
                || is_unspeakable(word)
        }
        // A mailbox may be a number, and a short name anything.
        (false, true) => len >= 24 && (is_hex(word) || is_random),
        (false, false) if is_number(word) => len >= 10,
        (false, false) => len >= 16 && (is_hex(word) || is_random) || is_unspeakable(word),
    }
}

/// Hexadecimal, with digits and letters.
fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
        && word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Letters, then a number: `dec24`, `abc123`.
fn is_name_with_number(word: &str) -> bool {
    let number = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    number.len() < word.len() && is_number(number)
}

/// Long, all letters, and next to no vowels.
fn is_unspeakable(word: &str) -> bool {
    let vowels = word.bytes().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    word.len() >= UNSPEAKABLE
        && vowels * 6 < word.len()
        && word.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// How often upper case, lower case and digits change into each other; a capital begins a word and is no change.
fn changes(word: &str) -> usize {
    let kind = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    let is_change = |one: u8, next: u8| {
        kind(one) != kind(next) && !(one.is_ascii_uppercase() && next.is_ascii_lowercase())
    };
    word.as_bytes().windows(2).filter(|pair| matches!(pair, [one, next] if is_change(*one, *next))).count()
}

fn push_without_numbers(out: &mut String, word: &str) {
    for c in word.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.extend(c.to_lowercase()),
        }
    }
}

/// Several `#` with only separators between them are one; so is what base 64 ends with.
fn collapse(masked: &str) -> String {
    let mut parts = masked.split('#');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if !out.ends_with('#') {
            out.push('#');
        }
        let is_last = parts.peek().is_none();
        if is_last {
            out.push_str(part.trim_start_matches('='));
        } else if part.contains(char::is_alphanumeric) {
            out.push_str(part);
        }
    }
    out
}

fn texts(text: &str) -> impl Iterator<Item = &str> {
    words(text).map(|word| &text[word.start..word.end])
}

fn words(text: &str) -> impl Iterator<Item = Bounds> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(char::is_alphanumeric)?;
        let end =
            text[start..].find(|c: char| !c.is_alphanumeric()).map_or(text.len(), |length| start + length);
        from = end;
        Some(Bounds { start, end })
    })
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// The registrable domain at the end of `domain`; all of it where there is none, as in an address literal.
pub(super) fn registrable(domain: &str) -> &str {
    if domain.starts_with('[') {
        return domain;
    }
    generic::registrable(domain).filter(|registrable| domain.ends_with(registrable)).unwrap_or(domain)
}

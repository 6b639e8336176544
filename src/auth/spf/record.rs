//! Reading an SPF record, strictly.
//!
//! RFC 7208 §4.6 makes a syntax error anywhere in a record a permanent error, before anything is looked up. mail-auth reads
//! leniently (`ip4:192.0.2.300` is an address to it, `moo -all` a modifier), so the text is held against the grammar of
//! RFC 7208 §12 first, and what remains of it handed over.

use std::net::{Ipv4Addr, Ipv6Addr};

use mail_auth::dns::TxtRecordParser;
use mail_auth::spf::SpfRecord;

use crate::dns::Record;

const VERSION: &[u8] = b"v=spf1";

/// Why there is no record to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// None of the texts is an SPF record.
    Missing,
    /// More than one is (RFC 7208 §4.5), or the one breaks the grammar.
    Malformed,
}

/// Reads the one SPF record among the TXT records of a domain.
pub(super) fn read(records: &[Record]) -> Result<SpfRecord, NoRecord> {
    let mut texts = records.iter().filter_map(terms_of_spf_record);
    let text = texts.next().ok_or(NoRecord::Missing)?;
    if texts.next().is_some() {
        return Err(NoRecord::Malformed);
    }
    let text = str::from_utf8(text).map_err(|_| NoRecord::Malformed)?;
    let known = known_terms(text).ok_or(NoRecord::Malformed)?;
    SpfRecord::parse(format!("v=spf1 {}", known.join(" ")).as_bytes()).map_err(|_| NoRecord::Malformed)
}

/// What follows the version, where it is the version of SPF and ends there: `v=spf10` is something else.
fn terms_of_spf_record(record: &Record) -> Option<&[u8]> {
    let Record::Txt(text) = record else { return None };
    let (version, rest) = text.split_at_checked(VERSION.len())?;
    (version.eq_ignore_ascii_case(VERSION) && matches!(rest.first(), None | Some(b' '))).then_some(rest)
}

/// The directives and the modifiers `redirect` and `exp`; unknown modifiers are left out. `None` for any breach of the grammar.
fn known_terms(text: &str) -> Option<Vec<&str>> {
    let (mut redirects, mut explanations) = (0, 0);
    let mut known = Vec::new();
    for term in text.split(' ').filter(|term| !term.is_empty()) {
        match term.split_once([':', '/', '=']) {
            Some((name, value)) if term.as_bytes()[name.len()] == b'=' => {
                match name.to_ascii_lowercase().as_str() {
                    "redirect" => redirects += 1,
                    "exp" => explanations += 1,
                    _ if is_modifier_name(name) && macro_string(value).is_some() => continue,
                    _ => return None,
                }
                is_domain_spec(value).then_some(())?;
            }
            _ => is_directive(term).then_some(())?,
        }
        known.push(term);
    }
    (redirects <= 1 && explanations <= 1).then_some(known)
}

fn is_modifier_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_directive(term: &str) -> bool {
    let mechanism = term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term);
    let name = mechanism.find([':', '/']).map_or(mechanism, |at| &mechanism[..at]);
    let arguments = &mechanism[name.len()..];
    let value = arguments.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" => arguments.is_empty(),
        "include" | "exists" => value.is_some_and(is_domain_spec),
        "ptr" => arguments.is_empty() || value.is_some_and(is_domain_spec),
        "a" | "mx" => {
            let (target, lengths) = arguments.split_at(prefix_lengths_start(arguments));
            let target_fits = target.is_empty() || target.strip_prefix(':').is_some_and(is_domain_spec);
            target_fits && are_prefix_lengths(lengths)
        }
        "ip4" => value.is_some_and(|value| is_network::<Ipv4Addr>(value, 32)),
        "ip6" => value.is_some_and(|value| is_network::<Ipv6Addr>(value, 128)),
        _ => false,
    }
}

/// Where `/24//64` begins: at the first slash that is no delimiter inside a macro.
fn prefix_lengths_start(arguments: &str) -> usize {
    let mut in_macro = false;
    let start = arguments.bytes().position(|byte| {
        in_macro = byte == b'{' || (in_macro && byte != b'}');
        byte == b'/' && !in_macro
    });
    start.unwrap_or(arguments.len())
}

/// `dual-cidr-length`: nothing, `/n`, `//n` or `/n//n`.
fn are_prefix_lengths(text: &str) -> bool {
    let (v4, v6) = match text.split_once("//") {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (text, None),
    };
    let v4_fits = v4.is_empty() || v4.strip_prefix('/').is_some_and(|length| is_prefix_length(length, 32));
    v4_fits && v6.is_none_or(|length| is_prefix_length(length, 128))
}

fn is_network<A: std::str::FromStr>(text: &str, max: u8) -> bool {
    match text.split_once('/') {
        Some((address, length)) => address.parse::<A>().is_ok() && is_prefix_length(length, max),
        None => text.parse::<A>().is_ok(),
    }
}

fn is_prefix_length(text: &str, max: u8) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain && text.parse::<u8>().is_ok_and(|length| length <= max)
}

/// `domain-spec`: a macro string that ends in a macro, or in a top label after a dot.
fn is_domain_spec(text: &str) -> bool {
    match macro_string(text) {
        Some(End::Macro) => true,
        Some(End::Literal) => {
            let name = text.strip_suffix('.').unwrap_or(text);
            name.rsplit_once('.').is_some_and(|(_, label)| is_top_label(label))
        }
        None => false,
    }
}

/// `toplabel`: a label of letters, digits and inner hyphens that is not all digits.
fn is_top_label(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().any(|byte| !byte.is_ascii_digit())
}

/// What a macro string ends in.
#[derive(Clone, Copy)]
enum End {
    Literal,
    Macro,
}

/// `macro-string`, which may be empty; `None` where it is none.
fn macro_string(text: &str) -> Option<End> {
    let mut end = End::Literal;
    let mut rest = text;
    while let Some(byte) = rest.bytes().next() {
        let length = match byte {
            b'%' => macro_length(rest)?,
            byte if byte.is_ascii_graphic() => 1,
            _ => return None,
        };
        end = if byte == b'%' { End::Macro } else { End::Literal };
        rest = &rest[length..];
    }
    Some(end)
}

/// Length of the macro that `text` begins with: `%%`, `%_`, `%-` or `%{letter [number] [r] [delimiters]}`. The letters `c`, `r`
/// and `t` belong to explanations (RFC 7208 §7.2).
fn macro_length(text: &str) -> Option<usize> {
    if matches!(text.as_bytes().get(1)?, b'%' | b'_' | b'-') {
        return Some(2);
    }
    let (inside, _) = text.strip_prefix("%{")?.split_once('}')?;
    let transformers = inside.strip_prefix(|c: char| "sloidpvh".contains(c.to_ascii_lowercase()))?;
    let delimiters = transformers.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &transformers[..transformers.len() - delimiters.len()];
    let number_fits = number.is_empty() || number.bytes().any(|digit| digit != b'0');
    let delimiters = delimiters.strip_prefix(['r', 'R']).unwrap_or(delimiters);
    let delimiters_fit = delimiters.chars().all(|c| ".-+,/_=".contains(c));
    (number_fits && delimiters_fit).then_some("%{}".len() + inside.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Option<Vec<&str>> {
        known_terms(text)
    }

    #[test]
    fn known_terms_are_kept_and_unknown_modifiers_left_out() {
        let text = " +A:%{d}/24//64  mx/8 MX:m.test//0 ptr ptr:p.test. ip4:192.0.2.0/24 -ip6:::1/128 moo= a=b x.y_z-1=%{s} \
                    exists:%{ir}.%{v}._spf.%{d2} ?include:_s.test redirect=%{o1r+-} exp=e%%.test ~aLL";
        let expected = "+A:%{d}/24//64 mx/8 MX:m.test//0 ptr ptr:p.test. ip4:192.0.2.0/24 -ip6:::1/128 \
                        exists:%{ir}.%{v}._spf.%{d2} ?include:_s.test redirect=%{o1r+-} exp=e%%.test ~aLL";
        assert_eq!(terms(text).map(|known| known.join(" ")).as_deref(), Some(expected));
        assert_eq!(terms(""), Some(vec![]));
    }

    #[test]
    fn every_breach_of_the_grammar_is_found() {
        for term in [
            "moo",
            "+-all",
            "all:x.test",
            "all/8",
            "-",
            "a:",
            "a:/24",
            "a:localhost",
            "a:x.12",
            "a:x.-t",
            "a:x.t-",
            "a:x.test/",
            "a:x.test/33",
            "a:x.test/08",
            "a:x.test//129",
            "a:x.test/24/64",
            "a:x.test/24///64",
            "mx:x..",
            "include",
            "include:",
            "include:x.test/24",
            "exists",
            "exists:%{d",
            "exists:%{x}.test",
            "exists:%{c}.test",
            "exists:%{d0}.test",
            "exists:%{dx}.test",
            "exists:%{d2-r}.test",
            "exists:%x.test",
            "exists:x%",
            "ptr:",
            "ptr/0",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.300",
            "ip4:1.2.3.04",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4//8",
            "ip4:::1",
            "ip4=1.2.3.4/\u{e9}",
            "ip6:1.2.3.4",
            "ip6:::1/129",
            "ip6:1:2",
            "redirect=",
            "redirect=x",
            "exp=",
            "1x=y",
            "=y",
            "x=%q",
            "redirect=a.test redirect=b.test",
            "exp=a.test exp=b.test",
            "\tall",
            "\u{e9}",
        ] {
            assert_eq!(terms(term), None, "{term}");
        }
    }

    #[test]
    fn the_record_is_picked_by_its_version() {
        let read = |texts: &[&str]| {
            let records: Vec<Record> =
                texts.iter().map(|text| Record::Txt(text.as_bytes().to_vec())).collect();
            super::read(&records).map(|record| record.directives.len())
        };
        assert_eq!(read(&["x", "v=spf10 all", "V=Spf1 a mx", "v=spf2.0/pra all", " v=spf1 all"]), Ok(2));
        assert_eq!(read(&["v=spf1"]), Ok(0));
        assert_eq!(read(&["v=spf", "v=spf1\tall", ""]), Err(NoRecord::Missing));
        assert_eq!(read(&["v=spf1 all", "v=spf1 -all"]), Err(NoRecord::Malformed));
    }
}

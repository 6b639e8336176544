//! Taking off what forwarders and bounce protection wrap around a sender.

use std::borrow::Cow;

use crate::facts::host_name;

/// Wrappings of wrappings that are taken off; honest ones have two.
const MAX_DEPTH: usize = 4;

type Parts<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// The sender as it was before forwarders rewrote it, as far as that can be read.
pub(super) fn unwrap<'a>(local: &'a str, domain: Option<&'a str>) -> Parts<'a> {
    let mut parts: Parts<'a> = (Cow::Borrowed(local), domain.map(Cow::Borrowed));
    for _ in 0..MAX_DEPTH {
        let local = parts.0.as_ref();
        if let Some((local, domain)) = original(local) {
            parts = (Cow::Owned(local.to_owned()), Some(Cow::Owned(domain)));
        } else if let Some(inner) = without_tag(local) {
            parts.0 = Cow::Owned(inner.to_owned());
        } else {
            break;
        }
    }
    parts
}

/// Local part and domain of the address that a forwarder rewrote.
fn original(local: &str) -> Option<(&str, String)> {
    let (domain, local) = match first_srs(local) {
        Some(rest) => timestamped(rest)?,
        None => match second_srs(local) {
            // `SRS1=hash=forwarder==hash=tt=domain=local`; what follows the forwarder's name is the first one's rewriting.
            Some(rest) => {
                let (_hash, rest) = rest.split_once('=')?;
                let (_forwarder, rest) = rest.split_once('=')?;
                timestamped(rest.strip_prefix(['=', '-', '+']).unwrap_or(rest))?
            }
            None => {
                // Exchange Online: `mailbox+SRS=hash=tt=domain=local`.
                let at = find_ignoring_case(local, "+srs=").filter(|at| *at > 0)?;
                timestamped(&local[at + "+srs=".len()..])?
            }
        },
    };
    let domain = host_name(domain).filter(|domain| is_domain(domain))?;
    (!local.is_empty()).then_some((local, domain))
}

fn first_srs(local: &str) -> Option<&str> {
    strip_prefix_ignoring_case(local, "srs0")?.strip_prefix(['=', '-', '+'])
}

fn second_srs(local: &str) -> Option<&str> {
    strip_prefix_ignoring_case(local, "srs1")?.strip_prefix(['=', '-', '+'])
}

/// Domain and local part of `hash=tt=domain=local`. The local part may have a `=` of its own.
fn timestamped(text: &str) -> Option<(&str, &str)> {
    let (_hash, rest) = text.split_once('=')?;
    let (_timestamp, rest) = rest.split_once('=')?;
    rest.split_once('=')
}

/// The local part without the tag of bounce protection: `prvs=tag=local` (draft-levine-smtp-batv), `prvs=local=tag` as some write
/// it, `btv1==tag==local` (Barracuda), `msprvs1=tag=local` (SparkPost).
fn without_tag(local: &str) -> Option<&str> {
    if let Some(rest) = strip_prefix_ignoring_case(local, "btv1==") {
        return rest.split_once("==").map(|(_, local)| local).filter(|local| !local.is_empty());
    }
    if let Some(rest) = strip_prefix_ignoring_case(local, "msprvs1=") {
        return rest.split_once('=').map(|(_, local)| local).filter(|local| !local.is_empty());
    }
    let rest = strip_prefix_ignoring_case(local, "prvs=")?;
    let (first, behind_first) = rest.split_once('=')?;
    let (before_last, last) = rest.rsplit_once('=')?;
    let inner = if !is_tag(first) && is_tag(last) { before_last } else { behind_first };
    (!inner.is_empty()).then_some(inner)
}

/// A key number, the day of expiry and a hash, all of them hexadecimal digits: ten by the draft, a few more with some.
fn is_tag(text: &str) -> bool {
    (8..=16).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_domain(text: &str) -> bool {
    text.contains('.') && text.split('.').all(|label| !label.is_empty() && label.bytes().all(is_label_byte))
}

const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Where `needle`, which is ASCII, begins in `text`.
fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    let windows = text.as_bytes().windows(needle.len());
    windows.into_iter().position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_wrapping_stays() {
        for local in [
            "",
            "srs0",
            "srs0=",
            "srs0=a",
            "srs0=a=b=c",
            "srs0=a=b==joe",
            "srs0=a=b=no-domain=joe",
            "srs0=a=b=x.test=",
            "srs0=a=b=x..test=joe",
            "srs1=a=fwd.test",
            "srs1=a=fwd.test==h=t",
            "+srs=a=b=x.test=joe",
            "prvs=",
            "prvs=1234567890",
            "prvs=1234567890=",
            "btv1==1234567890",
            "msprvs1=a=",
            "srs\u{e9}=a=b=x.test=joe",
            "sr\u{e9}",
        ] {
            let parts = unwrap(local, Some("d.test"));
            assert_eq!((parts.0.as_ref(), parts.1.as_deref()), (local, Some("d.test")), "{local}");
        }
    }

    #[test]
    fn endless_wrappings_end() {
        let local = "srs0=a=b=x.test=".repeat(30) + "joe";
        let (inner, domain) = unwrap(&local, Some("d.test"));
        assert_eq!(domain.as_deref(), Some("x.test"));
        assert_eq!(inner.len(), local.len() - MAX_DEPTH * "srs0=a=b=x.test=".len());
    }
}

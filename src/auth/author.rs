//! Who wrote a message: the domains in From (RFC 5322 §3.6.2).

use mail_auth::AuthenticatedMessage;

use super::spf::{MAX_NAME, is_name};
use crate::facts::host_name;

/// How many domains of authors are asked for a policy: senders choose how many they name (RFC 9989 §11.6).
const MAX_AUTHORS: usize = 4;

/// The domains of all From addresses, each once, in their order. A mailbox without one names nobody, and does not hide the others.
pub(super) fn author_domains(message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let fields = from_fields(message);
    let plainly = fields.as_deref().map(AuthenticatedMessage::parse);
    let addresses = match &plainly {
        None => message.from_addresses(),
        Some(read) => read.as_ref().map_or(&[][..], AuthenticatedMessage::from_addresses),
    };
    let mut domains = Vec::new();
    for address in addresses {
        // White space may stand on both sides of a dot.
        let domain =
            address.rsplit_once('@').map(|(_, domain)| domain.split_whitespace().collect::<String>());
        let domain = domain.and_then(|domain| domain_name(&domain));
        if let Some(domain) = domain.filter(|domain| is_host(domain) && !domains.contains(domain)) {
            domains.push(domain);
        }
        if domains.len() == MAX_AUTHORS {
            break;
        }
    }
    domains
}

/// A message of the From fields alone, as all read them; `None` where there is one, and nothing in it to read in another way.
fn from_fields(message: &AuthenticatedMessage<'_>) -> Option<Vec<u8>> {
    let is_from = |(name, _): &(&[u8], &[u8])| name.trim_ascii().eq_ignore_ascii_case(b"from");
    let mut values = message.headers().iter().copied().filter(is_from).map(|(_, value)| value);
    let (first, second) = (values.next()?, values.next());
    let is_usual = message.headers().iter().any(|(name, _)| name.eq_ignore_ascii_case(b"from"));
    if is_usual && second.is_none() && !first.trim_ascii_end().iter().any(|byte| b"(\"\r\n".contains(byte)) {
        return None;
    }
    let mut fields = Vec::new();
    for value in [first].into_iter().chain(second).chain(values) {
        fields.extend_from_slice(b"From:");
        fields.extend(plain(value));
        fields.extend_from_slice(b"\r\n");
    }
    Some(fields)
}

/// The domain in `text` as the DNS writes it. The sender chooses how long the text is, so that is looked at first; no character of
/// it takes more than four bytes, and the DNS has at least one for each.
pub(super) fn domain_name(text: &str) -> Option<String> {
    let fits = text.len() <= 4 * MAX_NAME;
    fits.then(|| host_name(text)).flatten().filter(|name| is_name(name))
}

/// The value of a field without comments and the line ends that white space may have in it (RFC 5322 §3.2.2), which part addresses
/// for mail-auth. What opens and is never closed hides nothing.
fn plain(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut all_closed = true;
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let length = matches!(byte, b'(' | b'"').then(|| all_closed.then(|| length_of(rest)).flatten());
        rest = match (byte, length) {
            (_, Some(None)) => {
                all_closed = false;
                after
            }
            (b'(', Some(Some(length))) => &rest[length..],
            (_, Some(Some(length))) => {
                plain.extend(rest[..length].iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
                &rest[length..]
            }
            (b'\r' | b'\n', None) => after,
            (_, None) => {
                plain.push(*byte);
                after
            }
        };
    }
    plain
}

/// How long the comment or quoted string is that `text` begins with, if it has an end. Comments nest.
fn length_of(text: &[u8]) -> Option<usize> {
    let (open, close) = if text.starts_with(b"(") { (b'(', b')') } else { (b'"', b'"') };
    let mut depth = 0_usize;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match *byte {
            b'\\' => drop(bytes.next()),
            byte if byte == close && depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            byte if byte == open => depth += 1,
            _ => {}
        }
    }
    None
}

/// Whether everyone reads the name as one domain, mail-auth among them.
fn is_host(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_line_ends_are_left_out() {
        for (value, expected) in [
            ("a@bank.test", "a@bank.test"),
            ("a@(x)bank(a(b)c).\r\n test", "a@bank. test"),
            ("a@(\\)x)bank.test", "a@bank.test"),
            ("\"(\\\"x\r\n\" (y) <a@bank.test>", "\"(\\\"x\"  <a@bank.test>"),
            ("x :-( y (z) <a@bank.test>", "x :- y z) <a@bank.test>"),
            ("\"x <a@bank.test>", "x <a@bank.test>"),
            ("x) <a@bank.test>", "x) <a@bank.test>"),
        ] {
            assert_eq!(String::from_utf8(plain(value.as_bytes())).unwrap(), expected, "{value}");
        }
        // Each on its own would take minutes if it were searched for its end.
        assert_eq!(plain(&b"(\"".repeat(1 << 20)), b"");
    }

    #[test]
    fn each_domain_of_an_author_is_found_once_and_not_too_many() {
        for (from, domains) in [
            ("joe", &[][..]),
            ("@, a@[192.0.2.1], a@b!c.test", &[]),
            ("a@x.test, b@X.test., c@b\u{fc}cher.test", &["x.test", "xn--bcher-kva.test"]),
            ("a@1.test, a@2.test, a@3.test, a@4.test, a@5.test", &["1.test", "2.test", "3.test", "4.test"]),
        ] {
            let message = format!("From: {from}\r\n\r\n");
            let message = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
            assert_eq!(author_domains(&message), domains, "{from}");
        }
    }
}

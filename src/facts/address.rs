//! Envelope addresses, as RFC 5321 §4.1.2 writes them and as MTAs pass them on.

use memchr::memrchr;

/// How much is kept of a local part, of a domain and of a path, in bytes (RFC 5321 §4.5.3.1 allows 64, 255 and 256). Longer ones are
/// cut, not refused, and only when they were taken apart: an MTA reads all of them.
const MAX_KEPT: usize = 1024;

/// A mailbox: local part and domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    local: String,
    domain: Option<String>,
}

impl Address {
    /// Reads `local@domain`, with or without angle brackets and source route, quoted or not. Never fails: what has no `@` is a
    /// bare local part, as MTAs accept it.
    pub fn parse(text: &str) -> Self {
        let mut address = Self::default();
        address.assign(text);
        address
    }

    /// Becomes the address that [`Self::parse`] reads, in the memory it has.
    pub fn assign(&mut self, text: &str) {
        self.assign_bare(bare(text));
    }

    /// As [`Self::assign`], of what [`bare`] left.
    fn assign_bare(&mut self, text: &str) {
        // RFC 5321 §4.1.1.3: a source route `@a,@b:` is stripped.
        let text = match text.as_bytes() {
            [b'@', ..] => text.split_once(':').map_or(text, |(_, address)| address),
            _ => text,
        };
        let (local, domain) = split(text);
        assign_host_name(&mut self.domain, domain);
        self.local.clear();
        unquote(local, &mut self.local);
        self.bound();
    }

    /// Cuts parts that are too long. They are made anew, so that the memory of what is cut is not kept either.
    fn bound(&mut self) {
        if self.local.len() > MAX_KEPT {
            self.local = cut(&self.local, MAX_KEPT).to_owned();
        }
        // Of a domain its end says whose it is.
        if let Some(domain) = self.domain.as_mut().filter(|domain| domain.len() > MAX_KEPT) {
            *domain = domain[domain.ceil_char_boundary(domain.len() - MAX_KEPT)..].to_owned();
        }
    }

    /// Becomes the address with this internal form, in the memory it has: Postfix took quotes, brackets and routes off already, and
    /// what looks like them is part of the local part.
    fn assign_internal(&mut self, text: &str) {
        let at = memrchr(b'@', text.as_bytes());
        let (local, domain) =
            at.map_or_else(|| split_without_at_sign(text), |at| (&text[..at], &text[at + 1..]));
        assign_host_name(&mut self.domain, domain);
        self.local.clear();
        self.local.push_str(local);
        self.bound();
    }

    /// The local part, unquoted, in the sender's own case.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain in lower case without a final dot; `None` for a bare local part.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The whole address in lower case, as keys of stores and lists use it.
    pub fn key(&self) -> String {
        match &self.domain {
            Some(domain) => format!("{}@{domain}", self.local.to_lowercase()),
            None => self.local.to_lowercase(),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.domain {
            Some(domain) => write!(f, "{}@{domain}", self.local),
            None => f.write_str(&self.local),
        }
    }
}

/// The reverse-path of MAIL FROM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a bounce or another automatic notice.
    Null,
    /// A mailbox.
    Address(Address),
}

impl ReversePath {
    /// Reads the argument of MAIL FROM.
    pub fn parse(text: &str) -> Self {
        match trim(text) {
            "" | "<>" => Self::Null,
            text => Self::Address(Address::parse(text)),
        }
    }

    /// Becomes the path that [`Self::parse`] reads, in the memory it has.
    pub fn assign(&mut self, text: &str) {
        match (&mut *self, trim(text)) {
            (_, "" | "<>") => *self = Self::Null,
            (Self::Address(address), text) => address.assign(text),
            (Self::Null, text) => *self = Self::Address(Address::parse(text)),
        }
    }

    /// Becomes the path with this internal form, as the `sender` attribute of the policy protocol has it, in the memory it has.
    pub fn assign_internal(&mut self, text: &str) {
        if text.is_empty() {
            *self = Self::Null;
            return;
        }
        if let Self::Null = self {
            *self = Self::Address(Address::default());
        }
        if let Self::Address(address) = self {
            address.assign_internal(text);
        }
    }

    /// The mailbox, unless null.
    pub const fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }

    /// The address in lower case, empty for the null reverse-path.
    pub fn key(&self) -> String {
        self.address().map_or_else(String::new, Address::key)
    }
}

impl std::fmt::Display for ReversePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The forward-path of one RCPT TO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recipient {
    raw: String,
    address: Address,
}

impl Recipient {
    /// Reads the argument of RCPT TO.
    pub fn parse(text: &str) -> Self {
        let mut recipient = Self::default();
        recipient.assign(text);
        recipient
    }

    /// Becomes the recipient that [`Self::parse`] reads, in the memory it has.
    pub fn assign(&mut self, text: &str) {
        let text = bare(text);
        self.raw.clear();
        self.raw.push_str(cut(text, MAX_KEPT));
        self.address.assign_bare(text);
    }

    /// Becomes the recipient with this internal form, as the `recipient` attribute of the policy protocol has it, in the memory it has.
    pub fn assign_internal(&mut self, text: &str) {
        self.raw.clear();
        self.raw.push_str(cut(text, MAX_KEPT));
        self.address.assign_internal(text);
    }

    /// The path as the client wrote it, without angle brackets; of one that is no plain address, the mailbox that was found in it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The mailbox.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the local part is `postmaster` or `abuse` (RFC 5321 §4.5.1, RFC 2142 §4), which must stay reachable.
    pub fn is_role(&self) -> bool {
        ["postmaster", "abuse"].iter().any(|role| self.address.local.eq_ignore_ascii_case(role))
    }
}

/// A host or domain name in the form keys and lists use: lower case, no final dot; internationalised names as A-labels where
/// IDNA 2008 can write them, else as they stand. `None` when empty.
pub fn host_name(text: &str) -> Option<String> {
    let mut name = None;
    assign_host_name(&mut name, text);
    name
}

/// Makes `name` what [`host_name`] reads, in the memory it has.
pub(crate) fn assign_host_name(name: &mut Option<String>, text: &str) {
    let text = trim(text);
    let text = if let [.., b'.'] = text.as_bytes() { &text[..text.len() - 1] } else { text };
    if text.is_empty() {
        *name = None;
    } else if text.is_ascii() {
        let name = name.get_or_insert_default();
        name.clear();
        name.push_str(text);
        name.make_ascii_lowercase();
    } else {
        let ascii = idna::domain_to_ascii(text).unwrap_or_else(|_| text.to_lowercase());
        // A name of characters that IDNA leaves out is none.
        *name = Some(ascii).filter(|name| !name.is_empty());
    }
}

/// Local part and domain: at the last `@`, unless that is quoted.
fn split(text: &str) -> (&str, &str) {
    let at = match text.as_bytes() {
        [b'"', .., b'"'] => None,
        text => memrchr(b'@', text),
    };
    at.map_or_else(|| split_without_at_sign(text), |at| (&text[..at], &text[at + 1..]))
}

/// Local part and domain where there is no `@`: MTAs still deliver `domain!local` as UUCP wrote it, and `local%domain` (RFC 1123
/// §5.2.16), to that domain.
fn split_without_at_sign(text: &str) -> (&str, &str) {
    if text.starts_with('"') {
        return (text, "");
    }
    let uucp = text.split_once('!').map(|(domain, local)| (local, domain));
    uucp.or_else(|| text.rsplit_once('%')).unwrap_or((text, ""))
}

/// Whether every reader makes the same address of a path: characters of RFC 5321 §4.1.2 and one `@` at most, but no `%` and `!`, which
/// MTAs take for one.
pub(crate) fn is_plain(path: &str) -> bool {
    let mut at_signs = 0;
    bare(path).bytes().enumerate().all(|(at, byte)| match byte {
        b'@' => {
            at_signs += 1;
            at_signs == 1 && at > 0
        }
        b'.' | b'#' | b'$' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' => true,
        b'^' | b'_' | b'`' | b'{' | b'|' | b'}' | b'~' => true,
        _ => byte.is_ascii_alphanumeric() || !byte.is_ascii(),
    })
}

/// The mailbox name of a local part: what stands before a `+`, unless that comes first. Keys of the greylist are made of it.
pub(crate) fn without_extension(local: &str) -> &str {
    match local.bytes().position(|byte| byte == b'+') {
        None | Some(0) => local,
        Some(plus) => &local[..plus],
    }
}

fn unquote(local: &str, out: &mut String) {
    let [b'"', .., b'"'] = local.as_bytes() else { return out.push_str(local) };
    let mut chars = local[1..local.len() - 1].chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
}

/// An address as it was written, without angle brackets.
fn bare(text: &str) -> &str {
    let text = trim(text);
    let text = if let [b'<', ..] = text.as_bytes() { &text[1..] } else { text };
    if let [.., b'>'] = text.as_bytes() { &text[..text.len() - 1] } else { text }
}

fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max { text } else { &text[..text.floor_char_boundary(max)] }
}

/// `text.trim()`, for texts that nearly always need none.
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_spelling() {
        for (text, local, domain) in [
            ("<bob@Example.TEST>", "bob", Some("example.test")),
            ("bob@example.test.", "bob", Some("example.test")),
            ("<@relay.test,@other:bob@dom.test>", "bob", Some("dom.test")),
            ("<\"q u\"@dom.test>", "q u", Some("dom.test")),
            ("<\"a\\\"b@c\"@dom.test>", "a\"b@c", Some("dom.test")),
            ("bob", "bob", None),
            ("<Bob>", "Bob", None),
            ("x@b\u{fc}cher.test", "x", Some("xn--bcher-kva.test")),
            ("a@b@c.test", "a@b", Some("c.test")),
            ("", "", None),
            ("<", "", None),
            ("@", "", None),
            ("x@\u{ad}", "x", None),
            ("<bob%school.test>", "bob", Some("school.test")),
            ("<a%b%School.test.>", "a%b", Some("school.test")),
            ("<school.test!bob>", "bob", Some("school.test")),
            ("<a.test!b.test!bob%c>", "b.test!bob%c", Some("a.test")),
            ("\"bob%school.test\"", "bob%school.test", None),
            ("\"bob@school.test\"", "bob@school.test", None),
            ("bob%b.test@a.test", "bob%b.test", Some("a.test")),
            ("100%", "100", None),
        ] {
            let address = Address::parse(text);
            assert_eq!((address.local(), address.domain()), (local, domain), "{text}");
        }
    }

    #[test]
    fn a_path_is_plain_where_all_read_it_alike() {
        for path in [
            "",
            "<>",
            "bob",
            "<bob@school.test>",
            "<SRS0=a=b=c.test=joe+x@d.test>",
            "<j\u{f6}rg@\u{fc}.test>",
        ] {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "postmaster@<bob%school.test>",
            "<bob@school.test(c@evil.test>",
            "<bob@(y)school.test>",
            "<bob@school\\.test>",
            "<bob%school.test>",
            "<school.test!bob>",
            "<bob @school.test>",
            "<\"bob\"@school.test>",
            "<@a.test:bob@b.test>",
            "<a@b@c.test>",
            "<;>",
            "<bob@[192.0.2.1]>",
            &format!("postmaster@{}<bob@x.test>", "a".repeat(1100)),
            &format!("<postmaster@{}<bob@x.test>>", "a".repeat(1100)),
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn the_null_reverse_path_is_no_address() {
        assert_eq!(ReversePath::parse("<>"), ReversePath::Null);
        assert_eq!(ReversePath::parse(""), ReversePath::Null);
        assert_eq!(ReversePath::parse("<A@B.test>").key(), "a@b.test");
    }

    #[test]
    fn postmaster_and_abuse_are_roles_at_any_domain() {
        assert!(Recipient::parse("<PostMaster@x.test>").is_role());
        assert!(Recipient::parse("<postmaster>").is_role());
        assert!(Recipient::parse("abuse@x.test").is_role());
        assert!(!Recipient::parse("<postmaster2@x.test>").is_role());
    }

    #[test]
    fn the_recipient_keeps_what_the_client_wrote() {
        let recipient = Recipient::parse("<Bob.X@Example.Test>");
        assert_eq!(recipient.raw(), "Bob.X@Example.Test");
        assert_eq!(recipient.address().key(), "bob.x@example.test");
    }

    #[test]
    fn overlong_addresses_are_taken_apart_before_they_are_cut() {
        let long = "a".repeat(1100);
        let address = Address::parse(&format!("<bob+{long}@x.test>"));
        assert_eq!((address.local(), address.domain()), (&*format!("bob+{}", &long[..1020]), Some("x.test")));
        let address = Address::parse(&format!("{}@attacker.test<ceo@bank.test>", "x".repeat(1010)));
        assert_eq!(address.domain(), Some("bank.test"));
        let address = Address::parse(&format!("<@{long}:bob@{long}.x.test>"));
        assert_eq!((address.local(), address.domain()), ("bob", Some(&*format!("{}.x.test", &long[..1017]))));
        let address = Address::parse(&format!("<bob@x.{}test>", "\u{ad}".repeat(1100)));
        assert_eq!(address.domain(), Some("x.test"), "what IDNA leaves out is no part of a name");
    }

    #[test]
    fn overlong_addresses_are_cut_between_characters() {
        let text = format!("{0}@{0}", "\u{65e5}".repeat(4000));
        let recipient = Recipient::parse(&text);
        let kept = "\u{65e5}".repeat(MAX_KEPT / 3);
        assert_eq!((recipient.raw(), recipient.address().local()), (&*kept, &*kept));
        assert_eq!(recipient.address().domain(), Some(&*kept));
        let Recipient { raw, address: Address { local, domain } } = recipient;
        let memory = [raw, local, domain.unwrap()].map(|part| part.capacity());
        assert!(memory.iter().all(|memory| *memory <= MAX_KEPT), "{memory:?}");
    }
}

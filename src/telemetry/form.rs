//! The two forms of a decision in the log, logfmt and JSON: how a key, a value and a list are written in each.

use std::io::Write;
use std::net::IpAddr;

use super::escape::{
    write_bare_item, write_json, write_json_part, write_quoted, write_quoted_item, write_value,
};
use crate::facts::Client;
use crate::store::IdentityKind;
use crate::verdict::Code;

/// A key with what stands around it in each form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) logfmt: &'static str,
    pub(super) json: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        const { Key { logfmt: concat!(" ", $name, "="), json: concat!(",\"", $name, "\":") } }
    };
}
pub(super) use key;

/// An item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Text(&'a [u8]),
    Address(IpAddr),
    /// Shown as kind and key, such as `network:192.0.2.0/24`.
    Identity(IdentityKind, &'a [u8]),
}

impl Item<'_> {
    /// Writes it, its part from outside by `text`; what that says of it.
    #[inline]
    fn write<T>(&self, out: &mut Vec<u8>, text: impl FnOnce(&mut Vec<u8>, &[u8]) -> T) -> Option<T> {
        match self {
            Self::Text(shown) => Some(text(out, shown)),
            Self::Identity(kind, key) => {
                out.extend_from_slice(kind.name().as_bytes());
                out.push(b':');
                Some(text(out, key))
            }
            Self::Address(address) => {
                write_address(out, *address);
                None
            }
        }
    }
}

/// What a refusal says, but that its text may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) code: Code,
    /// Subject and detail of the enhanced status code.
    pub(super) status: [u8; 2],
    pub(super) text: &'a [u8],
}

impl Said<'_> {
    fn write_codes(&self, out: &mut Vec<u8>) {
        let [subject, detail] = self.status;
        out.extend_from_slice(self.code.as_str().as_bytes());
        out.push(b' ');
        write_number(out, self.code.class().into());
        out.push(b'.');
        write_number(out, subject.into());
        out.push(b'.');
        write_number(out, detail.into());
        out.push(b' ');
    }
}

/// Where the fields of a line go, each behind its key.
pub(super) trait Form {
    /// How many bytes are there.
    fn len(&self) -> usize;
    /// Fields that were written in this form before.
    fn written(&mut self, fields: &[u8]);
    fn absent(&mut self, key: Key);
    /// A name of ours, which needs no escapes.
    fn name(&mut self, key: Key, name: &'static str);
    fn text(&mut self, key: Key, text: &[u8]);
    fn number(&mut self, key: Key, number: u64);
    fn address(&mut self, key: Key, address: IpAddr);
    fn reply(&mut self, key: Key, reply: &Said<'_>);
    /// Items, and how many more there are that are not shown; absent if there are none.
    fn list<'i>(&mut self, key: Key, items: impl Iterator<Item = Item<'i>> + Clone, more: usize);

    #[inline]
    fn optional(&mut self, key: Key, text: Option<&[u8]>) {
        match text {
            Some(text) => self.text(key, text),
            None => self.absent(key),
        }
    }

    fn client(&mut self, key: Key, client: Client) {
        match client {
            Client::Ip(address) => self.address(key, address),
            Client::Local => self.name(key, "local"),
            Client::Unknown => self.name(key, "unknown"),
        }
    }
}

/// ` key=value` for each field.
pub(super) struct Logfmt<'o>(pub(super) &'o mut Vec<u8>);

impl Logfmt<'_> {
    #[inline]
    fn key(&mut self, key: Key) {
        self.0.extend_from_slice(key.logfmt.as_bytes());
    }
}

impl Form for Logfmt<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn written(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    #[inline]
    fn absent(&mut self, key: Key) {
        self.name(key, "-");
    }

    #[inline]
    fn name(&mut self, key: Key, name: &'static str) {
        self.key(key);
        self.0.extend_from_slice(name.as_bytes());
    }

    #[inline]
    fn text(&mut self, key: Key, text: &[u8]) {
        self.key(key);
        write_value(self.0, text);
    }

    #[inline]
    fn number(&mut self, key: Key, number: u64) {
        self.key(key);
        write_number(self.0, number);
    }

    #[inline]
    fn address(&mut self, key: Key, address: IpAddr) {
        self.key(key);
        write_address(self.0, address);
    }

    #[inline]
    fn reply(&mut self, key: Key, reply: &Said<'_>) {
        self.key(key);
        self.0.push(b'"');
        reply.write_codes(self.0);
        write_quoted(self.0, reply.text);
        self.0.push(b'"');
    }

    /// As one value, the items separated by commas; in quotes where one of them needs it.
    fn list<'i>(&mut self, key: Key, items: impl Iterator<Item = Item<'i>> + Clone, more: usize) {
        self.key(key);
        let start = self.0.len();
        let is_bare = |item: Item<'i>| {
            if self.0.len() > start {
                self.0.push(b',');
            }
            item.write(self.0, write_bare_item).unwrap_or(true)
        };
        let is_bare = items.clone().all(is_bare);
        if is_bare && self.0.len() == start {
            return self.0.push(b'-');
        }
        if !is_bare {
            self.0.truncate(start);
            for (index, item) in items.enumerate() {
                self.0.push(if index > 0 { b',' } else { b'"' });
                item.write(self.0, write_quoted_item);
            }
        }
        if more > 0 {
            self.0.extend_from_slice(b",+");
            write_number(self.0, more as u64);
        }
        if !is_bare {
            self.0.push(b'"');
        }
    }
}

/// `,"key":value` for each field: members of an object that has others before them.
pub(super) struct Json<'o>(pub(super) &'o mut Vec<u8>);

impl Json<'_> {
    #[inline]
    fn key(&mut self, key: Key) {
        self.0.extend_from_slice(key.json.as_bytes());
    }
}

impl Form for Json<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn written(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    fn absent(&mut self, key: Key) {
        self.key(key);
        self.0.extend_from_slice(b"null");
    }

    fn name(&mut self, key: Key, name: &'static str) {
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
    }

    fn text(&mut self, key: Key, text: &[u8]) {
        self.key(key);
        write_json(self.0, text);
    }

    fn number(&mut self, key: Key, number: u64) {
        self.key(key);
        write_number(self.0, number);
    }

    fn address(&mut self, key: Key, address: IpAddr) {
        self.key(key);
        self.0.push(b'"');
        write_address(self.0, address);
        self.0.push(b'"');
    }

    fn reply(&mut self, key: Key, reply: &Said<'_>) {
        self.key(key);
        self.0.push(b'"');
        reply.write_codes(self.0);
        write_json_part(self.0, reply.text);
        self.0.push(b'"');
    }

    fn list<'i>(&mut self, key: Key, items: impl Iterator<Item = Item<'i>> + Clone, more: usize) {
        if items.clone().next().is_none() {
            return self.absent(key);
        }
        self.key(key);
        self.0.push(b'[');
        for (index, item) in items.enumerate() {
            self.0.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
            item.write(self.0, write_json_part);
            self.0.push(b'"');
        }
        if more > 0 {
            self.0.extend_from_slice(b",\"+");
            write_number(self.0, more as u64);
            self.0.push(b'"');
        }
        self.0.push(b']');
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let (mut text, mut length) = ([0; 16], 0);
            for octet in address.octets() {
                let (digits, used) = OCTETS[usize::from(octet)];
                let place = text.get_mut(length..).and_then(|rest| rest.first_chunk_mut());
                place.into_iter().for_each(|place| *place = digits);
                length += used;
            }
            // Without the last dot.
            out.extend_from_slice(text.get(..length - 1).unwrap_or_default());
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Each octet with a dot behind it, and how many bytes that takes.
static OCTETS: [([u8; 4], usize); 256] = {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet: u8 = 0;
    loop {
        let (hundreds, tens, ones) = (b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10);
        all[octet as usize] = match octet {
            100.. => ([hundreds, tens, ones, b'.'], 4),
            10.. => ([tens, ones, b'.', 0], 3),
            _ => ([ones, b'.', 0, 0], 2),
        };
        if octet == u8::MAX {
            break all;
        }
        octet += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(items: &[&str], more: usize) -> [String; 2] {
        let items = items.iter().map(|item| Item::Text(item.as_bytes()));
        let (mut logfmt, mut json) = (Vec::new(), Vec::new());
        Logfmt(&mut logfmt).list(key!("k"), items.clone(), more);
        Json(&mut json).list(key!("k"), items, more);
        [logfmt, json].map(|written| String::from_utf8(written).unwrap())
    }

    #[test]
    fn an_item_cannot_become_two() {
        for (items, more, logfmt, json) in [
            (&[][..], 0, " k=-", r#","k":null"#),
            (&["a@x", "b@x"], 0, " k=a@x,b@x", r#","k":["a@x","b@x"]"#),
            (&["a@x"], 23, " k=a@x,+23", r#","k":["a@x","+23"]"#),
            (&["a,b@x", "c"], 7, r#" k="a\u002cb@x,c,+7""#, r#","k":["a,b@x","c","+7"]"#),
            (&["a b", "c"], 0, r#" k="a b,c""#, r#","k":["a b","c"]"#),
            (&["a\"b\n"], 0, r#" k="a\"b\n""#, r#","k":["a\"b\n"]"#),
            (&[""], 0, r#" k="""#, r#","k":[""]"#),
            (&["-"], 0, r#" k="-""#, r#","k":["-"]"#),
        ] {
            assert_eq!(lists(items, more), [logfmt, json]);
        }
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for address in ["0.0.0.0", "192.0.2.10", "255.255.255.255", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let mut out = Vec::new();
            write_address(&mut out, address.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), address);
        }
        for octet in 0..=u8::MAX {
            let address = IpAddr::from([octet, 255 - octet, octet, octet]);
            let mut out = Vec::new();
            write_address(&mut out, address);
            assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
        }
    }
}

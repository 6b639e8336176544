//! What the greylist calls a sender and a recipient: the address without what changes from mail to mail.
//!
//! A mailing list, a forwarder or a mailing service puts a token into the envelope sender of each mail, or the recipient's own
//! address. A greylist that took them for names would delay every mail of theirs. So, in this order:
//!
//! 1. what a forwarder wrapped around the sender is taken off: SRS0 and SRS1, the form of Exchange Online, BATV;
//! 2. the recipient's address inside the local part becomes `#`, however it is separated;
//! 3. the extension goes (`+…`);
//! 4. words that are no words become `#`: long numbers, hexadecimal and random ones; in a sender that calls itself a bounce address
//!    or the like, any number;
//! 5. upper case, and names of the DNS in other scripts, are folded.
//!
//! What two people may have in common at one provider stays: `joe.1984@` and `joe.1985@` are different senders, and so are the
//! numbers that are whole mailboxes. The registrable domain is never touched.
//!
//! These rules are part of every key of the store. **Whoever changes what they say raises `NORMALISER_VERSION`** in
//! `src/store/key.rs`, so that old records are forgotten rather than mistaken.

mod forwarded;
mod words;

use std::borrow::Cow;

use crate::facts::{Address, without_extension};
use words::Bounds;

/// How the greylist knows a sender; found out once a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// By its address as it stands, as nearly all are.
    Plain,
    /// By less than its address.
    Reduced {
        /// Its name.
        key: String,
        /// The local part, wrappings taken off.
        local: String,
        /// The domain, wrappings taken off.
        domain: Option<String>,
    },
}

impl Sender {
    /// Takes off what changes from mail to mail.
    pub fn new(address: &Address) -> Self {
        let (local, domain) = (address.local(), address.domain());
        if words::is_plain(local) && !domain.is_some_and(words::has_numbered_host) {
            return Self::Plain;
        }
        let (local, domain) = forwarded::unwrap(local, domain);
        let key = key(&local, domain.as_deref());
        Self::Reduced { key, local: local.into_owned(), domain: domain.map(Cow::into_owned) }
    }

    /// The name of this sender, whose `address` it was made of, in the triplet of this recipient, whose own address may be a part of
    /// it.
    pub fn key(&self, address: &Address, recipient: &Address) -> String {
        let (local, domain) = match self {
            Self::Plain => (address.local(), address.domain()),
            Self::Reduced { local, domain, .. } => (local.as_str(), domain.as_deref()),
        };
        match (words::embedded(local, recipient), self) {
            (None, Self::Plain) => join(local, domain),
            (None, Self::Reduced { key, .. }) => key.clone(),
            (Some(Bounds { start, end }), _) => {
                let local = [&local[..start], "#", &local[end..]].concat();
                key(&local, domain)
            }
        }
    }
}

/// The recipient's name in the triplet: in lower case, without extension.
pub(super) fn recipient(address: &Address) -> String {
    let local = without_extension(address.local());
    if !local.is_ascii() {
        return join(&local.to_lowercase(), address.domain());
    }
    let mut name = join(local, address.domain());
    name[..local.len()].make_ascii_lowercase();
    name
}

fn key(local: &str, domain: Option<&str>) -> String {
    let is_automatic = words::is_automatic(local, domain.unwrap_or_default());
    let local = words::without_embedded_domain(local);
    let local = words::mask(without_extension(&local), is_automatic);
    let domain = domain.map(|domain| if is_automatic { words::mask_hosts(domain) } else { domain.into() });
    join(&local, domain.as_deref())
}

/// The last `@` separates: there is none in a domain.
fn join(local: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) => {
            let mut joined = String::with_capacity(local.len() + 1 + domain.len());
            joined.push_str(local);
            joined.push('@');
            joined.push_str(domain);
            joined
        }
        None => local.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SENDERS: &str = include_str!("normalise/senders.txt");

    fn sender_key(sender: &str, recipient: &str) -> String {
        let sender = Address::parse(sender);
        Sender::new(&sender).key(&sender, &Address::parse(recipient))
    }

    #[test]
    fn real_senders_are_called_what_the_table_says() {
        let lines = SENDERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (mut wrong, mut count) = (String::new(), 0);
        for line in lines {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (sender, expected, recipient) = match fields[..] {
                [sender, expected] => (sender, expected, "joe@example.org"),
                [sender, expected, recipient] => (sender, expected, recipient),
                _ => panic!("{line}"),
            };
            let key = sender_key(sender, recipient);
            if key != expected {
                wrong += &format!("{sender} is {key}, not {expected}\n");
            }
            count += 1;
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert!(count >= 100, "{count}");
    }

    #[test]
    fn of_a_recipient_the_extension_goes() {
        for (written, expected) in [
            ("Joe+Shop@Example.ORG", "joe@example.org"),
            ("joe@example.org", "joe@example.org"),
            ("+joe@example.org", "+joe@example.org"),
            ("joe.1984-x@example.org", "joe.1984-x@example.org"),
            ("postmaster", "postmaster"),
            ("joe@b\u{fc}cher.example", "joe@xn--bcher-kva.example"),
        ] {
            assert_eq!(recipient(&Address::parse(written)), expected, "{written}");
        }
    }

    #[test]
    fn a_recipient_is_found_in_a_sender_by_its_whole_address_only() {
        for (sender, recipient, expected) in [
            ("list-joe=example.org@l.example", "joe@example.org", "list-#@l.example"),
            ("list-billyjoe=example.org@l.example", "joe@example.org", "list-#@l.example"),
            ("list-joe-example.orgs@l.example", "joe@example.org", "list-joe-example.orgs@l.example"),
            ("list-joe-example.org@l.example", "ann@example.org", "list-joe-example.org@l.example"),
            ("joe@example.org", "joe@example.org", "joe@example.org"),
            ("list-example.org=joe@l.example", "joe@example.org", "list-#@l.example"),
            ("list-joe.b+x=example.org@l.example", "joe.b+x@example.org", "list-#@l.example"),
            ("a-j-x.y@l.example", "j@x.y", "a-#@l.example"),
            ("list-joe=example.org@l.example", "joe", "list-#@l.example"),
        ] {
            assert_eq!(sender_key(sender, recipient), expected, "{sender} {recipient}");
        }
    }

    #[test]
    fn senders_of_different_services_and_people_stay_apart() {
        let keys: BTreeSet<String> = [
            "sales-1234567890@shop.example",
            "news-1234567890@shop.example",
            "sales-1234567890@sub.shop.example",
            "sales-1234567890@shop2.example",
            "1234567890@shop.example",
            "1234567891@shop.example",
            "a@b.c.example",
            "a.b@c.example",
            "a@bc.example",
            "ab@c.example",
            "bounce@vps1.hoster.example",
            "bounce@vps2.hoster.example",
            "SRS0=HHHH=TT=a.example=joe@f.example",
            "SRS0=HHHH=TT=b.example=joe@f.example",
            "prvs=1234abcdef=joe@f.example",
            "prvs=1234abcdef=ann@f.example",
            "bounce@x1.example",
            "bounce@x2.example",
        ]
        .into_iter()
        .map(|sender| sender_key(sender, "bob@example.net"))
        .collect();
        assert_eq!(keys.len(), 18, "{keys:?}");
    }

    proptest! {
        #[test]
        fn of_plain_local_parts_nothing_is_taken(local in "[a-z._-]{0,40}", is_automatic: bool) {
            prop_assume!(words::is_plain(&local));
            let (kept, domain) = (Cow::from(&local), Some("example.org"));
            prop_assert_eq!(forwarded::unwrap(&local, domain), (kept.clone(), domain.map(Cow::from)));
            prop_assert_eq!(words::without_embedded_domain(&local), kept);
            prop_assert_eq!(without_extension(&local), &local);
            prop_assert_eq!(words::mask(&local, is_automatic), local);
        }

        #[test]
        fn what_people_are_called_is_kept(
            local in "[a-z]{2,12}([._-][a-z]{2,12})?([._-]?[0-9]{1,8})?",
            domain in "[a-z]{3,12}[0-9]{0,3}\\.(example|com|co\\.uk)",
        ) {
            let address = format!("{local}@{domain}");
            let words = ["bounce", "err", "mail", "news", "noreply", "not", "re", "rtn", "sent", "unsub", "verp", "bnc", "env"];
            prop_assume!(!words.iter().any(|word| local.contains(word)));
            prop_assert_eq!(sender_key(&address, "joe@example.org"), address);
        }

        #[test]
        fn any_text_has_a_key_with_its_registrable_domain(text in "\\PC{0,80}", recipient in "\\PC{0,20}") {
            let address = Address::parse(&text);
            let key = sender_key(&text, &recipient);
            prop_assert!(key.len() <= 4 * text.len() + 8, "{}", key);
            let is_wrapped = forwarded::unwrap(address.local(), address.domain()) != (address.local().into(), address.domain().map(Cow::from));
            if let (Some(domain), false) = (address.domain(), is_wrapped) {
                prop_assert!(key.ends_with(words::registrable(domain)), "{} {}", key, domain);
            }
        }

        #[test]
        fn hosts_and_tokens_never_cross_the_registrable_domain(
            local in "(bounce|err|verp)[-_.+=a-zA-Z0-9]{0,30}",
            host in "([a-z0-9]{1,6}\\.){0,3}",
            domains in proptest::sample::subsequence(vec!["a1.example", "a2.example", "b.co.uk", "c.co.uk"], 2),
        ) {
            let key = |domain: &str| sender_key(&format!("{local}@{host}{domain}"), "joe@example.org");
            prop_assert_ne!(key(domains[0]), key(domains[1]));
        }
    }
}

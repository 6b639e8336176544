//! Lists of mail addresses.

use std::borrow::Cow;

use super::hosts::{parse_name, suffixes};
use super::names::NameMap;
use super::{BadEntry, Entry, Set};
use crate::facts::{Address, without_extension};

/// One entry of a list of mail addresses, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressPattern {
    /// `user@domain`.
    Mailbox(String),
    /// `@domain`: every mailbox of the domain.
    Domain(String),
    /// `@*.suffix`: every mailbox of the domains below the suffix.
    Below(String),
    /// `user@`: this local part at any domain, or at none.
    Local(String),
    /// `<>`: the null reverse-path.
    Null,
}

impl Entry for AddressPattern {
    const LIST: &'static str = "a list of mail addresses, such as [\"bob@example.test\", \"@example.test\", \"@*.test\", \"abuse@\"]";
    const ENTRY: &'static str = "a mail address or a pattern of them";
    type Set = AddressMap<()>;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        if text == "<>" {
            return Ok(Self::Null);
        }
        if text.starts_with('<') {
            return Err(BadEntry::new("write it without angle brackets"));
        }
        match text.rsplit_once('@') {
            None => {
                let help = format!("a domain is written @{text}, a local part at any domain {text}@");
                Err(BadEntry::new("has no @").with_help(help))
            }
            Some(("", "")) => Err(BadEntry::new("neither local part nor domain")),
            Some(("", domain)) => match domain.strip_prefix("*.") {
                Some(suffix) => parse_name(suffix).map(Self::Below),
                None => parse_name(domain).map(Self::Domain),
            },
            Some((local, "")) => Ok(Self::Local(local_part(local))),
            Some((_, domain)) if domain.starts_with("*.") => {
                let help = format!("all mailboxes below it are written @{domain}");
                Err(BadEntry::new("a local part goes with one domain").with_help(help))
            }
            Some((local, domain)) => {
                let domain = parse_name(domain)?;
                Ok(Self::Mailbox(format!("{}@{domain}", local_part(local))))
            }
        }
    }

    fn wider(&self) -> Vec<Self> {
        let below = |domain: &str| suffixes(domain).map(|suffix| Self::Below(suffix.to_owned())).collect();
        match self {
            Self::Mailbox(address) => {
                let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
                let mut wider: Vec<Self> = below(domain);
                wider.extend([Self::Domain(domain.to_owned()), Self::Local(local.to_owned())]);
                wider
            }
            Self::Domain(domain) | Self::Below(domain) => below(domain),
            Self::Local(_) | Self::Null => Vec::new(),
        }
    }
}

/// As [`Address::key`] writes it.
fn local_part(text: &str) -> String {
    // Quotes and what else is odd are read the way addresses of mails are.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=".contains(&byte)) {
        return text.to_ascii_lowercase();
    }
    Address::parse(&format!("{text}@")).local().to_lowercase()
}

fn lower_case(local: &str) -> Cow<'_, str> {
    let is_lower = local.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { local.into() } else { local.to_lowercase().into() }
}

/// A value for each of many address patterns; looking an address up takes one step per label of its domain, however many
/// patterns there are. `AddressMap<()>` is a set.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressMap<T> {
    mailboxes: NameMap<T>,
    domains: NameMap<T>,
    suffixes: NameMap<T>,
    locals: NameMap<T>,
    null: Option<T>,
}

impl<T> AddressMap<T> {
    /// Calls `found` with the value of every pattern that `address` matches; `None` is the null reverse-path.
    pub fn for_each_match(&self, address: Option<&Address>, mut found: impl FnMut(&T)) {
        let Some(address) = address else { return self.null.iter().for_each(found) };
        if !self.mailboxes.is_empty() {
            self.mailboxes.get(&address.key()).into_iter().for_each(&mut found);
        }
        if !self.locals.is_empty() {
            self.locals.get(&lower_case(address.local())).into_iter().for_each(&mut found);
        }
        if let Some(domain) = address.domain() {
            self.domains.get(domain).into_iter().for_each(&mut found);
            if !self.suffixes.is_empty() {
                suffixes(domain).filter_map(|suffix| self.suffixes.get(suffix)).for_each(found);
            }
        }
    }

    /// As [`Self::for_each_match`], for a recipient: where it has an extension (`user+…@domain`), with the value of the mailbox too.
    pub fn for_each_match_of_recipient(&self, recipient: &Address, mut found: impl FnMut(&T)) {
        self.for_each_match(Some(recipient), &mut found);
        let local = recipient.local();
        let plain = without_extension(local);
        if plain.len() < local.len()
            && !self.mailboxes.is_empty()
            && let Some(domain) = recipient.domain()
        {
            self.mailboxes.get(&format!("{}@{domain}", plain.to_lowercase())).into_iter().for_each(found);
        }
    }

    /// Calls `found` with the value of every pattern that matches all that `pattern` matches: its own and that of wider ones.
    pub fn for_each_cover(&self, pattern: &AddressPattern, found: impl FnMut(&T)) {
        let wider = pattern.wider();
        std::iter::once(pattern).chain(&wider).filter_map(|pattern| self.get(pattern)).for_each(found);
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        let maps = [&self.mailboxes, &self.domains, &self.suffixes, &self.locals];
        maps.map(NameMap::len).iter().sum::<usize>() + usize::from(self.null.is_some())
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The patterns, in no particular order.
    pub fn patterns(&self) -> impl Iterator<Item = AddressPattern> {
        let mailboxes = self.mailboxes.names().map(|name| AddressPattern::Mailbox(name.to_owned()));
        let domains = self.domains.names().map(|name| AddressPattern::Domain(name.to_owned()));
        let suffixes = self.suffixes.names().map(|name| AddressPattern::Below(name.to_owned()));
        let locals = self.locals.names().map(|name| AddressPattern::Local(name.to_owned()));
        let null = self.null.iter().map(|_| AddressPattern::Null);
        mailboxes.chain(domains).chain(suffixes).chain(locals).chain(null)
    }

    fn get(&self, pattern: &AddressPattern) -> Option<&T> {
        match pattern {
            AddressPattern::Mailbox(address) => self.mailboxes.get(address),
            AddressPattern::Domain(domain) => self.domains.get(domain),
            AddressPattern::Below(suffix) => self.suffixes.get(suffix),
            AddressPattern::Local(local) => self.locals.get(local),
            AddressPattern::Null => self.null.as_ref(),
        }
    }
}

impl<T: Default> AddressMap<T> {
    /// The value of `pattern`, and whether the pattern is new.
    pub fn entry(&mut self, pattern: &AddressPattern) -> (&mut T, bool) {
        match pattern {
            AddressPattern::Mailbox(address) => self.mailboxes.get_or_insert(address, T::default()),
            AddressPattern::Domain(domain) => self.domains.get_or_insert(domain, T::default()),
            AddressPattern::Below(suffix) => self.suffixes.get_or_insert(suffix, T::default()),
            AddressPattern::Local(local) => self.locals.get_or_insert(local, T::default()),
            AddressPattern::Null => {
                let is_new = self.null.is_none();
                (self.null.get_or_insert_default(), is_new)
            }
        }
    }
}

impl<T> Default for AddressMap<T> {
    fn default() -> Self {
        Self {
            mailboxes: NameMap::default(),
            domains: NameMap::default(),
            suffixes: NameMap::default(),
            locals: NameMap::default(),
            null: None,
        }
    }
}

impl AddressMap<()> {
    /// Whether `address` matches a pattern; `None` is the null reverse-path.
    pub fn contains(&self, address: Option<&Address>) -> bool {
        let mut listed = false;
        self.for_each_match(address, |()| listed = true);
        listed
    }

    /// Whether `recipient` matches a pattern, be it without its extension.
    pub fn contains_recipient(&self, recipient: &Address) -> bool {
        let mut listed = false;
        self.for_each_match_of_recipient(recipient, |()| listed = true);
        listed
    }
}

impl Set<AddressPattern> for AddressMap<()> {
    fn insert(&mut self, pattern: &AddressPattern) -> bool {
        self.entry(pattern).1
    }

    fn shrink(&mut self) {
        [&mut self.mailboxes, &mut self.domains, &mut self.suffixes, &mut self.locals]
            .into_iter()
            .for_each(NameMap::shrink);
    }

    fn covers(&self, pattern: &AddressPattern) -> bool {
        let mut covered = false;
        self.for_each_cover(pattern, |()| covered = true);
        covered
    }

    fn entries(&self) -> impl Iterator<Item = AddressPattern> {
        self.patterns()
    }

    fn meets(&self, other: &Self) -> bool {
        // A local part and a domain always have an address in common, though neither includes the other.
        let crosses = |one: &Self, other: &Self| {
            !(one.locals.is_empty() || other.domains.is_empty() && other.suffixes.is_empty())
        };
        crosses(self, other)
            || crosses(other, self)
            || self.patterns().any(|pattern| other.covers(&pattern))
            || other.patterns().any(|pattern| self.covers(&pattern))
    }

    fn len(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ReversePath;
    use crate::policy::AddressPatterns;

    #[test]
    fn an_address_is_found_by_every_form_of_pattern() {
        let list: AddressPatterns =
            ["Bob@Example.test", "@whole.test", "@*.below.test", "abuse@", "<>"].into_iter().collect();
        for (path, listed) in [
            ("<bob@example.TEST>", true),
            ("BOB@example.test.", true),
            ("alice@example.test", false),
            ("anyone@whole.test", true),
            ("anyone@sub.whole.test", false),
            ("anyone@below.test", false),
            ("anyone@a.b.below.test", true),
            ("Abuse@anything.test", true),
            ("abuse", true),
            ("abuse2@anything.test", false),
            ("<>", true),
        ] {
            assert_eq!(list.contains(ReversePath::parse(path).address()), listed, "{path}");
        }
        let mut again = AddressMap::default();
        list.patterns().for_each(|pattern| assert!(again.insert(&pattern)));
        assert_eq!(again, *list);
    }

    #[test]
    fn a_mailbox_is_found_with_an_extension_where_it_is_a_recipient() {
        let list: AddressPatterns =
            ["bob@example.test", "joe+shop@example.test", "abuse@"].into_iter().collect();
        for (address, is_recipient, is_sender) in [
            ("bob@example.test", true, true),
            ("Bob+x+y@Example.test", true, false),
            ("bob+@example.test", true, false),
            ("bob-x@example.test", false, false),
            ("joe+shop@example.test", true, true),
            ("joe+shop+x@example.test", false, false),
            ("joe@example.test", false, false),
            ("+bob@example.test", false, false),
            ("bob+x@other.test", false, false),
            ("bob+x", false, false),
            ("abuse@other.test", true, true),
            ("abuse+x@other.test", false, false),
        ] {
            let address = Address::parse(address);
            let found = (list.contains_recipient(&address), list.contains(Some(&address)));
            assert_eq!(found, (is_recipient, is_sender), "{address}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, label) in [
            ("example.test", "has no @"),
            ("@", "neither local part nor domain"),
            ("<bob@example.test>", "write it without angle brackets"),
            ("@.example.test", "starts with a dot"),
            ("bob@*.example.test", "a local part goes with one domain"),
            ("bob@exa mple.test", "' ' cannot be part of a host name"),
        ] {
            assert_eq!(AddressPattern::parse(text).map_err(|bad| bad.label), Err(label.to_owned()), "{text}");
        }
    }
}

//! Lists of mail addresses.

use std::collections::HashMap;

use super::hosts::{check_name, parse_name, suffixes};
use super::{BadEntry, Entry};
use crate::facts::Address;

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
            Some((_, "")) => Ok(Self::Local(Address::parse(text).local().to_lowercase())),
            Some((_, domain)) if domain.starts_with("*.") => {
                let help = format!("all mailboxes below it are written @{domain}");
                Err(BadEntry::new("a local part goes with one domain").with_help(help))
            }
            Some(_) => {
                let address = Address::parse(text);
                check_name(address.domain().unwrap_or_default())?;
                Ok(Self::Mailbox(address.key()))
            }
        }
    }
}

/// A value for each of many address patterns; looking an address up takes one step per label of its domain, however many
/// patterns there are. `AddressMap<()>` is a set.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressMap<T> {
    mailboxes: HashMap<String, T>,
    domains: HashMap<String, T>,
    suffixes: HashMap<String, T>,
    locals: HashMap<String, T>,
    null: Option<T>,
}

impl<T> Default for AddressMap<T> {
    fn default() -> Self {
        Self {
            mailboxes: HashMap::new(),
            domains: HashMap::new(),
            suffixes: HashMap::new(),
            locals: HashMap::new(),
            null: None,
        }
    }
}

impl<T> AddressMap<T> {
    /// Calls `found` with the value of every pattern that `address` matches; `None` is the null reverse-path.
    pub fn for_each_match(&self, address: Option<&Address>, mut found: impl FnMut(&T)) {
        let Some(address) = address else { return self.null.iter().for_each(found) };
        if !self.mailboxes.is_empty() {
            self.mailboxes.get(&address.key()).into_iter().for_each(&mut found);
        }
        if !self.locals.is_empty() {
            self.locals.get(&address.local().to_lowercase()).into_iter().for_each(&mut found);
        }
        if let Some(domain) = address.domain() {
            self.domains.get(domain).into_iter().for_each(&mut found);
            suffixes(domain).filter_map(|suffix| self.suffixes.get(suffix)).for_each(found);
        }
    }
}

impl<T> AddressMap<T> {
    /// How many patterns there are.
    pub fn len(&self) -> usize {
        let maps = [&self.mailboxes, &self.domains, &self.suffixes, &self.locals];
        maps.map(HashMap::len).iter().sum::<usize>() + usize::from(self.null.is_some())
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Default> AddressMap<T> {
    /// The value of `pattern`.
    pub fn entry(&mut self, pattern: AddressPattern) -> &mut T {
        match pattern {
            AddressPattern::Mailbox(address) => self.mailboxes.entry(address).or_default(),
            AddressPattern::Domain(domain) => self.domains.entry(domain).or_default(),
            AddressPattern::Below(suffix) => self.suffixes.entry(suffix).or_default(),
            AddressPattern::Local(local) => self.locals.entry(local).or_default(),
            AddressPattern::Null => self.null.get_or_insert_default(),
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

    /// The patterns, in no particular order.
    pub fn patterns(&self) -> impl Iterator<Item = AddressPattern> {
        let mailboxes = self.mailboxes.keys().cloned().map(AddressPattern::Mailbox);
        let domains = self.domains.keys().cloned().map(AddressPattern::Domain);
        let suffixes = self.suffixes.keys().cloned().map(AddressPattern::Below);
        let locals = self.locals.keys().cloned().map(AddressPattern::Local);
        let null = self.null.iter().map(|()| AddressPattern::Null);
        mailboxes.chain(domains).chain(suffixes).chain(locals).chain(null)
    }
}

impl FromIterator<AddressPattern> for AddressMap<()> {
    fn from_iter<I: IntoIterator<Item = AddressPattern>>(patterns: I) -> Self {
        let patterns = patterns.into_iter();
        let mailboxes = HashMap::with_capacity(patterns.size_hint().0);
        let mut set = Self { mailboxes, ..Self::default() };
        patterns.for_each(|pattern| *set.entry(pattern) = ());
        set
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
        assert_eq!(list.patterns().collect::<AddressMap<()>>(), *list);
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

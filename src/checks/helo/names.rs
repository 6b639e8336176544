//! Lists of names that clients claim, and what cannot be on them.

use std::fmt;
use std::ops::Deref;

use super::{HeloForm, is_localhost};
use crate::policy::lists::{BadEntry, Entry, HostPattern, HostSet, List, Set};

/// Names that clients claim and `*.suffix` patterns of them, looked up with [`HostSet::contains`].
pub type HeloNames = List<HeloPattern>;

/// One entry of a list of HELO names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeloPattern(HostPattern);

impl fmt::Display for HeloPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostPattern::Name(name) => write!(f, "{name:?}"),
            HostPattern::Below(suffix) => write!(f, "\"*.{suffix}\""),
        }
    }
}

impl Entry for HeloPattern {
    const LIST: &'static str = HostPattern::LIST;
    const ENTRY: &'static str = HostPattern::ENTRY;
    type Set = HeloNameSet;

    fn parse(text: &str) -> Result<Self, BadEntry> {
        HostPattern::parse(text).map(Self)
    }

    fn wider(&self) -> Vec<Self> {
        self.0.wider().into_iter().map(Self).collect()
    }

    fn never_met(&self) -> Option<BadEntry> {
        let name = match &self.0 {
            HostPattern::Name(name) => name.clone(),
            // What holds for one name below the suffix holds for all.
            HostPattern::Below(suffix) => format!("a.{suffix}"),
        };
        let form = HeloForm::of(&name);
        let cause = match form {
            HeloForm::AsTyped | HeloForm::Name(_) if form.name(&name).is_some_and(is_localhost) => {
                "localhost"
            }
            HeloForm::AsTyped | HeloForm::Name(_) => return None,
            HeloForm::BareAddress(_) | HeloForm::Literal(_) => "bare_address",
            HeloForm::Missing | HeloForm::Invalid => "invalid_syntax",
        };
        let help = format!("what happens to such a name is the setting `{cause}`");
        Some(BadEntry::new(format!("its cause is `{cause}`, before any list is looked at")).with_help(help))
    }
}

/// HELO names to look up in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeloNameSet(HostSet);

impl Deref for HeloNameSet {
    type Target = HostSet;

    fn deref(&self) -> &HostSet {
        &self.0
    }
}

impl Set<HeloPattern> for HeloNameSet {
    fn insert(&mut self, pattern: &HeloPattern) -> bool {
        self.0.insert(&pattern.0)
    }

    fn shrink(&mut self) {
        self.0.shrink();
    }

    fn covers(&self, pattern: &HeloPattern) -> bool {
        self.0.covers(&pattern.0)
    }

    fn entries(&self) -> impl Iterator<Item = HeloPattern> {
        self.0.entries().map(HeloPattern)
    }

    fn len(&self) -> usize {
        Set::len(&self.0)
    }
}

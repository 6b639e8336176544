//! Names to look up, many of them: one text that holds them all, and a hash table that says where each begins.

use std::fmt::{self, Debug};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::hash_table::{Entry as Slot, HashTable};

use super::Set;

/// A value for each of many names. A name costs its bytes, one for its end, and some 15 in the table: far less than a text of
/// its own for each.
#[derive(Clone)]
pub struct NameMap<T> {
    /// The names, each followed by [`END`].
    text: Vec<u8>,
    /// Where each name begins in `text`.
    table: HashTable<(usize, T)>,
    hasher: RandomState,
    /// Length of the longest name in bytes: nothing longer has to be looked for.
    longest: usize,
}

/// A byte no UTF-8 text has.
const END: u8 = 0xff;

impl<T> NameMap<T> {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        if self.table.is_empty() || name.len() > self.longest {
            return None;
        }
        let hash = self.hasher.hash_one(name.as_bytes());
        self.table.find(hash, |(start, _)| is_at(&self.text, *start, name)).map(|(_, value)| value)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Length of the longest name in bytes.
    pub(super) const fn longest(&self) -> usize {
        self.longest
    }

    /// The names in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let ended = self.text.split(|byte| *byte == END).take(self.len());
        ended.map(|name| std::str::from_utf8(name).unwrap_or_default())
    }

    /// The value of `name`, which is `value` where the name is new, and whether it is.
    pub fn get_or_insert(&mut self, name: &str, value: T) -> (&mut T, bool) {
        let Self { text, table, hasher, longest } = self;
        *longest = name.len().max(*longest);
        let hash = hasher.hash_one(name.as_bytes());
        let rehash = |(start, _): &(usize, T)| hasher.hash_one(name_at(text, *start));
        match table.entry(hash, |(start, _)| is_at(text, *start, name), rehash) {
            Slot::Occupied(known) => (&mut known.into_mut().1, false),
            Slot::Vacant(free) => {
                let (_, value) = free.insert((text.len(), value)).into_mut();
                text.extend_from_slice(name.as_bytes());
                text.push(END);
                (value, true)
            }
        }
    }
}

fn is_at(text: &[u8], start: usize, name: &str) -> bool {
    text[start..].strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&END))
}

fn name_at(text: &[u8], start: usize) -> &[u8] {
    let rest = &text[start..];
    memchr::memchr(END, rest).map_or(rest, |end| &rest[..end])
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self { text: Vec::new(), table: HashTable::new(), hasher: RandomState::default(), longest: 0 }
    }
}

impl<T: PartialEq> PartialEq for NameMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.names().all(|name| self.get(name) == other.get(name))
    }
}

impl<T> Debug for NameMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Names that are compared as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameSet(NameMap<()>);

impl NameSet {
    /// Whether `name` is listed.
    pub fn contains(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// The names in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }
}

impl<E: AsRef<str> + From<String>> Set<E> for NameSet {
    fn insert(&mut self, name: &E) -> bool {
        self.0.get_or_insert(name.as_ref(), ()).1
    }

    fn shrink(&mut self) {
        self.0.shrink();
    }

    fn covers(&self, name: &E) -> bool {
        self.contains(name.as_ref())
    }

    fn entries(&self) -> impl Iterator<Item = E> {
        self.0.names().map(|name| E::from(name.to_owned()))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> NameMap<T> {
    /// Gives back memory that was kept for more names.
    pub fn shrink(&mut self) {
        let Self { text, table, hasher, longest: _ } = self;
        text.shrink_to_fit();
        table.shrink_to_fit(|(start, _)| hasher.hash_one(name_at(text, *start)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whole_or_not_at_all() {
        let mut map = NameMap::default();
        for (name, number) in [("ab", 1), ("a", 2), ("", 3), ("a\nb", 4), ("\u{e9}", 5), ("ab", 6)] {
            map.get_or_insert(name, number);
        }
        for (name, value) in [
            ("ab", Some(1)),
            ("a", Some(2)),
            ("", Some(3)),
            ("a\nb", Some(4)),
            ("\u{e9}", Some(5)),
            ("b", None),
            ("abc", None),
        ] {
            assert_eq!(map.get(name).copied(), value, "{name:?}");
        }
        assert_eq!(map.names().collect::<Vec<_>>(), ["ab", "a", "", "a\nb", "\u{e9}"]);
    }

    #[test]
    fn many_names_are_all_found_and_no_others() {
        let mut map = NameMap::default();
        for number in 0..10_000 {
            assert_eq!(map.get_or_insert(&format!("n{number}"), number), (&mut { number }, true));
        }
        map.shrink();
        assert!((0..10_000).all(|number| map.get(&format!("n{number}")) == Some(&number)));
        assert_eq!(map.get("n10000"), None);
        assert_eq!(map.get_or_insert("n7", 0), (&mut 7, false));
    }

    #[test]
    fn maps_are_equal_whatever_the_order() {
        let map = |names: &[&str]| {
            let mut map = NameMap::default();
            names.iter().for_each(|name| _ = map.get_or_insert(name, ()));
            map
        };
        assert_eq!(map(&["a", "b"]), map(&["b", "a", "b"]));
        assert_ne!(map(&["a", "b"]), map(&["a", "c"]));
        assert_ne!(map(&["a", "b"]), map(&["a"]));
    }
}

//! Store URLs, as `--store` and `greylag.toml` have them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::{EmbeddedStore, MemoryStore, Store, StoreFault, Timestamp};

/// Which store to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: forgotten at exit.
    Memory,
    /// `redb:PATH`: files in this directory, which is created when missing.
    Redb(PathBuf),
}

impl StoreUrl {
    /// Opens the store, for at most `max_entries` clocks where it is kept in this process; `now` names files that have to be set
    /// aside and rules what is expired.
    pub fn open(&self, max_entries: u32, now: Timestamp) -> Result<Arc<dyn Store>, StoreFault> {
        let capacity = max_entries as usize;
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(capacity)?),
            Self::Redb(directory) => Arc::new(EmbeddedStore::open(directory, capacity, now)?),
        })
    }
}

/// A text that names no store of this version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} names no store: expected \"memory:\", or \"redb:PATH\" where PATH is a directory{hint}")]
pub struct StoreUrlError {
    text: String,
    hint: &'static str,
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |hint| StoreUrlError { text: text.to_owned(), hint };
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(error(" (a store in memory has no path)")),
            Some(("redb", "")) => Err(error(" (the path is missing)")),
            Some(("redb", path)) if path.starts_with("//") => {
                Err(error(" (write the path right behind the colon, as in redb:/var/lib/greylag)"))
            }
            Some(("redb", path)) => Ok(Self::Redb(path.into())),
            Some(("redis" | "rediss" | "unix" | "redis+sentinel" | "redis+cluster", _)) => {
                Err(error(" (this version has no Redis store)"))
            }
            _ => Err(error("")),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Redb(directory) => write!(f, "redb:{}", directory.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_alike() {
        for (text, url) in [
            ("memory:", StoreUrl::Memory),
            ("redb:/var/lib/greylag", StoreUrl::Redb("/var/lib/greylag".into())),
            ("redb:state:1", StoreUrl::Redb("state:1".into())),
        ] {
            assert_eq!(text.parse(), Ok(url.clone()), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_forms_that_exist() {
        const FORMS: &str =
            "names no store: expected \"memory:\", or \"redb:PATH\" where PATH is a directory";
        for (text, hint) in [
            ("", ""),
            ("memory", ""),
            ("/var/lib/greylag", ""),
            ("sqlite:/tmp/x", ""),
            ("memory:x", " (a store in memory has no path)"),
            ("redb:", " (the path is missing)"),
            ("redb:///x", " (write the path right behind the colon, as in redb:/var/lib/greylag)"),
            ("redis://localhost", " (this version has no Redis store)"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} {FORMS}{hint}"));
        }
    }
}

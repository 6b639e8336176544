//! Store URLs, as `--store` and `greylag.toml` have them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::redis::{RedisStore, RedisUrl, RedisUrlError, without_password};
use super::{EmbeddedStore, MemoryStore, Store, StoreFault, Timestamp};
use crate::telemetry::metrics;

/// Which store to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: forgotten at exit.
    Memory,
    /// `redb:PATH`: files in this directory, which is created when missing.
    Redb(PathBuf),
    /// `redis://…` and its like: servers that several Greylags share.
    Redis(Box<RedisUrl>),
}

impl StoreUrl {
    /// What the URLs begin with, up to the colon.
    pub fn schemes() -> impl Iterator<Item = &'static str> {
        ["memory", "redb"].into_iter().chain(RedisUrl::SCHEMES)
    }

    /// Opens the store, for at most `max_entries` clocks where it is kept in this process; `now` names files that have to be set
    /// aside and rules what is expired. `on_change` is told whether the store answers: once now, then at each change. Servers that
    /// cannot be reached are waited for beside the mail.
    pub async fn open(
        &self,
        max_entries: u32,
        now: Timestamp,
        on_change: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<Arc<dyn Store>, StoreFault> {
        let capacity = max_entries as usize;
        Ok(match self {
            Self::Memory => {
                let store = MemoryStore::new(capacity)?;
                metrics::store_up(true);
                on_change(true);
                Arc::new(store)
            }
            Self::Redb(directory) => {
                let store = EmbeddedStore::open(directory, capacity, now)?;
                store.watch(on_change);
                Arc::new(store)
            }
            Self::Redis(url) => Arc::new(RedisStore::open((**url).clone(), Box::new(on_change)).await?),
        })
    }
}

/// A text that names no store of this version. Passwords are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreUrlError {
    /// It is none of the forms.
    #[error(
        "{text:?} names no store: expected \"memory:\", \"redb:PATH\" where PATH is a directory, or a URL of Redis servers such \
         as \"redis://HOST\"{hint}"
    )]
    Unknown {
        /// The text.
        text: String,
        /// What may have been meant.
        hint: &'static str,
    },
    /// The URL of a Redis store has a mistake.
    #[error("{text:?} names no Redis store: {source}")]
    Redis {
        /// The text.
        text: String,
        /// The mistake.
        source: RedisUrlError,
    },
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |hint| StoreUrlError::Unknown { text: without_password(text), hint };
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err(error(" (a store in memory has no path)")),
            Some(("redb", "")) => Err(error(" (the path is missing)")),
            Some(("redb", path)) if path.starts_with("//") => {
                Err(error(" (write the path right behind the colon, as in redb:/var/lib/greylag)"))
            }
            Some(("redb", path)) => Ok(Self::Redb(path.into())),
            Some((scheme, _)) if RedisUrl::SCHEMES.contains(&scheme) => {
                let url = text.parse().map(|url| Self::Redis(Box::new(url)));
                url.map_err(|source| StoreUrlError::Redis { text: without_password(text), source })
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
            Self::Redis(url) => url.fmt(f),
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
            ("unix:///run/redis.sock", StoreUrl::Redis(Box::new("unix:/run/redis.sock".parse().unwrap()))),
        ] {
            assert_eq!(text.parse(), Ok(url.clone()), "{text}");
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_forms_that_exist() {
        const FORMS: &str = "names no store: expected \"memory:\", \"redb:PATH\" where PATH is a directory, or a URL of Redis \
                             servers such as \"redis://HOST\"";
        for (text, hint) in [
            ("", ""),
            ("memory", ""),
            ("/var/lib/greylag", ""),
            ("sqlite:/tmp/x", ""),
            ("memory:x", " (a store in memory has no path)"),
            ("redb:", " (the path is missing)"),
            ("redb:///x", " (write the path right behind the colon, as in redb:/var/lib/greylag)"),
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err();
            assert_eq!(error.to_string(), format!("{text:?} {FORMS}{hint}"));
        }
    }

    #[test]
    fn mistakes_in_the_urls_of_redis_are_told_without_the_password() {
        let error = "redis://joe:secret@a,b".parse::<StoreUrl>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"redis://joe:***@a,b\" names no Redis store: there are several hosts: write redis+sentinel://…/SERVICE or \
             redis+cluster://… for more than one server"
        );
        let error = "reddis://joe:secret@a".parse::<StoreUrl>().unwrap_err().to_string();
        assert!(error.contains("reddis://joe:***@a") && !error.contains("secret"), "{error}");
    }
}

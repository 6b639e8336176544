//! Why a store has no answer.

use std::path::PathBuf;

use thiserror::Error;

use super::redis::RedisFault;

/// Why a store cannot be opened, or has no answer.
#[derive(Debug, Error)]
pub enum StoreFault {
    /// The system failed us.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `write to`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process, or another store of this one, has the directory open.
    #[error("{} is in use: is another Greylag running on it?", path.display())]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// A later version of Greylag wrote the file. Nothing was changed.
    #[error(
        "{} has format {found}, and this version of Greylag knows formats up to {known}: \
         run a later version, or use another directory", path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this version knows.
        known: u32,
    },
    /// The database of proven records failed.
    #[error("{}: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// So many proven records wait for the database that it must be failing; the log tells why.
    #[error("{} has not taken {waiting} records: see the log for why", path.display())]
    Behind {
        /// The database file.
        path: PathBuf,
        /// Records that wait to be written.
        waiting: usize,
    },
    /// So much waits for the journal that its disk must be hanging.
    #[error("{} takes nothing: is its disk overloaded, or failing?", path.display())]
    Stalled {
        /// The file of the journal.
        path: PathBuf,
    },
    /// The system has no random numbers for the hash key.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
    /// The Redis servers fail.
    #[error(transparent)]
    Redis(#[from] RedisFault),
    /// The store was closed for shutdown.
    #[error("the store is closed")]
    Closed,
}

impl StoreFault {
    /// Whether the configuration, here or at a server, has to be changed before the store can be used.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Redis(fault) if fault.is_configuration())
    }
}

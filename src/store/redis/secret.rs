//! Passwords: never shown, and read where no other user sees them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::fault::RedisFault;

/// A password. It is not in what `Debug` writes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for the server it is meant for.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The password in a file: all of it but the end of the line.
    pub(super) fn read(path: &Path) -> Result<Self, RedisFault> {
        let unreadable =
            |source| RedisFault::File { what: "the password", path: PathBuf::from(path), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

//! What is inside a message.

use crate::reason::Reason;

/// One thing a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cause.
    pub reason: Reason,
    /// Where it was found, from the outermost container inwards: `a.zip/b.zip/evil.exe`.
    pub path: String,
}

/// What a scan found in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Everything with a cause, in the order it was met.
    pub found: Vec<Found>,
}

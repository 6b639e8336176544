//! The policy: what is decided for whom, read from `policies/*.toml` into one immutable value.

mod lists;
mod problem;
mod settings;

use std::sync::Arc;

pub use lists::HostPatterns;
pub use problem::{Problem, Severity};
pub use settings::{ByteSize, CheckSettings, EnvelopeAction, KeyDoc, Mode, Reading, Setting};

use crate::checks::{AttachmentSettings, GreylistSettings, HeloSettings, RecipientSettings};
use crate::facts::Facts;

/// The settings in force for one recipient of one mail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Settings of [`crate::checks::helo`].
    pub helo: Arc<HeloSettings>,
    /// Settings of [`crate::checks::recipients`].
    pub recipients: Arc<RecipientSettings>,
    /// Settings of [`crate::checks::greylist`].
    pub greylist: Arc<GreylistSettings>,
    /// Settings of [`crate::checks::attachments`].
    pub attachments: Arc<AttachmentSettings>,
}

/// Everything an administrator decided. Immutable: a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    base: Arc<Settings>,
}

impl Policy {
    /// The settings in force for `facts.recipient`, or for the whole mail where no recipient is judged.
    pub fn settings(&self, facts: &Facts) -> Arc<Settings> {
        let _ = facts;
        Arc::clone(&self.base)
    }
}

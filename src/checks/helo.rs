//! The HELO name: who the client says it is.

use crate::policy::{EnvelopeAction, HostPatterns, Mode};

crate::settings! {
    /// Settings of the HELO check.
    pub struct HeloSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run ("off").
        mode: Mode = Mode::Enforce,
        /// The client sent no HELO or EHLO name.
        missing: EnvelopeAction = EnvelopeAction::REJECT,
        /// Host names that nobody may claim; `*.suffix` stands for all names below it.
        banned_names: HostPatterns = ["fakedomain.xyz", "*.local"].into_iter().collect(),
    }
}

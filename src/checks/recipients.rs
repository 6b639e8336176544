//! recipients

use crate::policy::Mode;

crate::settings! {
    /// Settings of recipients.
    pub struct RecipientSettings {
        /// Whether the check decides ("enforce"), only counts and logs what it would have done ("monitor"), or is not run ("off").
        mode: Mode = Mode::Enforce,
    }
}

//! Who sent this mail: SPF, DKIM and DMARC, by mail-auth, with every DNS question put to our own resolver.

mod spf;

pub use spf::{SpfIdentity, SpfOutcome, SpfQuery, SpfResult, spf};

//! Who sent this mail: SPF, DKIM and DMARC, by mail-auth, with every DNS question put to our own resolver.

mod answers;
mod author;
mod message;
mod results;
mod spf;

pub use message::{
    DkimResult, DkimSignature, DmarcOutcome, DmarcPolicy, DmarcResult, MessageAuth, MessageAuthError, message,
};
pub use results::{authentication_results, claims_to_be_from};
pub use spf::{SpfIdentity, SpfMemory, SpfOutcome, SpfQuery, SpfResult, spf};

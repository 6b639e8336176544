//! The checks: one file a check, one file a check in `policies/`.
//!
//! Those that want to know something of the world have `needs(&Facts, &Settings, &Known)`, which says what; each has
//! `judge(&Facts, &Settings, &Known) -> Vec<Finding>`, which decides by what is known. Both are pure.

pub mod address;
pub mod attachments;
pub mod auth;
pub mod content;
pub mod greylist;
pub mod helo;
pub mod recipients;

pub use address::AddressSettings;
pub use attachments::AttachmentSettings;
pub use auth::AuthSettings;
pub use content::ContentSettings;
pub use greylist::GreylistSettings;
pub use helo::HeloSettings;
pub use recipients::RecipientSettings;

/// `parts.concat()`, which takes twice as long for parts as short as these.
fn joined<const N: usize>(parts: [&str; N]) -> String {
    let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.push_str(part));
    text
}

//! What the daemon tells of itself: metrics and health over HTTP.

mod http;
mod readiness;

pub use http::{Admin, serve};
pub use readiness::{Part, Readiness};

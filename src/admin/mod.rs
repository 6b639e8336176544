//! What the daemon tells of itself: metrics and health over HTTP. What an administrator asks of it: the control socket.

pub mod control;
mod http;
mod readiness;

pub use http::{Admin, serve};
pub use readiness::{Part, Readiness};

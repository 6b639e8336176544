//! What happens to a mail.

mod known;

pub use known::{Fault, Known, Needs, Slot};

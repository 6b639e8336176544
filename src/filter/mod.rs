//! What happens to a mail.

mod fold;
mod known;

pub use known::{Fault, Known, Needs, Slot};

//! Watching the daemon: metrics, and the log with its one line for each decision.

mod decision;
mod escape;
mod form;
mod kept;
mod lines;
pub mod log;
mod logged;
pub mod metrics;
pub mod nat;
mod per_thread;
mod record;
mod said;
mod trace;

pub use logged::LoggedDecision;
pub use record::{Decision, Made};
pub use said::Said;
pub use trace::{Trace, TraceQuery, Traced, TracedStep};

use crate::driver::Protocol;

/// The protocol as metric label and log field.
const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Milter => "milter",
        Protocol::Policy => "policy",
    }
}

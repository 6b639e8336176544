//! The control socket: one line of JSON asks the daemon, one line of JSON answers, and the connection ends. Where the question is about
//! a message, its bytes follow the first line.
//!
//! A command is a variant of [`Request`] and a function of [`Control`]. Who may connect to the socket, its user and group, may ask
//! everything.

mod commands;
mod greylist;
mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::explain::Envelope;
use crate::telemetry::{LoggedDecision, TraceQuery};

pub use commands::{Control, Status};
pub use greylist::{About, Counts, Forgotten, GreylistRequest, Released, Shown};
pub use server::serve;

/// Longest request in bytes, its newline included and without a message that follows.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The permissions of the socket: its user and group.
pub const MODE: u32 = 0o660;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Read the policies anew and put them in force; answered by a [`crate::reload::Report`].
    Reload,
    /// How the daemon is; answered by a [`Status`].
    Status,
    /// Look into the greylist, release or forget; answered as [`GreylistRequest`] says.
    Greylist(GreylistRequest),
    /// What would happen to a mail; answered by an [`crate::explain::Explanation`].
    Explain(Envelope),
    /// The same of a mail with a message, which follows the line.
    ExplainMessage {
        /// The mail, but for its message.
        envelope: Envelope,
        /// How many bytes follow; at most what one message may take in the daemon's memory.
        bytes: u64,
    },
    /// A decision of the log, judged by the policy in force; answered by an [`crate::explain::Explanation`].
    ExplainLogged {
        /// The decision.
        decision: LoggedDecision,
    },
    /// What was decided lately; answered by a list of [`crate::telemetry::Traced`].
    Trace(TraceQuery),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What the command found.
    Ok(Value),
    /// Why there is nothing to find.
    Err {
        /// In one sentence.
        message: String,
    },
}

impl Answer {
    fn error(message: impl Into<String>) -> Self {
        Self::Err { message: message.into() }
    }
}

impl Request {
    /// How many bytes of a message follow the line.
    pub const fn message_bytes(&self) -> Option<u64> {
        match self {
            Self::ExplainMessage { bytes, .. } => Some(*bytes),
            _ => None,
        }
    }
}

impl From<Result<Value, String>> for Answer {
    fn from(result: Result<Value, String>) -> Self {
        result.map_or_else(Self::error, Self::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_written_as_documented() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(json(&serde_json::to_string(&Request::Reload).unwrap()), json("{\"command\":\"reload\"}"));
        assert_eq!(serde_json::to_string(&Answer::Ok(1.into())).unwrap(), "{\"ok\":1}");
        assert_eq!(serde_json::to_string(&Answer::error("no")).unwrap(), "{\"err\":{\"message\":\"no\"}}");
        let about = About { sender: Some("a@b.test".into()), ..About::default() };
        for (request, expected) in [
            (
                GreylistRequest::Show(about.clone()),
                "{\"command\":\"greylist\",\"what\":\"show\",\"sender\":\"a@b.test\"}",
            ),
            (
                GreylistRequest::Release { about, seconds: 60 },
                "{\"command\":\"greylist\",\"what\":\"release\",\"about\":{\"sender\":\"a@b.test\"},\"seconds\":60}",
            ),
            (GreylistRequest::Stats, "{\"command\":\"greylist\",\"what\":\"stats\"}"),
        ] {
            let request = Request::Greylist(request);
            assert_eq!(serde_json::to_string(&request).unwrap(), expected);
            assert_eq!(serde_json::from_str::<Request>(expected).unwrap(), request);
        }
        for wrong in ["{}", "{\"command\":\"reboot\"}", "\"reload\"", "[]"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }
}

//! The milter protocol, as Postfix 2.6 and later and Sendmail 8.14 and later speak it.
//!
//! The MTA connects once for every SMTP session and tells it event by event; Greylag answers each event, and at
//! the end of a message may change it. One packet is a `u32` length and that many bytes, the first of which
//! names the command.
//!
//! | file | what it does |
//! |---|---|
//! | `frame` | cuts the byte stream into packets |
//! | `command` | reads the packets of the MTA |
//! | `options` | negotiates version, actions, protocol steps and macro lists, by what the policy has a use for |
//! | `macros` | keeps what the MTA says beside its commands |
//! | `memory` | how much of it messages may take |
//! | `state` | which command may follow which: the transition table |
//! | `session` | turns commands into [`Facts`](crate::facts::Facts) and says when to judge them |
//! | `path` | which mailbox the MTA finds in an envelope path |
//! | `peer` | what CONNECT and its macros say of the client |
//! | `render` | turns a [`Verdict`](crate::verdict::Verdict) into a response |
//! | `reply` | writes the packets to the MTA; an illegal one cannot be expressed |
//! | `server` | sockets and timers; the only file here that does IO |
//!
//! What is used is the subset that means the same to Postfix and Sendmail: a refusal always carries its own
//! text, nothing is accepted or discarded before the end of the message, and nothing is changed but at its end.

mod command;
mod frame;
mod macros;
mod memory;
mod options;
mod path;
mod peer;
mod render;
mod reply;
pub mod server;
mod session;
mod state;

pub use command::{Command, CommandError, Peer};
pub use frame::{Frame, FrameError, MAX_FRAME};
pub use macros::MacroStage;
pub use memory::MessageMemory;
pub use options::{NegotiationError, Offer, Options, Transport, Wishes};
pub use reply::{HeaderValue, Modification, QuarantineReason, Refusal, Response};
pub use session::{Limits, Pending, PendingBody, ProtocolError, Session, Step, Unheard};
pub use state::{CommandKind, State};

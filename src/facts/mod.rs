//! What is known about a mail: filled by the protocol sessions, read by filter and checks, never changed by either.

mod address;
mod connection;
mod message;
mod spare;

pub use address::{Address, Recipient, ReversePath, host_name};
pub(crate) use address::{assign_host_name, is_plain, without_extension};
pub use connection::{Client, Connection, Mta};
pub use message::{HeaderField, Kept, Message};

/// Everything known so far about one mail transaction, and the session it is part of.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client and how it reached the MTA.
    pub connection: Connection,
    /// The HELO or EHLO name in force, as the client typed it; `None` when it sent none.
    pub helo: Option<String>,
    /// The reverse-path, once MAIL was seen.
    pub sender: Option<ReversePath>,
    /// The login name of an authenticated client.
    pub login: Option<String>,
    /// The TLS version of an encrypted session, as the MTA names it.
    pub tls: Option<String>,
    /// What Postfix's `policy_context` says of the restriction that asks; only the policy protocol tells it.
    pub policy_context: Option<String>,
    /// The MTA's queue id, once there is one.
    pub queue_id: Option<String>,
    /// The recipient that is judged right now; only set at [`Stage::Rcpt`].
    pub recipient: Option<Recipient>,
    /// Recipients accepted so far by us, in order.
    pub accepted: Vec<Recipient>,
    /// Recipients accepted so far, as the MTA counts them (the policy protocol says so at DATA); else that of `accepted`.
    pub recipient_count: Option<u32>,
    /// Header and body, at [`Stage::EndOfMessage`].
    pub message: Option<Message>,
    /// Whether the content of this mail will be seen at [`Stage::EndOfMessage`], so that what it may excuse is judged there. A
    /// property of how the MTA asks: it holds for the whole session.
    pub content_follows: bool,
    /// Whether the milter asks about this mail too, after the policy service that asks now: what the content may excuse is judged there.
    pub milter_follows: bool,
}

impl Facts {
    /// Recipients accepted so far, by the MTA's count where it gave one.
    pub fn accepted_count(&self) -> usize {
        self.recipient_count.map_or(self.accepted.len(), |count| count as usize)
    }

    /// Forgets the mail and keeps the connection and the HELO name.
    pub fn end_transaction(&mut self) {
        *self = Self {
            connection: std::mem::take(&mut self.connection),
            helo: self.helo.take(),
            tls: self.tls.take(),
            content_follows: self.content_follows,
            ..Self::default()
        };
    }
}

/// A moment of the SMTP session at which something is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The client connected.
    Connect,
    /// The client said its name.
    Helo,
    /// MAIL FROM.
    Mail,
    /// One RCPT TO.
    Rcpt,
    /// DATA, before the content.
    Data,
    /// The whole message was received.
    EndOfMessage,
}

impl Stage {
    /// Every stage, in the order of the session.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Helo, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfMessage];

    /// The stage's name in logs and `explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::EndOfMessage => "end_of_message",
        }
    }
}

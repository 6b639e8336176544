//! One milter connection, without its socket: packets in, facts and answers out.

use std::sync::Arc;

use super::command::{Command, CommandError};
use super::frame::{Frame, FrameError};
use super::macros::{MacroStage, Macros};
use super::memory::{MessageMemory, Share};
use super::options::{NegotiationError, Options};
use super::reply::Response;
use super::state::{CommandKind, State};
use super::{peer, render};
use crate::facts::{Facts, Message, Recipient, ReversePath, Stage};
use crate::verdict::Verdict;

/// What a kept packet costs beside its bytes, in bytes: the entry in a list and the allocation behind it.
const PACKET_OVERHEAD: usize = 64;

/// What one connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory for one message, in bytes: its recipients, header and body, and the packets between them. A
    /// larger message is not kept and is deferred at its end; it is never judged by a part.
    pub message_bytes: usize,
    /// Memory for the messages of all connections that share it. A message it has no room for is deferred too.
    pub memory: MessageMemory,
}

/// 64 MiB for a message, 512 MiB for all.
impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes: 64 << 20, memory: MessageMemory::new(512 << 20) }
    }
}

/// One milter connection: where it is, and what it said so far.
#[derive(Debug)]
pub struct Session {
    state: State,
    options: Options,
    macros: Macros,
    facts: Facts,
    /// Grows while content arrives; moved into the facts when it is complete.
    message: Message,
    /// What the open message took so far, as [`Limits::message_bytes`] counts it.
    memory: Share,
    /// The open message takes more than it may; it is not kept.
    too_large: bool,
    transaction: u64,
    listener: Arc<str>,
    limits: Limits,
}

/// What to do after a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The command has no answer.
    Silent,
    /// The answer of the command.
    Answer(Response),
    /// Judge the facts, then give the verdict to [`Session::on_verdict`], which has the answer.
    Judge(Pending),
    /// The MTA is done.
    Quit,
    /// The MTA and we do not understand each other: close the connection. The MTA does what its configuration says.
    Close(ProtocolError),
}

/// An answer the MTA waits for; spent by giving it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the MTA waits for an answer"]
pub struct Pending(Stage);

impl Pending {
    /// The stage to judge.
    pub const fn stage(&self) -> Stage {
        self.0
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are no packets.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A packet is no command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is no common version.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// The command may not come now.
    #[error("unexpected {command} {state}")]
    OutOfOrder {
        /// The command.
        command: CommandKind,
        /// Where the session was.
        state: State,
    },
    /// The peer closed the connection within a packet.
    #[error("connection closed after {received} bytes of a packet")]
    Truncated {
        /// Bytes of the packet that came, length prefix included.
        received: usize,
    },
}

impl Session {
    /// A session on a connection the listener `listener` accepted.
    pub fn new(listener: Arc<str>, limits: Limits) -> Self {
        Self {
            state: State::Start,
            options: Options::default(),
            macros: Macros::default(),
            facts: nothing_known(),
            message: Message::default(),
            memory: limits.memory.share(),
            too_large: false,
            transaction: 0,
            listener,
            limits,
        }
    }

    /// What is known so far.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Counts the mail transactions of this connection: another number means that nothing found out for the
    /// last one holds any more. It changes when a message ends, and when the client says another HELO name.
    pub const fn transaction_number(&self) -> u64 {
        self.transaction
    }

    /// Takes the next packet.
    pub fn on_frame(&mut self, frame: Frame) -> Step {
        if self.state.in_message() {
            self.charge(frame.wire_len() + PACKET_OVERHEAD);
        }
        match Command::parse(frame) {
            Ok(command) => self.on_command(command),
            Err(error) => Step::Close(error.into()),
        }
    }

    /// Gives the answer to the command that led to `pending`.
    pub fn on_verdict(&mut self, pending: Pending, verdict: &Verdict) -> Response {
        let Pending(stage) = pending;
        let response = render::response(stage, verdict, &self.facts, &self.options);
        match stage {
            Stage::Rcpt => {
                let accepted = self.facts.recipient.take().filter(|_| !verdict.action().refuses());
                if !self.too_large {
                    self.facts.accepted.extend(accepted);
                }
            }
            Stage::EndOfMessage => self.end_message(),
            Stage::Connect | Stage::Helo | Stage::Mail | Stage::Data => {}
        }
        response
    }

    fn on_command(&mut self, command: Command) -> Step {
        let (kind, state) = (command.kind(), self.state);
        let Some(next) = state.next(kind) else {
            return Step::Close(ProtocolError::OutOfOrder { command: kind, state });
        };
        self.state = next;
        match command {
            Command::Negotiate(offer) => match Options::negotiate(offer) {
                Ok(options) => {
                    self.options = options;
                    Step::Answer(Response::Negotiated(options))
                }
                Err(error) => Step::Close(error.into()),
            },
            Command::Macros { stage, definitions } => {
                if let Some(stage) = stage {
                    self.macros.define(stage, &definitions);
                }
                Step::Silent
            }
            Command::Connect { host_name, peer } => {
                self.macros.enter(MacroStage::Connect);
                self.facts.connection =
                    peer::connection(&host_name, &peer, &self.macros, Arc::clone(&self.listener));
                Step::Judge(Pending(Stage::Connect))
            }
            Command::Helo(name) => {
                self.on_helo(name, state);
                Step::Judge(Pending(Stage::Helo))
            }
            Command::Mail(path) => {
                self.on_mail(&path, state);
                Step::Judge(Pending(Stage::Mail))
            }
            Command::Rcpt(path) => {
                self.macros.enter(MacroStage::Rcpt);
                self.learn_queue_id();
                self.facts.recipient = Some(Recipient::parse(&path));
                Step::Judge(Pending(Stage::Rcpt))
            }
            Command::Data => {
                self.learn_queue_id();
                Step::Judge(Pending(Stage::Data))
            }
            Command::Unknown => Step::Answer(Response::Continue),
            Command::Header(field) => {
                self.keep(|message| message.headers.push(field));
                self.answer_if(self.options.replies_to_header())
            }
            Command::EndOfHeader => {
                self.learn_queue_id();
                self.answer_if(self.options.replies_to_end_of_header())
            }
            Command::Body(chunk) => {
                self.keep(|message| message.body.push(chunk));
                self.answer_if(self.options.replies_to_body())
            }
            Command::EndOfMessage(chunk) => {
                if !chunk.is_empty() {
                    self.keep(|message| message.body.push(chunk));
                }
                self.on_end_of_message()
            }
            Command::Abort => {
                if state.in_message() {
                    self.end_message();
                }
                Step::Silent
            }
            Command::Quit => {
                self.forget_client();
                Step::Quit
            }
            Command::QuitNewConnection => {
                self.forget_client();
                Step::Silent
            }
        }
    }

    /// A second HELO replaces the first and ends the message it comes in (RFC 5321 §4.1.4).
    fn on_helo(&mut self, name: String, state: State) {
        self.macros.enter(MacroStage::Helo);
        if state.in_message() || self.facts.helo.is_some() {
            self.begin_transaction();
        }
        self.facts.helo = Some(name).filter(|name| !name.trim().is_empty());
        self.facts.tls = self.macros.get("tls_version");
    }

    fn on_mail(&mut self, path: &str, state: State) {
        self.macros.enter(MacroStage::Mail);
        if state.in_message() {
            self.begin_transaction();
        }
        self.facts.sender = Some(ReversePath::parse(path));
        self.facts.login = self.macros.get("auth_authen");
        self.learn_queue_id();
    }

    fn on_end_of_message(&mut self) -> Step {
        self.learn_queue_id();
        if self.too_large {
            self.end_message();
            return Step::Answer(render::too_large());
        }
        self.message.exact = self.options.exact_headers();
        self.facts.message = Some(std::mem::take(&mut self.message));
        Step::Judge(Pending(Stage::EndOfMessage))
    }

    /// Sendmail has a queue id at MAIL, Postfix from the second RCPT or DATA on.
    fn learn_queue_id(&mut self) {
        if let Some(id) = self.macros.of_message("i") {
            self.facts.queue_id = Some(id);
        }
    }

    fn charge(&mut self, bytes: usize) {
        let may_take = self.limits.message_bytes.saturating_sub(self.memory.taken());
        if self.too_large || bytes > may_take || !self.memory.take(bytes) {
            self.too_large = true;
            self.message = Message::default();
            self.memory.give_back();
        }
    }

    fn keep(&mut self, add: impl FnOnce(&mut Message)) {
        if !self.too_large {
            add(&mut self.message);
        }
    }

    fn answer_if(&self, replies: bool) -> Step {
        if replies { Step::Answer(Response::Continue) } else { Step::Silent }
    }

    /// Forgets the message and the macros that came with it.
    fn end_message(&mut self) {
        self.begin_transaction();
        self.macros.enter(MacroStage::Helo);
    }

    /// Forgets the message, but not the macros: those of the command that starts the next one are already here.
    fn begin_transaction(&mut self) {
        self.facts.end_transaction();
        self.message = Message::default();
        self.memory.give_back();
        self.too_large = false;
        self.transaction += 1;
    }

    fn forget_client(&mut self) {
        self.begin_transaction();
        self.facts = nothing_known();
        self.macros.clear();
    }
}

/// A milter sees the content of every mail.
fn nothing_known() -> Facts {
    Facts { content_follows: true, ..Facts::default() }
}

#[cfg(test)]
mod tests;

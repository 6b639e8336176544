//! One milter connection, without its socket: packets in, facts and answers out.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{Command, CommandError};
use super::frame::{Frame, FrameError};
use super::macros::{MacroStage, Macros};
use super::memory::{MessageMemory, Share};
use super::options::{NegotiationError, Options, Wishes};
use super::reply::{Refusal, Response};
use super::state::{CommandKind, State};
use super::{path, peer, render};
use crate::facts::{Facts, Kept, Message, Recipient, ReversePath, Stage, is_plain};
use crate::filter::Interest;
use crate::verdict::Verdict;

/// What a kept packet costs beside its bytes, in bytes: the entry in a list and the allocation behind it.
const PACKET_OVERHEAD: usize = 64;

/// What one connection may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory for one message, in bytes: its recipients, header and body, and the packets between them. A
    /// larger message is not kept: where a check that would read the rest is enforced, it is deferred at its end, never judged by a part.
    pub message_bytes: usize,
    /// Memory for the messages of all connections that share it. A message it has no room for is treated alike.
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
    /// What the open message had taken when its body began.
    memory_before_body: usize,
    /// What is kept of the open message.
    kept: Kept,
    /// Whether its body is read; `None` until that was asked, which is done only where the MTA lets us decline it.
    reads_body: Option<bool>,
    /// A refusal found where nobody waited for an answer, for every answer the open message still has.
    held: Option<Refusal>,
    transaction: u64,
    listener: Arc<str>,
    limits: Limits,
    wishes: Wishes,
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
    /// Judge the facts, then give the verdict to [`Session::on_unheard`]: the MTA goes on without an answer.
    JudgeUnheard(Unheard),
    /// Say to [`Session::on_body_weighed`], which has the answer, whether the body of this mail is read.
    WeighBody(PendingBody),
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

/// A stage that is judged and not answered: there is no way from here to a response.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a refusal found here is told with the next answer"]
pub struct Unheard(Stage);

impl Unheard {
    /// The stage to judge.
    pub const fn stage(&self) -> Stage {
        self.0
    }
}

/// An answer to the first piece of a body, which the MTA waits for.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the MTA waits for an answer"]
pub struct PendingBody(());

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
    /// A session on a connection the listener `listener` accepted, which will negotiate by `wishes`.
    pub fn new(listener: Arc<str>, limits: Limits, wishes: Wishes) -> Self {
        Self {
            state: State::Start,
            options: Options::default(),
            macros: Macros::default(),
            facts: nothing_known(),
            message: Message::default(),
            memory: limits.memory.share(),
            memory_before_body: 0,
            kept: Kept::Whole,
            reads_body: None,
            held: None,
            transaction: 0,
            listener,
            limits,
            wishes,
        }
    }

    /// What is known so far.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What came of the message so far.
    #[cfg(test)]
    pub(super) const fn message(&self) -> &Message {
        &self.message
    }

    /// Counts the mail transactions of this connection: another number means that nothing found out for the
    /// last one holds any more. It changes when a message ends, and when the client says another HELO name.
    pub const fn transaction_number(&self) -> u64 {
        self.transaction
    }

    /// Takes the next packet.
    pub fn on_frame(&mut self, frame: Frame) -> Step {
        if self.state.in_message() {
            let state = if frame.code == CommandKind::Body.code() { State::Body } else { self.state };
            self.charge(frame.wire_len() + PACKET_OVERHEAD, state);
        }
        match Command::parse(frame) {
            Ok(command) => self.on_command(command),
            Err(error) => Step::Close(error.into()),
        }
    }

    /// Where a piece of the body is read to that takes `wire_len` bytes as a packet: the end of the text, so that it need not be copied
    /// there. All of it is to be added, and then told by [`Self::on_piece`]. `None` where nothing is kept of it; then it is taken as
    /// any [packet](Self::on_frame).
    pub(super) fn place_of_piece(&mut self, wire_len: usize) -> Option<&mut Vec<u8>> {
        let next = self.state.next(CommandKind::Body)?;
        if self.reads_body == Some(false) {
            return None;
        }
        self.charge(wire_len + PACKET_OVERHEAD, next);
        if self.kept != Kept::Whole {
            return None;
        }
        self.state = next;
        self.message.set_exact(self.options.exact_headers());
        self.message.end_of_body(wire_len)
    }

    /// Goes on after a piece of the body was added in its [place](Self::place_of_piece).
    pub(super) fn on_piece(&mut self) -> Step {
        if self.reads_body.is_none() && self.options.may_skip_body() {
            Step::WeighBody(PendingBody(()))
        } else {
            self.go_on(CommandKind::Body)
        }
    }

    /// Whether mails of this connection can be judged by a policy with this `interest`: its MTA was told once and for all what to
    /// send and where to wait.
    pub fn serves(&self, interest: &Interest) -> bool {
        self.options.serves(interest)
    }

    /// Gives the answer to the command that led to `pending`.
    pub fn on_verdict(&mut self, pending: Pending, verdict: &Verdict) -> Response {
        let Pending(stage) = pending;
        self.respond(stage, verdict)
    }

    /// Takes the verdict on a command that is not answered. What it refuses is refused with the next answer: a policy that says so
    /// here is not the one that was negotiated for, or nothing would be said here.
    pub fn on_unheard(&mut self, unheard: Unheard, verdict: &Verdict) {
        let Unheard(stage) = unheard;
        if let Response::Refuse(refusal) = self.respond(stage, verdict) {
            self.held = Some(refusal);
        }
    }

    /// Gives the answer to the first piece of a body.
    pub fn on_body_weighed(&mut self, pending: PendingBody, reads_body: bool) -> Response {
        let PendingBody(()) = pending;
        self.reads_body = Some(reads_body);
        if reads_body {
            return Response::Continue;
        }
        self.message.clear_body();
        Response::SkipBody
    }

    fn respond(&mut self, stage: Stage, verdict: &Verdict) -> Response {
        let response = match (render::response(stage, verdict, &self.facts, &self.options), &self.held) {
            (Response::Refuse(refusal), held) if held.is_none() || self.kept == Kept::Whole => {
                Response::Refuse(refusal)
            }
            (_, Some(refusal)) => Response::Refuse(refusal.clone()),
            (response, None) => response,
        };
        match stage {
            Stage::Rcpt => {
                let is_refused = matches!(response, Response::Refuse(_));
                let accepted = self.facts.recipient.take().filter(|_| !is_refused);
                if self.kept == Kept::Whole {
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
            Command::Negotiate(offer) => match Options::negotiate(offer, &self.wishes) {
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
                self.judge(Stage::Connect, kind)
            }
            Command::Helo(name) => {
                self.on_helo(name, state);
                self.judge(Stage::Helo, kind)
            }
            Command::Mail(path) => {
                self.on_mail(&path, state);
                self.judge(Stage::Mail, kind)
            }
            Command::Rcpt(path) => {
                self.macros.enter(MacroStage::Rcpt);
                self.learn_queue_id(MacroStage::Rcpt);
                let mailbox = self.mailbox(MacroStage::Rcpt, "rcpt_addr", &path);
                let mailbox = if mailbox.is_empty() { &path } else { &*mailbox };
                self.facts.recipient = Some(Recipient::parse(mailbox));
                self.macros.forget(MacroStage::Rcpt);
                self.judge(Stage::Rcpt, kind)
            }
            Command::Data => {
                self.learn_queue_id(MacroStage::Data);
                self.judge(Stage::Data, kind)
            }
            Command::Unknown => self.go_on(kind),
            Command::Header(field) => {
                self.keep(|message| message.push_header(field));
                self.go_on(kind)
            }
            Command::EndOfHeader => {
                self.learn_queue_id(MacroStage::EndOfHeader);
                self.go_on(kind)
            }
            Command::Body(chunk) => self.on_body(chunk),
            Command::EndOfMessage(chunk) => {
                if !chunk.is_empty() && self.reads_body != Some(false) {
                    self.keep_body(&chunk);
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
        [self.facts.tls] = self.macros.get(["tls_version"]);
    }

    fn on_mail(&mut self, path: &str, state: State) {
        self.macros.enter(MacroStage::Mail);
        if state.in_message() {
            self.begin_transaction();
        }
        let sender = ReversePath::parse(&self.mailbox(MacroStage::Mail, "mail_addr", path));
        self.facts.sender = Some(sender);
        [self.facts.login] = self.macros.get(["auth_authen"]);
        self.learn_queue_id(MacroStage::Mail);
        self.macros.forget(MacroStage::Mail);
    }

    /// What the MTA finds in a path. Of plain addresses it is not asked, as it completes and rewrites them.
    fn mailbox<'a>(&self, stage: MacroStage, name: &str, path: &'a str) -> Cow<'a, str> {
        if is_plain(path) {
            return path.into();
        }
        path::mailbox(path, self.macros.defined(stage, name), &self.facts.connection.mta)
    }

    /// Keeps a piece of the body, and declines the others where nothing comes of them.
    fn on_body(&mut self, chunk: Bytes) -> Step {
        if (self.kept != Kept::Whole && self.options.may_skip_body()) || self.reads_body == Some(false) {
            return Step::Answer(Response::SkipBody);
        }
        self.keep_body(&chunk);
        self.on_piece()
    }

    fn on_end_of_message(&mut self) -> Step {
        self.learn_queue_id(MacroStage::EndOfMessage);
        self.message.set_exact(self.options.exact_headers());
        self.message.set_kept(self.kept);
        self.facts.message = Some(std::mem::take(&mut self.message));
        // The one stage that is always answered.
        Step::Judge(Pending(Stage::EndOfMessage))
    }

    /// Sendmail has a queue id at MAIL, Postfix from the second RCPT or DATA on. What came with earlier commands of the message was
    /// learned then.
    fn learn_queue_id(&mut self, stage: MacroStage) {
        if let Some(id) = self.macros.of(stage, "i") {
            self.facts.queue_id = Some(id);
        }
    }

    /// Takes memory for a packet that comes in `state`.
    fn charge(&mut self, bytes: usize, state: State) {
        if self.kept != Kept::Whole {
            return;
        }
        let may_take = self.limits.message_bytes.saturating_sub(self.memory.taken());
        let fits = bytes <= may_take && self.memory.take(bytes);
        if fits && state != State::Body {
            self.memory_before_body = self.memory.taken();
        } else if !fits && state == State::Body {
            self.kept = Kept::Header;
            self.message.clear_body();
            self.memory.shrink_to(self.memory_before_body);
        } else if !fits {
            self.kept = Kept::Nothing;
            self.message = Message::default();
            self.memory.give_back();
        }
    }

    fn keep(&mut self, add: impl FnOnce(&mut Message)) {
        if self.kept == Kept::Whole {
            add(&mut self.message);
        }
    }

    fn keep_body(&mut self, chunk: &[u8]) {
        let is_exact = self.options.exact_headers();
        self.keep(|message| {
            message.set_exact(is_exact);
            message.push_body(chunk);
        });
    }

    /// The stage is judged, and answered where the MTA waits for it.
    fn judge(&self, stage: Stage, command: CommandKind) -> Step {
        match self.options.answers(command) {
            true => Step::Judge(Pending(stage)),
            false => Step::JudgeUnheard(Unheard(stage)),
        }
    }

    /// Nothing is judged; the MTA may be waiting all the same.
    fn go_on(&self, command: CommandKind) -> Step {
        if self.options.answers(command) { Step::Answer(Response::Continue) } else { Step::Silent }
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
        self.memory_before_body = 0;
        self.kept = Kept::Whole;
        self.reads_body = None;
        self.held = None;
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

//! Scenarios, every cell of the transition table, and random orders of commands.

mod agreed;
mod large;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::facts::{Client, HeaderField};
use crate::milter::command::Peer;
use crate::milter::options::{Offer, Transport};
use crate::reason::Reason;
use crate::verdict::{Code, Finding, Outcome, Reply};

const OFFER: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

/// As OFFER, without the NR_* bits.
const OFFER_WITH_REPLIES: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x37f };

/// What the shipped policy wishes over TCP.
const WISHES: Wishes = Wishes { interest: Interest::ALL, transport: Transport::Tcp };

/// Plays the MTA against a session and judges each stage.
struct Mta {
    session: Session,
    /// Whether bodies are read, where that is asked.
    reads_body: bool,
}

impl Mta {
    fn new() -> Self {
        Self::with(OFFER, Limits::default())
    }

    fn with(offer: Offer, limits: Limits) -> Self {
        Self::wishing(Interest::ALL, offer, limits)
    }

    fn wishing(interest: Interest, offer: Offer, limits: Limits) -> Self {
        let mut session = Session::new("mx".into(), limits, Wishes { interest, ..WISHES });
        assert!(matches!(
            session.on_command(Command::Negotiate(offer)),
            Step::Answer(Response::Negotiated(_))
        ));
        Self { session, reads_body: true }
    }

    /// A session in which a client is connected and said HELO.
    fn greeted() -> Self {
        let mut mta = Self::new();
        mta.accept(connect());
        mta.accept(Command::Helo("c.test".into()));
        mta
    }

    /// Sends a command; what is to be judged gets the verdict.
    fn send(&mut self, command: Command, verdict: &Verdict) -> Option<Response> {
        match self.session.on_command(command) {
            Step::Silent => None,
            Step::Answer(response) => Some(response),
            Step::Judge(pending) => Some(self.session.on_verdict(pending, verdict)),
            Step::JudgeUnheard(unheard) => {
                self.session.on_unheard(unheard, verdict);
                None
            }
            Step::WeighBody(pending) => Some(self.session.on_body_weighed(pending, self.reads_body)),
            step => panic!("{step:?}"),
        }
    }

    fn accept(&mut self, command: Command) -> Option<Response> {
        self.send(command, &Verdict::default())
    }

    fn macros(&mut self, stage: MacroStage, definitions: &'static [u8]) {
        let definitions = Bytes::from_static(definitions);
        assert_eq!(self.accept(Command::Macros { stage: Some(stage), definitions }), None);
    }

    /// Sends a whole packet and expects no answer.
    fn silent_frame(&mut self, code: u8, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        assert_eq!(self.session.on_frame(Frame { code, payload }), Step::Silent);
    }

    fn facts(&self) -> &Facts {
        self.session.facts()
    }

    fn accepted(&self) -> Vec<&str> {
        self.facts().accepted.iter().map(Recipient::raw).collect()
    }
}

fn connect() -> Command {
    let peer = Peer::Internet { port: 4242, address: "192.0.2.1".into() };
    Command::Connect { host_name: "[192.0.2.1]".into(), peer }
}

fn mail() -> Command {
    Command::Mail("<a@b.test>".into())
}

fn rcpt(name: &str) -> Command {
    Command::Rcpt(format!("<{name}@x.test>"))
}

fn header() -> Command {
    Command::Header(HeaderField { name: Bytes::from_static(b"Subject"), value: Bytes::from_static(b"hi") })
}

fn body() -> Command {
    Command::Body(Bytes::from_static(b"Hello\r\n"))
}

fn end() -> Command {
    Command::EndOfMessage(Bytes::new())
}

fn refusing() -> Verdict {
    let outcome = Outcome::Reject(Reply::new(Code::C550, (7, 1), "No."));
    Verdict {
        findings: vec![Finding { reason: Reason::HeloBanned, outcome, detail: String::new() }],
        would: Vec::new(),
        edits: Vec::new(),
    }
}

fn is_refusal(response: Option<Response>) -> bool {
    matches!(response, Some(Response::Refuse(_)))
}

#[test]
fn a_message_becomes_facts() {
    let mut mta = Mta::new();
    mta.macros(MacroStage::Connect, b"j\0mx.test\0v\0Postfix 3.7.11\0");
    assert_eq!(mta.accept(connect()), None);
    assert_eq!(mta.facts().connection.client, Client::parse("192.0.2.1"));
    assert_eq!(mta.facts().connection.mta.host_name.as_deref(), Some("mx.test"));
    assert_eq!(&*mta.facts().connection.listener, "mx");

    mta.macros(MacroStage::Helo, b"{tls_version}\0TLSv1.3\0");
    mta.accept(Command::Helo("c.test".into()));
    assert_eq!(mta.facts().helo.as_deref(), Some("c.test"));
    assert_eq!(mta.facts().tls.as_deref(), Some("TLSv1.3"));

    mta.macros(MacroStage::Mail, b"{auth_authen}\0joe\0");
    mta.accept(mail());
    assert_eq!(mta.facts().sender, Some(ReversePath::parse("a@b.test")));
    assert_eq!(mta.facts().login.as_deref(), Some("joe"));
    assert_eq!(mta.facts().queue_id, None);

    assert_eq!(mta.accept(rcpt("bob")), Some(Response::Continue));
    mta.macros(MacroStage::Rcpt, b"i\0A1\0");
    assert!(is_refusal(mta.send(rcpt("eve"), &refusing())));
    assert_eq!(mta.facts().queue_id.as_deref(), Some("A1"));
    mta.accept(rcpt("carol"));
    assert_eq!(mta.accepted(), ["bob@x.test", "carol@x.test"]);
    assert_eq!(mta.facts().recipient, None);

    mta.accept(Command::Data);
    assert_eq!(mta.accept(header()), None);
    assert_eq!(mta.accept(Command::EndOfHeader), None);
    assert_eq!(mta.accept(body()), None);
    let Step::Judge(pending) = mta.session.on_command(Command::EndOfMessage(Bytes::from_static(b"end\r\n")))
    else {
        panic!("the message is judged")
    };
    let message = mta.facts().message.as_ref().unwrap();
    assert_eq!(message.text(), b"Subject:hi\r\n\r\nHello\r\nend\r\n", "as it came, byte for byte");
    assert_eq!(mta.session.on_verdict(pending, &Verdict::default()), Response::Deliver(Vec::new()));
}

#[test]
fn what_the_mta_made_of_a_path_is_judged_where_it_is_no_plain_address() {
    let sender = |path: &str, macros: &'static [u8]| {
        let mut mta = Mta::new();
        mta.macros(MacroStage::Connect, b"j\0mx.test\0v\0Postfix 3.7.11\0");
        mta.accept(connect());
        mta.macros(MacroStage::Mail, macros);
        mta.accept(Command::Mail(path.into()));
        mta.facts().sender.clone().unwrap()
    };
    for (path, macros, read) in [
        ("<ceo@bank.test(x@evil.test>", &b"{mail_addr}\0ceo@bank.test\0"[..], "ceo@bank.test"),
        ("<;>", b"{mail_addr}\0\0", "<>"),
        ("<ceo@bank.test(x@evil.test>", b"{auth_authen}\0joe\0", "ceo@bank.test(x@evil.test"),
        ("<ceo>", b"{mail_addr}\0ceo@mx.test\0", "ceo"),
    ] {
        assert_eq!(sender(path, macros), ReversePath::parse(read), "{path}");
    }

    let recipient = |version: &'static [u8], path: &str, macros: [&'static [u8]; 2]| {
        let mut mta = Mta::new();
        mta.macros(MacroStage::Connect, version);
        mta.accept(connect());
        mta.accept(mail());
        let mut recipient = None;
        for macros in macros {
            if !macros.is_empty() {
                mta.macros(MacroStage::Rcpt, macros);
            }
            mta.session.on_command(Command::Rcpt(path.into()));
            recipient = mta.session.facts.recipient.take();
        }
        recipient.unwrap()
    };
    let (postfix, sendmail) = (&b"v\0Postfix 3.7.11\0"[..], &b"v\08.17.1\0"[..]);
    let resolved = [&b"i\0A1\0"[..], b"{rcpt_addr}\0bob@school.test\0"];
    let trick = "postmaster@<bob%school.test>";
    assert_eq!(recipient(postfix, trick, resolved), Recipient::parse("bob@school.test"));
    let of_the_first = recipient(postfix, trick, [resolved[1], b""]);
    assert_eq!(of_the_first, Recipient::parse(trick), "a set is of one recipient");
    let completed = recipient(postfix, "<bob>", [b"", b"{rcpt_addr}\0bob@mx.test\0"]);
    assert_eq!(completed, Recipient::parse("<bob>"));
    let local = [&b""[..], b"{rcpt_addr}\0john.private\0"];
    assert_eq!(
        recipient(sendmail, "postmaster@<bob@school.test>", local),
        Recipient::parse("bob@school.test")
    );
}

#[test]
fn the_recipient_is_known_while_it_is_judged() {
    let mut mta = Mta::greeted();
    mta.accept(mail());
    let step = mta.session.on_command(rcpt("bob"));
    assert_eq!(step, Step::Judge(Pending(Stage::Rcpt)));
    assert_eq!(mta.facts().recipient, Some(Recipient::parse("bob@x.test")));
}

#[test]
fn an_empty_message_is_judged_too() {
    let mut mta = Mta::greeted();
    mta.accept(mail());
    assert_eq!(mta.session.on_command(end()), Step::Judge(Pending(Stage::EndOfMessage)));
    assert!(mta.facts().message.as_ref().is_some_and(Message::is_empty));
}

#[test]
fn a_finished_message_leaves_nothing_behind() {
    for (how, last, verdict) in [
        ("accepted", end(), Verdict::default()),
        ("refused", end(), refusing()),
        ("aborted", Command::Abort, Verdict::default()),
    ] {
        let mut mta = Mta::greeted();
        mta.macros(MacroStage::Mail, b"i\0A1\0{auth_authen}\0joe\0");
        for command in [mail(), rcpt("bob"), Command::Data, header(), body()] {
            mta.accept(command);
        }
        let number = mta.session.transaction_number();
        mta.send(last, &verdict);
        assert_ne!(mta.session.transaction_number(), number, "{how}");
        let facts = mta.facts();
        assert_eq!((&facts.sender, &facts.login, &facts.queue_id), (&None, &None, &None), "{how}");
        assert!(facts.accepted.is_empty() && facts.message.is_none(), "{how}");
        assert_eq!(facts.helo.as_deref(), Some("c.test"), "{how}");
        assert_eq!(facts.connection.client_port, 4242, "{how}");

        // Neither queue id nor login of the last message shows up in the next.
        mta.accept(mail());
        assert_eq!((&mta.facts().queue_id, &mta.facts().login), (&None, &None), "{how}");
        mta.session.on_command(end());
        assert!(mta.facts().message.as_ref().is_some_and(Message::is_empty), "{how}");
    }
}

#[test]
fn abort_outside_a_message_changes_nothing() {
    let mut mta = Mta::greeted();
    let number = mta.session.transaction_number();
    mta.accept(Command::Abort);
    mta.accept(Command::Abort);
    assert_eq!(mta.session.transaction_number(), number);
    assert_eq!(mta.facts().helo.as_deref(), Some("c.test"));
}

#[test]
fn mail_without_abort_starts_afresh() {
    let mut mta = Mta::greeted();
    assert!(is_refusal(mta.send(mail(), &refusing())));
    mta.accept(rcpt("bob"));
    let number = mta.session.transaction_number();
    mta.macros(MacroStage::Mail, b"i\0A2\0");
    assert_eq!(mta.accept(mail()), Some(Response::Continue));
    assert_ne!(mta.session.transaction_number(), number);
    assert!(mta.accepted().is_empty());
    assert_eq!(mta.facts().queue_id.as_deref(), Some("A2"), "its own macros came before it");
}

#[test]
fn recipients_and_data_may_follow_a_refused_data() {
    let mut mta = Mta::greeted();
    mta.accept(mail());
    mta.accept(rcpt("bob"));
    assert!(is_refusal(mta.send(Command::Data, &refusing())));
    assert_eq!(mta.accept(rcpt("carol")), Some(Response::Continue));
    assert_eq!(mta.accept(Command::Data), Some(Response::Continue));
    assert_eq!(mta.accepted(), ["bob@x.test", "carol@x.test"]);
}

#[test]
fn a_second_helo_replaces_the_first_and_ends_the_message() {
    let mut mta = Mta::greeted();
    mta.accept(mail());
    let number = mta.session.transaction_number();
    mta.macros(MacroStage::Helo, b"{tls_version}\0TLSv1.3\0");
    assert_eq!(mta.accept(Command::Helo("other.test".into())), None);
    assert_ne!(mta.session.transaction_number(), number);
    assert_eq!(mta.facts().helo.as_deref(), Some("other.test"));
    assert_eq!(mta.facts().tls.as_deref(), Some("TLSv1.3"));
    assert_eq!(mta.facts().sender, None);

    let number = mta.session.transaction_number();
    mta.accept(Command::Abort);
    mta.accept(mail());
    assert_eq!(mta.session.transaction_number(), number, "Postfix's ABORT after it begins nothing");
}

#[test]
fn what_was_prefetched_for_the_first_helo_serves_the_first_message() {
    let mut mta = Mta::new();
    mta.accept(connect());
    mta.accept(Command::Helo(" ".into()));
    mta.accept(mail());
    assert_eq!(mta.session.transaction_number(), 0);
    assert_eq!(mta.facts().helo, None, "an empty name is none");
}

#[test]
fn quit_nc_waits_for_another_client() {
    let mut mta = Mta::new();
    mta.macros(MacroStage::Connect, b"j\0mx.test\0");
    for command in [connect(), Command::Helo("c.test".into()), mail()] {
        mta.accept(command);
    }
    let number = mta.session.transaction_number();
    assert_eq!(mta.accept(Command::QuitNewConnection), None);
    assert_ne!(mta.session.transaction_number(), number);
    assert_eq!((&mta.facts().helo, &mta.facts().sender), (&None, &None));
    mta.accept(connect());
    assert_eq!(mta.facts().connection.mta.host_name, None);
    assert_eq!(mta.session.options, Options::negotiate(OFFER, &WISHES).unwrap(), "without negotiation");
}

#[test]
fn refusals_at_connect_and_helo_are_held() {
    for (offer, expected) in [(OFFER, None), (OFFER_WITH_REPLIES, Some(Response::Continue))] {
        let mut mta = Mta::with(offer, Limits::default());
        assert_eq!(mta.send(connect(), &refusing()), expected);
        assert_eq!(mta.send(Command::Helo("x".into()), &refusing()), expected);
        assert_eq!(mta.accept(mail()), Some(Response::Continue), "the verdict at RCPT says it");
    }
}

#[test]
fn a_malformed_packet_closes_the_connection() {
    let mut mta = Mta::new();
    let step = mta.session.on_frame(Frame { code: b'C', payload: Bytes::from_static(b"host") });
    let Step::Close(error) = step else { panic!("{step:?}") };
    assert_eq!(
        error.to_string(),
        "malformed CONNECT packet of 4 bytes, expected host name, family, port and address"
    );
}

#[test]
fn an_old_mta_is_refused() {
    let mut session = Session::new("mx".into(), Limits::default(), WISHES);
    let step = session.on_command(Command::Negotiate(Offer { version: 1, ..OFFER }));
    assert_eq!(step, Step::Close(NegotiationError::TooOld(1).into()));
}

fn command(kind: CommandKind, offer: Offer) -> Command {
    match kind {
        CommandKind::Negotiate => Command::Negotiate(offer),
        CommandKind::Macros => Command::Macros { stage: None, definitions: Bytes::new() },
        CommandKind::Connect => connect(),
        CommandKind::Helo => Command::Helo("c.test".into()),
        CommandKind::Mail => mail(),
        CommandKind::Rcpt => rcpt("bob"),
        CommandKind::Data => Command::Data,
        CommandKind::Unknown => Command::Unknown,
        CommandKind::Header => header(),
        CommandKind::EndOfHeader => Command::EndOfHeader,
        CommandKind::Body => body(),
        CommandKind::EndOfMessage => end(),
        CommandKind::Abort => Command::Abort,
        CommandKind::Quit => Command::Quit,
        CommandKind::QuitNewConnection => Command::QuitNewConnection,
    }
}

/// The shortest way into each state.
fn session_in(state: State, offer: Offer) -> Session {
    use CommandKind::*;
    let path: &[CommandKind] = match state {
        State::Start => &[],
        State::Ready => &[Negotiate],
        State::Connected => &[Negotiate, Connect],
        State::Envelope => &[Negotiate, Connect, Mail],
        State::Header => &[Negotiate, Connect, Mail, Header],
        State::Body => &[Negotiate, Connect, Mail, EndOfHeader],
    };
    let mut session = Session::new("mx".into(), Limits::default(), WISHES);
    for kind in path {
        match session.on_command(command(*kind, offer)) {
            Step::Judge(pending) => drop(session.on_verdict(pending, &Verdict::default())),
            Step::JudgeUnheard(unheard) => session.on_unheard(unheard, &Verdict::default()),
            _ => {}
        }
    }
    assert_eq!(session.state, state);
    session
}

/// What a step is, as one letter: `-` silent, `o` options, `c` continue, `j` judge, `u` judge
/// without an answer, `q` quit, `X` close.
fn letter(step: &Step) -> char {
    match step {
        Step::Silent => '-',
        Step::Answer(Response::Negotiated(_)) => 'o',
        Step::Answer(Response::Continue) => 'c',
        Step::Answer(_) => '?',
        Step::Judge(_) => 'j',
        Step::JudgeUnheard(_) => 'u',
        Step::WeighBody(_) => 'w',
        Step::Quit => 'q',
        Step::Close(_) => 'X',
    }
}

#[test]
fn what_each_command_leads_to_in_each_state() {
    #[rustfmt::skip]
    let expected = [
        //                 ODCHMRTULNBEAQK with NR_*, then without
        (State::Start,     "oXXXXXXXXXXX-q-", "oXXXXXXXXXXX-q-"),
        (State::Ready,     "X-uXXXXcXXXX-q-", "X-jXXXXcXXXX-q-"),
        (State::Connected, "X-XujXXcXXXX-q-", "X-XjjXXcXXXX-q-"),
        (State::Envelope,  "X-Xujjjc---j-q-", "X-Xjjjjccccj-q-"),
        (State::Header,    "X-XujXXc---j-q-", "X-XjjXXccccj-q-"),
        (State::Body,      "X-XujXXcXX-j-q-", "X-XjjXXcXXcj-q-"),
    ];
    for (state, without_replies, with_replies) in expected {
        for (offer, expected) in [(OFFER, without_replies), (OFFER_WITH_REPLIES, with_replies)] {
            let steps = CommandKind::ALL.map(|kind| {
                let mut session = session_in(state, offer);
                letter(&session.on_command(command(kind, offer)))
            });
            assert_eq!(String::from_iter(steps), expected, "{state}");
        }
    }
}

/// Commands in any order, each with whether it is refused.
fn commands() -> impl Strategy<Value = Vec<(CommandKind, bool)>> {
    prop::collection::vec((prop::sample::select(&CommandKind::ALL[..]), any::<bool>()), 0..60)
}

proptest! {
    #[test]
    fn every_order_of_commands_gets_exactly_one_reply_where_one_is_due(
        commands in commands(),
        nr in any::<bool>(),
        strict in any::<bool>(),
    ) {
        let offer = if nr { OFFER } else { OFFER_WITH_REPLIES };
        let mut session = session_in(State::Connected, offer);
        for (kind, refuse) in commands {
            // Without this most runs would end at once.
            if !strict && session.state.next(kind).is_none() {
                continue;
            }
            let verdict = if refuse { refusing() } else { Verdict::default() };
            let silent = match kind {
                CommandKind::Macros | CommandKind::Abort | CommandKind::QuitNewConnection => true,
                CommandKind::Connect | CommandKind::Helo => nr,
                CommandKind::Header | CommandKind::EndOfHeader | CommandKind::Body => nr,
                _ => false,
            };
            match session.on_command(command(kind, offer)) {
                Step::Silent => prop_assert!(silent, "{kind} was not answered"),
                Step::Answer(_) => prop_assert!(!silent, "{kind} was answered"),
                Step::Judge(pending) => {
                    prop_assert!(!silent, "{kind} was answered");
                    let response = session.on_verdict(pending, &verdict);
                    let held = matches!(kind, CommandKind::Connect | CommandKind::Helo);
                    prop_assert_eq!(is_refusal(Some(response)), refuse && !held);
                }
                Step::JudgeUnheard(unheard) => {
                    prop_assert!(silent, "{kind} was not answered");
                    session.on_unheard(unheard, &verdict);
                }
                Step::WeighBody(_) => prop_assert!(false, "SKIP was not agreed"),
                Step::Quit => {
                    prop_assert_eq!(kind, CommandKind::Quit);
                    break;
                }
                Step::Close(error) => {
                    prop_assert!(matches!(error, ProtocolError::OutOfOrder { .. }), "{}", error);
                    break;
                }
            }
        }
    }

    #[test]
    fn any_packet_is_a_command_or_an_error(
        frames in prop::collection::vec(
            (prop::sample::select(b"ODCHMRTULNBEAKx".to_vec()), prop::collection::vec(any::<u8>(), 0..80)),
            0..20,
        ),
    ) {
        let mut session = session_in(State::Connected, OFFER);
        for (code, payload) in frames {
            match session.on_frame(Frame { code, payload: payload.into() }) {
                Step::Judge(pending) => drop(session.on_verdict(pending, &Verdict::default())),
                Step::JudgeUnheard(unheard) => session.on_unheard(unheard, &Verdict::default()),
                Step::Close(_) => break,
                _ => {}
            }
        }
    }
}

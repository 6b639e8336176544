//! From request to facts, from verdict to response.
//!
//! A connection belongs to one smtpd process and carries the requests of many SMTP sessions, so every request brings all facts anew.
//! What lasts is the mail under way, known by its `instance`: which of its recipients we let pass, and whether it is tagged.

use std::net::SocketAddr;
use std::sync::Arc;

use super::action::{Response, TagHeader};
use super::request::{Decoder, ProtocolState, Request};
use crate::facts::{Client, Connection, Facts, ReversePath, Stage, assign_host_name};
use crate::reason::Check;
use crate::verdict::{Action, Finding, Verdict};

/// Most recipients of one mail that are remembered; Postfix itself stops at 1,000 (`smtpd_recipient_limit`).
const MAX_REMEMBERED: usize = 10_000;

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Judge [`Session::facts`] and pass the verdict to [`Session::on_verdict`].
    Judge {
        /// The stage to judge.
        stage: Stage,
        /// Whether this is the first request about this mail.
        begins: bool,
    },
    /// Answer without judging.
    Answer(Response<'static>),
}

/// One connection of Postfix.
#[derive(Debug)]
pub struct Session {
    facts: Facts,
    /// The sender of the request before. It lends its memory to the next one.
    sender_before: Option<ReversePath>,
    /// The mail under way; a request without an instance is a mail of its own.
    instance: Option<Vec<u8>>,
    /// Whether the mail under way got its header.
    tagged: bool,
    /// The first request about the mail under way, where that was let pass unread.
    unread: Vec<u8>,
}

impl Session {
    /// A new connection to the listener with this name.
    pub fn new(listener: Arc<str>) -> Self {
        let connection = Connection { listener, ..Connection::default() };
        let facts = Facts { connection, ..Facts::default() };
        Self { facts, sender_before: None, instance: None, tagged: false, unread: Vec::new() }
    }

    /// What is known of the mail under way, as of the last request that was to be judged: of one that was let pass unread, nothing.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes note of whether the milter asks about this mail too.
    pub(super) const fn set_milter_follows(&mut self, follows: bool) {
        self.facts.milter_follows = follows;
    }

    /// Whether a request of this instance is the first about a mail, whatever else it says.
    pub(super) fn is_first_of(&self, instance: Option<&[u8]>) -> bool {
        instance.is_none() || instance != self.instance.as_deref()
    }

    /// Lets the recipient of a mail's first request pass, which is read only if there is another about the mail.
    pub(super) fn let_pass_unread(&mut self, request: &[u8], instance: Option<&[u8]>) {
        self.unread.clear();
        self.unread.extend_from_slice(request);
        set(&mut self.instance, instance);
    }

    /// Catches up with a request that was let pass unread, if it was about the mail of this one.
    fn read_unread(&mut self, request: &Request<'_>) {
        if self.unread.is_empty() {
            return;
        }
        let unread = std::mem::take(&mut self.unread);
        if !self.is_first_of(request.instance.as_deref().map(str::as_bytes))
            && let Ok(Some(first)) = Decoder::default().decode(&unread)
        {
            // As it was before that request.
            self.instance = None;
            self.on_request(&first);
            self.remember_recipient();
        }
        self.unread = unread;
        self.unread.clear();
    }

    /// Takes in a request.
    ///
    /// END-OF-MESSAGE is not judged, as this protocol shows no content; nor are VRFY, ETRN and states a later Postfix may invent,
    /// as they deliver nothing.
    pub fn on_request(&mut self, request: &Request<'_>) -> Step {
        let stage = match request.protocol_state {
            ProtocolState::Connect => Stage::Connect,
            ProtocolState::Ehlo | ProtocolState::Helo => Stage::Helo,
            ProtocolState::Mail => Stage::Mail,
            ProtocolState::Rcpt => Stage::Rcpt,
            ProtocolState::Data => Stage::Data,
            ProtocolState::EndOfMessage
            | ProtocolState::Vrfy
            | ProtocolState::Etrn
            | ProtocolState::Other => return Step::Answer(Response::Dunno),
        };
        self.read_unread(request);
        let client_before = client(&self.facts);
        std::mem::swap(&mut self.facts.sender, &mut self.sender_before);
        learn(&mut self.facts, request, stage);
        // RSET and disconnect are not announced: another instance says that the earlier mail is over. So does another client or
        // sender, whatever a peer that is not Postfix writes there: what was found out about one must not be held of the other.
        let instance = request.instance.as_deref().map(str::as_bytes);
        let begins =
            self.is_first_of(instance) || client(&self.facts) != client_before || self.is_of_another_sender();
        set(&mut self.instance, instance);
        let spare =
            self.facts.recipient.take().or_else(|| if begins { self.facts.accepted.pop() } else { None });
        if begins {
            self.tagged = false;
            self.facts.accepted.clear();
        }
        self.facts.recipient = request.recipient.as_deref().filter(|_| stage == Stage::Rcpt).map(|text| {
            let mut recipient = spare.unwrap_or_default();
            recipient.assign_internal(text);
            recipient
        });
        // Where Postfix asks in several restriction lists, it asks about one recipient several times: it is accepted when it passes
        // the last of them, and takes no place from itself until then.
        if let Some(recipient) = &self.facts.recipient {
            self.facts.accepted.retain(|accepted| accepted != recipient);
        }
        Step::Judge { stage, begins }
    }

    /// Before MAIL there is no sender yet.
    fn is_of_another_sender(&self) -> bool {
        let senders = self.facts.sender.as_ref().zip(self.sender_before.as_ref());
        senders.is_some_and(|(new, before)| new != before)
    }

    /// The response to a verdict on [`Self::facts`].
    ///
    /// A tag is one header a mail, put there at RCPT or DATA. Earlier there is no mail to put it on: CONNECT, HELO and MAIL answer
    /// DUNNO, and the check finds the same again at RCPT. Quarantine has no meaning for a single recipient and answers DUNNO.
    pub fn on_verdict<'a>(&mut self, stage: Stage, verdict: &'a Verdict) -> Response<'a> {
        if let Some(response) = verdict.decisive().and_then(refusal) {
            return response;
        }
        if stage == Stage::Rcpt {
            self.remember_recipient();
        }
        let tags =
            verdict.action() == Action::Tag && matches!(stage, Stage::Rcpt | Stage::Data) && !self.tagged;
        match TagHeader::new(&verdict.findings) {
            Some(header) if tags => {
                self.tagged = true;
                Response::Prepend(header)
            }
            _ => Response::Dunno,
        }
    }

    fn remember_recipient(&mut self) {
        let accepted = &mut self.facts.accepted;
        if let Some(recipient) = self.facts.recipient.take()
            && accepted.len() < MAX_REMEMBERED
        {
            accepted.push(recipient);
        }
    }
}

/// A greylisted mail must not be told to come again where a later restriction refuses it for good.
fn refusal(finding: &Finding) -> Option<Response<'_>> {
    let reply = finding.outcome.reply()?;
    let greylisted = finding.reason.check() == Check::Greylist && reply.code().class() == 4;
    Some(if greylisted { Response::DeferIfPermit(reply) } else { Response::Refuse(reply) })
}

/// Address and port, which are one SMTP session.
fn client(facts: &Facts) -> (Client, u16) {
    (facts.connection.client, facts.connection.client_port)
}

/// Takes over what a request says, but the recipient.
fn learn(facts: &mut Facts, request: &Request<'_>, stage: Stage) {
    let connection = &mut facts.connection;
    connection.client = request.client_address.as_deref().map_or(Client::Unknown, Client::parse);
    connection.client_port = request.client_port.unwrap_or(0);
    let client_name = request.client_name.as_deref().filter(|name| *name != "unknown");
    assign_host_name(&mut connection.client_name, client_name.unwrap_or_default());
    let server_ip = request.server_address.as_deref().and_then(|address| Client::parse(address).ip());
    connection.local = server_ip.zip(request.server_port).map(|(ip, port)| SocketAddr::new(ip, port));
    set_version(&mut connection.mta.version, request.mail_version.as_deref());
    set(&mut facts.helo, request.helo_name.as_deref());
    // Empty means the null reverse-path from MAIL on, and not yet known before.
    match request.sender.as_deref().unwrap_or_default() {
        _ if stage < Stage::Mail => facts.sender = None,
        sender => facts.sender.get_or_insert(ReversePath::Null).assign_internal(sender),
    }
    set(&mut facts.login, request.sasl_username.as_deref());
    set(&mut facts.tls, request.encryption_protocol.as_deref());
    set(&mut facts.policy_context, request.policy_context.as_deref());
    set(&mut facts.queue_id, request.queue_id.as_deref());
    // Before DATA it is 0, whatever was accepted.
    facts.recipient_count = request.recipient_count.filter(|_| stage == Stage::Data);
}

/// `*known = text`, in the memory it has.
fn set<T: ToOwned + ?Sized>(known: &mut Option<T::Owned>, text: Option<&T>) {
    match (known.as_mut(), text) {
        (Some(known), Some(text)) => text.clone_into(known),
        (_, text) => *known = text.map(T::to_owned),
    }
}

fn set_version(known: &mut Option<String>, version: Option<&str>) {
    let name = "Postfix ";
    if known.as_deref().and_then(|known| known.strip_prefix(name)) != version {
        *known = version.map(|version| [name, version].concat());
    }
}

#[cfg(test)]
impl Session {
    /// Whether the first request about the mail under way was not read yet.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delegation::Decoder;
    use crate::facts::{Mta, Recipient};
    use crate::reason::Reason;
    use crate::verdict::{Code, Outcome, Reply};

    fn session() -> Session {
        Session::new("policy".into())
    }

    fn ask(session: &mut Session, attributes: &str) -> Step {
        let text = format!("request=smtpd_access_policy\n{}\n\n", attributes.replace(' ', "\n"));
        session.on_request(&Decoder::default().decode(text.as_bytes()).unwrap().unwrap())
    }

    fn rcpt(session: &mut Session, instance: &str, recipient: &str) -> Step {
        let attributes = format!("protocol_state=RCPT instance={instance} recipient={recipient}");
        ask(session, &attributes)
    }

    fn verdict(findings: &[(Reason, Outcome)]) -> Verdict {
        let finding = |(reason, outcome): &(Reason, Outcome)| Finding {
            reason: *reason,
            outcome: outcome.clone(),
            detail: String::new(),
        };
        Verdict { findings: findings.iter().map(finding).collect(), would: Vec::new(), edits: Vec::new() }
    }

    fn tag() -> Verdict {
        verdict(&[(Reason::HeloNoAddress, Outcome::Tag)])
    }

    fn accepted(session: &Session) -> Vec<&str> {
        session.facts().accepted.iter().map(Recipient::raw).collect()
    }

    const JUDGE_FIRST: Step = Step::Judge { stage: Stage::Rcpt, begins: true };
    const JUDGE_NEXT: Step = Step::Judge { stage: Stage::Rcpt, begins: false };

    #[test]
    fn a_request_becomes_facts() {
        let mut session = session();
        let step = ask(
            &mut session,
            "protocol_state=RCPT client_address=::ffff:192.0.2.1 client_name=MX.Example.Test. client_port=25000 \
             server_address=2001:db8::1 server_port=25 helo_name=Mx.Example.Test sender=A@B.test \
             recipient=Bob@c.test recipient_count=0 queue_id=F2DEA9A6504 instance=1.2 sasl_username=joe \
             encryption_protocol=TLSv1.3 policy_context=submission mail_version=3.10.13",
        );
        assert_eq!(step, JUDGE_FIRST);
        let facts = session.facts();
        let connection = &facts.connection;
        assert_eq!(connection.client.to_string(), "192.0.2.1");
        assert_eq!(connection.client_port, 25000);
        assert_eq!(connection.client_name.as_deref(), Some("mx.example.test"));
        assert_eq!(connection.local, Some("[2001:db8::1]:25".parse().unwrap()));
        assert_eq!(connection.mta.version.as_deref(), Some("Postfix 3.10.13"));
        assert!(connection.mta.is_postfix());
        assert_eq!(&*connection.listener, "policy");
        assert_eq!(facts.helo.as_deref(), Some("Mx.Example.Test"));
        assert_eq!(facts.sender, Some(ReversePath::parse("A@B.test")));
        assert_eq!(facts.recipient, Some(Recipient::parse("Bob@c.test")));
        assert_eq!(facts.queue_id.as_deref(), Some("F2DEA9A6504"));
        assert_eq!(facts.login.as_deref(), Some("joe"));
        assert_eq!(facts.tls.as_deref(), Some("TLSv1.3"));
        assert_eq!(facts.policy_context.as_deref(), Some("submission"));
        assert_eq!(facts.recipient_count, None);
    }

    #[test]
    fn addresses_are_taken_in_the_internal_form_as_they_are() {
        let read = |sender: &str, recipient: &str| {
            let request = format!(
                "request=smtpd_access_policy\nprotocol_state=RCPT\nsender={sender}\nrecipient={recipient}\n\n"
            );
            let mut session = session();
            session.on_request(&Decoder::default().decode(request.as_bytes()).unwrap().unwrap());
            let Facts { sender, recipient, .. } = session.facts.clone();
            (sender.unwrap(), recipient.unwrap())
        };
        for local in
            ["<postmaster", " postmaster", "postmaster ", "@a:postmaster", "\"postmaster\"", "a@postmaster"]
        {
            let address = format!("{local}@Example.test");
            let (sender, recipient) = read(&address, &address);
            let found = recipient.address();
            assert_eq!((found.local(), found.domain()), (local, Some("example.test")), "{local}");
            assert_eq!((recipient.raw(), recipient.is_role()), (&*address, false), "{local}");
            assert_eq!(sender.address(), Some(found), "{local}");
        }
        assert!(read("", "Postmaster@example.test").1.is_role());
        assert_eq!(read("", "a@b").0, ReversePath::Null);
        assert_eq!(read("<>", "a@b").0.key(), "<>", "a local part, which was quoted");
        let found = read("", "bob%Example.test").1;
        assert_eq!(found.address().key(), "bob@example.test", "Postfix delivers it there");
    }

    #[test]
    fn what_postfix_does_not_know_is_absent() {
        let mut session = session();
        ask(
            &mut session,
            "protocol_state=RCPT client_address=unknown client_name=unknown client_port=unknown \
             server_address=unknown server_port=unknown helo_name= sender= recipient=a@b sasl_username= \
             encryption_protocol= queue_id= instance=",
        );
        let facts = session.facts();
        assert_eq!(facts.connection.client, Client::Unknown);
        assert_eq!(facts.connection.client_port, 0);
        assert_eq!((&facts.connection.client_name, facts.connection.local), (&None, None));
        assert_eq!(facts.connection.mta, Mta::default());
        assert_eq!(facts.sender, Some(ReversePath::Null));
        assert_eq!((&facts.helo, &facts.login, &facts.tls, &facts.queue_id), (&None, &None, &None, &None));
    }

    #[test]
    fn states_become_stages() {
        for (state, stage) in [
            ("CONNECT", Some(Stage::Connect)),
            ("EHLO", Some(Stage::Helo)),
            ("HELO", Some(Stage::Helo)),
            ("MAIL", Some(Stage::Mail)),
            ("RCPT", Some(Stage::Rcpt)),
            ("DATA", Some(Stage::Data)),
            ("BDAT", Some(Stage::Data)),
            ("END-OF-MESSAGE", None),
            ("VRFY", None),
            ("ETRN", None),
            ("FUTURE", None),
            ("", None),
        ] {
            let step = ask(&mut session(), &format!("protocol_state={state}"));
            let expected = match stage {
                Some(stage) => Step::Judge { stage, begins: true },
                None => Step::Answer(Response::Dunno),
            };
            assert_eq!(step, expected, "{state}");
        }
    }

    #[test]
    fn the_sender_is_unknown_before_mail() {
        for (state, sender) in [("CONNECT", None), ("EHLO", None), ("MAIL", Some(ReversePath::Null))] {
            let mut session = session();
            ask(&mut session, &format!("protocol_state={state} sender="));
            assert_eq!(session.facts().sender, sender, "{state}");
        }
    }

    #[test]
    fn recipients_that_pass_are_counted_within_one_instance() {
        let refused =
            verdict(&[(Reason::HeloMissing, Outcome::Reject(Reply::new(Code::C550, (7, 1), "no")))]);
        let mut session = session();
        assert_eq!(rcpt(&mut session, "1", "a@x"), JUDGE_FIRST);
        session.on_verdict(Stage::Rcpt, &Verdict::default());
        assert_eq!(rcpt(&mut session, "1", "b@x"), JUDGE_NEXT);
        session.on_verdict(Stage::Rcpt, &refused);
        assert_eq!(rcpt(&mut session, "1", "c@x"), JUDGE_NEXT);
        session.on_verdict(Stage::Rcpt, &tag());
        // Asked about again in another restriction list.
        assert_eq!(rcpt(&mut session, "1", "c@x"), JUDGE_NEXT);
        assert_eq!(accepted(&session), ["a@x"], "it takes no place from itself");
        session.on_verdict(Stage::Rcpt, &Verdict::default());
        assert_eq!(accepted(&session), ["a@x", "c@x"]);
        assert_eq!(rcpt(&mut session, "1", "a@x"), JUDGE_NEXT);
        session.on_verdict(Stage::Rcpt, &refused);
        assert_eq!(accepted(&session), ["c@x"], "the later list refused it");
        assert_eq!(rcpt(&mut session, "1", "a@x"), JUDGE_NEXT);
        session.on_verdict(Stage::Rcpt, &Verdict::default());
        assert_eq!(accepted(&session), ["c@x", "a@x"]);

        let step = ask(&mut session, "protocol_state=DATA instance=1 recipient= recipient_count=3");
        assert_eq!(step, Step::Judge { stage: Stage::Data, begins: false });
        assert_eq!(session.facts().recipient, None);
        assert_eq!(session.facts().accepted_count(), 3);

        ask(&mut session, "protocol_state=END-OF-MESSAGE instance=1 recipient_count=3");
        assert_eq!(rcpt(&mut session, "2", "d@x"), JUDGE_FIRST);
        assert_eq!(session.facts().accepted_count(), 0);
    }

    #[test]
    fn without_an_instance_every_request_is_a_mail_of_its_own() {
        let mut session = session();
        for recipient in ["a@x", "b@x"] {
            assert_eq!(rcpt(&mut session, "", recipient), JUDGE_FIRST);
            assert_eq!(session.facts().accepted, []);
            session.on_verdict(Stage::Rcpt, &Verdict::default());
        }
    }

    #[test]
    fn another_client_or_sender_is_another_mail_whatever_the_instance() {
        let mut session = session();
        let mut ask = |attributes: &str| {
            let step = ask(&mut session, &format!("instance=1 {attributes}"));
            session.on_verdict(Stage::Rcpt, &Verdict::default());
            (step, session.facts().accepted_count())
        };
        let client = "protocol_state=RCPT client_address=192.0.2.1 client_port=25";
        assert_eq!(ask(&format!("{client} sender=a@b recipient=a@x")), (JUDGE_FIRST, 1));
        assert_eq!(ask(&format!("{client} sender=a@b recipient=b@x")), (JUDGE_NEXT, 2));
        assert_eq!(ask(&format!("{client} sender=c@d recipient=a@x")), (JUDGE_FIRST, 1));
        assert_eq!(
            ask("protocol_state=RCPT client_address=192.0.2.2 client_port=25 sender=c@d recipient=a@x"),
            (JUDGE_FIRST, 1)
        );
        assert_eq!(
            ask("protocol_state=RCPT client_address=192.0.2.2 client_port=26 sender=c@d recipient=a@x"),
            (JUDGE_FIRST, 1)
        );
    }

    #[test]
    fn the_memory_of_recipients_is_bounded() {
        let mut session = session();
        session.facts.accepted = vec![Recipient::parse("a@x"); MAX_REMEMBERED];
        session.instance = Some("1".into());
        assert_eq!(rcpt(&mut session, "1", "one@more"), JUDGE_NEXT);
        session.on_verdict(Stage::Rcpt, &Verdict::default());
        assert_eq!(session.facts().accepted.len(), MAX_REMEMBERED);
    }

    #[test]
    fn verdicts_become_responses() {
        let reply = |code: Code, text: &str| Reply::new(code, (7, 1), text);
        let rows: &[(&[(Reason, Outcome)], &str)] = &[
            (&[], "DUNNO"),
            (&[(Reason::GreylistKnown, Outcome::Accept)], "DUNNO"),
            (&[(Reason::HeloMissing, Outcome::Quarantine)], "DUNNO"),
            (
                &[(Reason::GreylistFirstSeen, Outcome::Defer(reply(Code::C451, "Greylisted")))],
                "DEFER_IF_PERMIT 4.7.1 Greylisted",
            ),
            (
                &[(Reason::GreylistFirstSeen, Outcome::Reject(reply(Code::C550, "Greylisted")))],
                "550 5.7.1 Greylisted",
            ),
            (&[(Reason::HeloMissing, Outcome::Defer(reply(Code::C451, "later")))], "451 4.7.1 later"),
            (
                &[
                    (Reason::HeloMissing, Outcome::Reject(reply(Code::C550, "no"))),
                    (Reason::HeloNoAddress, Outcome::Tag),
                ],
                "550 5.7.1 no",
            ),
            (
                &[(Reason::HeloNoAddress, Outcome::Tag), (Reason::GreylistKnown, Outcome::Accept)],
                "PREPEND X-Greylag: tag; reason=helo.no_address",
            ),
        ];
        for (findings, action) in rows {
            let mut session = session();
            rcpt(&mut session, "1", "a@x");
            assert_eq!(session.on_verdict(Stage::Rcpt, &verdict(findings)).action(), *action);
        }
    }

    #[test]
    fn a_mail_is_tagged_once_at_rcpt_or_data() {
        let mut session = session();
        for (state, instance, prepended) in [
            ("CONNECT", "", false),
            ("EHLO", "", false),
            ("MAIL", "", false),
            ("RCPT", "1", true),
            ("RCPT", "1", false),
            ("DATA", "1", false),
            ("RCPT", "2", true),
            ("DATA", "3", true),
            ("RCPT", "3", false),
        ] {
            let attributes = format!("protocol_state={state} instance={instance} recipient=a@x");
            let Step::Judge { stage, .. } = ask(&mut session, &attributes) else {
                panic!("{state} is judged");
            };
            let tagged = tag();
            let response = session.on_verdict(stage, &tagged);
            assert_eq!(matches!(response, Response::Prepend(_)), prepended, "{state} {instance}");
        }
    }
}

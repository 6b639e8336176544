//! Negotiation: what the MTA offers, and what Greylag takes of it.
//!
//! Every answer the MTA waits for costs it a round trip, and everything it sends costs both sides. So an answer is left out where
//! the policy says nothing at that stage, and what no check reads is not sent; [`Interest`] tells. Three things are kept for speed:
//!
//! * the answer to MAIL where look-ups begin there: Postfix sends what is not waited for only with the next command that is, and the
//!   look-ups would begin with the first recipient;
//! * DATA and its answer over TCP: without it Postfix writes twice in a row, and the second write waits 40 ms for the delayed
//!   acknowledgement of the first, wherever the kernel lets us have no say in that;
//! * the answers to BODY where only some scopes read it, so that for all other mail the first is SKIP. Where most mail is read, they
//!   would cost more than what is skipped.

use bytes::BytesMut;

use super::frame;
use super::state::CommandKind;
use crate::filter::Interest;
use crate::policy::Reach;

/// Newest version of the protocol, spoken since Sendmail 8.14 and Postfix 2.6.
const NEWEST_VERSION: u32 = 6;

/// Oldest version both MTAs still speak.
const OLDEST_VERSION: u32 = 2;

/// What a filter may do (`SMFIF_*`).
mod action {
    /// Add and insert header fields.
    pub(super) const ADD_HEADERS: u32 = 0x001;
    /// Change and delete header fields.
    pub(super) const CHANGE_HEADERS: u32 = 0x010;
    /// Put a message on hold.
    pub(super) const QUARANTINE: u32 = 0x020;
    /// Name the macros it wants at each stage.
    pub(super) const SET_MACRO_LISTS: u32 = 0x100;
    /// What a mask of 0 stands for: the actions of version 1.
    pub(super) const VERSION_1: u32 = 0x00f;
}

/// What changes in the conversation (`SMFIP_*`).
mod protocol {
    /// BODY is not sent.
    pub(super) const NO_BODY: u32 = 0x0000_0010;
    /// HEADER is not sent.
    pub(super) const NO_HEADER: u32 = 0x0000_0020;
    /// EOH is not sent.
    pub(super) const NO_END_OF_HEADER: u32 = 0x0000_0040;
    /// No reply to HEADER is awaited.
    pub(super) const NO_REPLY_HEADER: u32 = 0x0000_0080;
    /// UNKNOWN is not sent.
    pub(super) const NO_UNKNOWN: u32 = 0x0000_0100;
    /// DATA is not sent.
    pub(super) const NO_DATA: u32 = 0x0000_0200;
    /// The rest of the body may be declined.
    pub(super) const SKIP: u32 = 0x0000_0400;
    /// No reply to CONNECT is awaited.
    pub(super) const NO_REPLY_CONNECT: u32 = 0x0000_1000;
    /// No reply to HELO is awaited.
    pub(super) const NO_REPLY_HELO: u32 = 0x0000_2000;
    /// No reply to MAIL is awaited.
    pub(super) const NO_REPLY_MAIL: u32 = 0x0000_4000;
    /// No reply to RCPT is awaited.
    pub(super) const NO_REPLY_RCPT: u32 = 0x0000_8000;
    /// No reply to EOH is awaited.
    pub(super) const NO_REPLY_END_OF_HEADER: u32 = 0x0004_0000;
    /// No reply to BODY is awaited.
    pub(super) const NO_REPLY_BODY: u32 = 0x0008_0000;
    /// Header values keep the white space after the colon, in both directions.
    pub(super) const HEADER_LEADING_SPACE: u32 = 0x0010_0000;
}

/// What Greylag does, where the MTA allows it.
const WANTED_ACTIONS: u32 =
    action::ADD_HEADERS | action::CHANGE_HEADERS | action::QUARANTINE | action::SET_MACRO_LISTS;

/// What no policy says anything to. CONNECT and HELO are refused with the first recipient; the end of the header tells nothing that
/// the end of the message does not.
///
/// A DKIM signature is over the header byte for byte, so its white space has to be seen.
const NEVER_ANSWERED: u32 = protocol::NO_REPLY_CONNECT
    | protocol::NO_REPLY_HELO
    | protocol::NO_REPLY_HEADER
    | protocol::NO_END_OF_HEADER
    | protocol::NO_REPLY_END_OF_HEADER
    | protocol::NO_UNKNOWN
    | protocol::HEADER_LEADING_SPACE;

/// The macros that are read, by the number of the stage. 5 is the end of the message and 6 the end of the header; Sendmail 8.17 and
/// 8.18 use the list of 5 only if 6 is given too, and to Postfix an empty list means its own.
const MACRO_LISTS: [(u32, &str); 7] = [
    (0, "j _ v {daemon_addr} {daemon_port} {client_resolve} {if_addr}"),
    (1, "{tls_version}"),
    (2, "i {auth_authen} {mail_addr}"),
    (3, "i {rcpt_addr}"),
    (4, "i"),
    (5, "i"),
    (6, "i"),
];

/// What the MTA offers in OPTNEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Newest version it speaks.
    pub version: u32,
    /// Actions it allows; 0 stands for those of version 1.
    pub actions: u32,
    /// Changes of the conversation it can do; 0 stands for those of version 1, of which Greylag uses none.
    pub protocol: u32,
}

/// What a connection asks of the MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// What can come of each stage under the policy in force.
    pub interest: Interest,
    /// How the MTA reached us.
    pub transport: Transport,
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, where two writes in a row may wait for an acknowledgement between them.
    Tcp,
    /// A UNIX socket.
    Unix,
}

/// What was agreed: never more than the offer. The default agrees on nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    version: u32,
    actions: u32,
    protocol: u32,
}

/// Why no agreement is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The MTA is older than any that is supported.
    #[error("the MTA speaks version {0} of the milter protocol, at least {OLDEST_VERSION} is needed")]
    TooOld(u32),
}

impl Wishes {
    /// The changes of the conversation to ask for, of those that are offered.
    const fn protocol(&self, offered: u32) -> u32 {
        let Interest { looks_up_sender, refuses_recipients, refuses_data, header, body } = self.interest;
        let mut wanted = NEVER_ANSWERED;
        // Postfix sends what has no answer with the next command that has one. Where recipients are judged, the connection must not come
        // with the first of them: its policy service was asked by then, and nobody knew that this milter would take that over.
        if !looks_up_sender && !refuses_recipients {
            wanted |= protocol::NO_REPLY_MAIL;
        }
        if !refuses_recipients {
            wanted |= protocol::NO_REPLY_RCPT;
        }
        if !refuses_data && matches!(self.transport, Transport::Unix) {
            wanted |= protocol::NO_DATA;
        }
        if !header {
            wanted |= protocol::NO_HEADER;
        }
        wanted |= match body {
            Reach::Nobody => protocol::NO_BODY,
            Reach::Scopes if offered & protocol::SKIP != 0 => protocol::SKIP,
            Reach::Scopes | Reach::All => protocol::NO_REPLY_BODY,
        };
        wanted & offered
    }
}

impl Options {
    /// Takes from `offer` what Greylag uses.
    ///
    /// # Errors
    /// A version below 2.
    pub fn negotiate(offer: Offer, wishes: &Wishes) -> Result<Self, NegotiationError> {
        if offer.version < OLDEST_VERSION {
            return Err(NegotiationError::TooOld(offer.version));
        }
        let offered_actions = if offer.actions == 0 { action::VERSION_1 } else { offer.actions };
        Ok(Self {
            version: offer.version.min(NEWEST_VERSION),
            actions: offered_actions & WANTED_ACTIONS,
            protocol: wishes.protocol(offer.protocol),
        })
    }

    /// Whether header fields may be added.
    pub const fn may_add_headers(&self) -> bool {
        self.actions & action::ADD_HEADERS != 0
    }

    /// Whether header fields may be changed and deleted.
    pub const fn may_change_headers(&self) -> bool {
        self.actions & action::CHANGE_HEADERS != 0
    }

    /// Whether header values come, and are given, with the white space after the colon.
    pub const fn exact_headers(&self) -> bool {
        self.protocol & protocol::HEADER_LEADING_SPACE != 0
    }

    /// Whether messages may be put on hold.
    pub const fn may_quarantine(&self) -> bool {
        self.actions & action::QUARANTINE != 0
    }

    /// Whether the rest of a body may be declined; BODY is answered then.
    pub const fn may_skip_body(&self) -> bool {
        self.protocol & protocol::SKIP != 0
    }

    /// Whether the MTA waits for an answer to `command`. It always does at the end of a message, and for commands of which it never
    /// does the protocol has no answer.
    pub const fn answers(&self, command: CommandKind) -> bool {
        let unless = match command {
            CommandKind::Negotiate | CommandKind::EndOfMessage => return true,
            // No reply is declined: neither MTA sends it when asked not to, and one that does waits.
            CommandKind::Data | CommandKind::Unknown => return true,
            CommandKind::Macros | CommandKind::Abort | CommandKind::Quit | CommandKind::QuitNewConnection => {
                return false;
            }
            CommandKind::Connect => protocol::NO_REPLY_CONNECT,
            CommandKind::Helo => protocol::NO_REPLY_HELO,
            CommandKind::Mail => protocol::NO_REPLY_MAIL,
            CommandKind::Rcpt => protocol::NO_REPLY_RCPT,
            CommandKind::Header => protocol::NO_REPLY_HEADER,
            CommandKind::EndOfHeader => protocol::NO_REPLY_END_OF_HEADER,
            CommandKind::Body => protocol::NO_REPLY_BODY,
        };
        self.protocol & unless == 0
    }

    /// Whether everything that `interest` needs is told and answered as agreed. A policy that was put in force since may need more,
    /// and an agreement is for the whole connection.
    pub fn serves(&self, interest: &Interest) -> bool {
        let has = |left_out: u32| self.protocol & left_out == 0;
        let Interest { looks_up_sender: _, refuses_recipients, refuses_data, header, body } = *interest;
        (!refuses_recipients || has(protocol::NO_REPLY_RCPT))
            && (!refuses_data || has(protocol::NO_DATA))
            && (!header || has(protocol::NO_HEADER))
            && (body == Reach::Nobody || has(protocol::NO_BODY))
    }

    /// Writes the answer to OPTNEG, with the macro lists where they were offered.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut payload = Vec::with_capacity(256);
        for number in [self.version, self.actions, self.protocol] {
            payload.extend_from_slice(&number.to_be_bytes());
        }
        if self.actions & action::SET_MACRO_LISTS != 0 {
            for (stage, names) in MACRO_LISTS {
                payload.extend_from_slice(&stage.to_be_bytes());
                payload.extend_from_slice(names.as_bytes());
                payload.push(0);
            }
        }
        frame::encode(out, b'O', &[&payload]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

    const ALL: Wishes = Wishes { interest: Interest::ALL, transport: Transport::Tcp };

    const NOTHING: Interest = Interest {
        looks_up_sender: false,
        refuses_recipients: false,
        refuses_data: false,
        header: false,
        body: Reach::Nobody,
    };

    fn agreed(version: u32, actions: u32, protocol: u32) -> (u32, u32, u32) {
        let options = Options::negotiate(Offer { version, actions, protocol }, &ALL).unwrap();
        (options.version, options.actions, options.protocol)
    }

    fn of(interest: Interest, transport: Transport) -> Options {
        Options::negotiate(OFFER, &Wishes { interest, transport }).unwrap()
    }

    #[test]
    fn nothing_is_taken_that_was_not_offered() {
        for (what, offer, expected) in [
            ("Postfix and Sendmail", (6, 0x1ff, 0x1f_ffff), (6, 0x131, 0x1c_31c0)),
            ("Postfix, milter_protocol=4", (4, 0x1ff, 0x37f), (4, 0x131, 0x140)),
            ("Postfix, milter_protocol=3", (3, 0x1ff, 0x17f), (3, 0x131, 0x140)),
            ("Postfix, milter_protocol=2,no_header_reply", (2, 0x1ff, 0xff), (2, 0x131, 0xc0)),
            ("go-milter client", (6, 0x057, 0), (6, 0x011, 0)),
            ("a later version with more bits", (7, 0xffff_ffff, 0xffff_ffff), (6, 0x131, 0x1c_31c0)),
            ("zero masks", (2, 0, 0), (2, 0x001, 0)),
        ] {
            let (version, actions, protocol) = offer;
            assert_eq!(agreed(version, actions, protocol), expected, "{what}");
        }
    }

    #[test]
    fn versions_below_two_are_refused() {
        for version in [0, 1] {
            let offer = Offer { version, ..OFFER };
            assert_eq!(Options::negotiate(offer, &ALL), Err(NegotiationError::TooOld(version)));
        }
    }

    #[test]
    fn what_a_policy_has_no_use_for_is_neither_sent_nor_answered() {
        let greylist = Interest { looks_up_sender: true, refuses_recipients: true, ..NOTHING };
        let content = Interest { header: true, body: Reach::All, ..NOTHING };
        let in_scopes = Interest { body: Reach::Scopes, ..Interest::ALL };
        for (what, interest, tcp, unix) in [
            ("everything", Interest::ALL, 0x1c_31c0, 0x1c_31c0),
            ("greylisting alone", greylist, 0x14_31f0, 0x14_33f0),
            ("recipients alone", Interest { refuses_recipients: true, ..NOTHING }, 0x14_31f0, 0x14_33f0),
            ("content alone", content, 0x1c_f1c0, 0x1c_f3c0),
            ("content in scopes", in_scopes, 0x14_35c0, 0x14_35c0),
            ("nothing", NOTHING, 0x14_f1f0, 0x14_f3f0),
        ] {
            let found = [Transport::Tcp, Transport::Unix].map(|transport| of(interest, transport).protocol);
            assert_eq!(found, [tcp, unix], "{what}: {found:x?}");
        }
        let without_skip = Offer { protocol: 0x1f_fbff, ..OFFER };
        let wishes = Wishes { interest: in_scopes, ..ALL };
        let options = Options::negotiate(without_skip, &wishes).unwrap();
        assert_eq!((options.protocol, options.may_skip_body()), (0x1c_31c0, false));
    }

    #[test]
    fn answers_are_left_out_only_where_agreed() {
        let answered = |options: Options| {
            let answered = CommandKind::ALL.into_iter().filter(|command| options.answers(*command));
            answered.map(|command| char::from(command.code())).collect::<String>()
        };
        assert_eq!(answered(of(Interest::ALL, Transport::Tcp)), "OMRTUE");
        assert_eq!(
            answered(of(NOTHING, Transport::Tcp)),
            "OTUBE",
            "what is not sent has no reply to decline"
        );
        let offer = Offer { version: 6, actions: 0x100, protocol: 0x37f };
        let plain = Options::negotiate(offer, &ALL).unwrap();
        assert_eq!(answered(plain), "OCHMRTULNBE");
        assert_eq!([plain.may_add_headers(), plain.may_change_headers(), plain.may_quarantine()], [false; 3]);
        assert!(!plain.exact_headers() && !plain.may_skip_body());
        let all = of(Interest::ALL, Transport::Tcp);
        assert_eq!([all.may_add_headers(), all.may_change_headers(), all.may_quarantine()], [true; 3]);
        assert!(all.exact_headers() && !all.may_skip_body());
    }

    #[test]
    fn an_agreement_serves_any_policy_that_needs_no_more() {
        let single = [
            Interest { refuses_recipients: true, ..NOTHING },
            Interest { refuses_data: true, ..NOTHING },
            Interest { header: true, ..NOTHING },
            Interest { body: Reach::Scopes, ..NOTHING },
            Interest { body: Reach::All, ..NOTHING },
        ];
        let (all, nothing) = (of(Interest::ALL, Transport::Unix), of(NOTHING, Transport::Unix));
        for interest in single {
            assert!(all.serves(&interest) && !nothing.serves(&interest), "{interest:?}");
            assert!(of(interest, Transport::Unix).serves(&interest), "{interest:?}");
        }
        let early = Interest { looks_up_sender: true, ..NOTHING };
        assert!(nothing.serves(&NOTHING) && nothing.serves(&early), "what comes late is only slower");
        let in_scopes = of(single[3], Transport::Unix);
        assert!(in_scopes.serves(&single[4]), "every piece is taken");
    }

    #[test]
    fn the_answer_names_the_macros_of_every_stage() {
        let mut out = BytesMut::new();
        of(Interest::ALL, Transport::Tcp).encode(&mut out);
        let expected = b"O\0\0\0\x06\0\0\x01\x31\0\x1c\x31\xc0\
            \0\0\0\0j _ v {daemon_addr} {daemon_port} {client_resolve} {if_addr}\0\
            \0\0\0\x01{tls_version}\0\
            \0\0\0\x02i {auth_authen} {mail_addr}\0\
            \0\0\0\x03i {rcpt_addr}\0\0\0\0\x04i\0\0\0\0\x05i\0\0\0\0\x06i\0";
        assert_eq!(&out[..4], (expected.len() as u32).to_be_bytes());
        assert_eq!(&out[4..], expected);
    }

    #[test]
    fn no_macro_lists_where_they_were_not_offered() {
        let mut out = BytesMut::new();
        Options::negotiate(Offer { actions: 0x0ff, ..OFFER }, &ALL).unwrap().encode(&mut out);
        assert_eq!(&out[..], b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x31\0\x1c\x31\xc0");
    }
}

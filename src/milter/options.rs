//! Negotiation: what the MTA offers, and what Greylag takes of it.

use bytes::BytesMut;

use super::frame;

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
    /// No reply to HEADER is awaited.
    pub(super) const NO_REPLY_HEADER: u32 = 0x0000_0080;
    /// UNKNOWN is not sent.
    pub(super) const NO_UNKNOWN: u32 = 0x0000_0100;
    /// Header values keep the white space after the colon, in both directions.
    pub(super) const HEADER_LEADING_SPACE: u32 = 0x0010_0000;
    /// No reply to EOH is awaited.
    pub(super) const NO_REPLY_END_OF_HEADER: u32 = 0x0004_0000;
    /// No reply to BODY is awaited.
    pub(super) const NO_REPLY_BODY: u32 = 0x0008_0000;
}

/// What Greylag does, where the MTA allows it.
const WANTED_ACTIONS: u32 =
    action::ADD_HEADERS | action::CHANGE_HEADERS | action::QUARANTINE | action::SET_MACRO_LISTS;

/// Nothing is decided while content arrives, so its commands need no replies. The replies up to DATA are kept:
/// greylisting needs them in time, and without them Postfix sends the envelope as one late burst.
///
/// A DKIM signature is over the header byte for byte, so its white space has to be seen.
const WANTED_PROTOCOL: u32 = protocol::HEADER_LEADING_SPACE
    | protocol::NO_REPLY_HEADER
    | protocol::NO_REPLY_END_OF_HEADER
    | protocol::NO_REPLY_BODY
    | protocol::NO_UNKNOWN;

/// Macros wanted, by the number of the stage. 5 is the end of the message and 6 the end of the header; Sendmail
/// 8.17 and 8.18 use the list of 5 only if 6 is given too.
const MACRO_LISTS: [(u32, &str); 7] = [
    (
        0,
        "j _ v {daemon_name} {daemon_addr} {daemon_port} {client_addr} {client_name} {client_port} {client_ptr} \
         {client_resolve} {if_addr}",
    ),
    (1, "{tls_version} {cipher}"),
    (2, "i {auth_type} {auth_authen} {mail_addr}"),
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

impl Options {
    /// Takes from `offer` what Greylag uses.
    ///
    /// # Errors
    /// A version below 2.
    pub fn negotiate(offer: Offer) -> Result<Self, NegotiationError> {
        if offer.version < OLDEST_VERSION {
            return Err(NegotiationError::TooOld(offer.version));
        }
        let offered_actions = if offer.actions == 0 { action::VERSION_1 } else { offer.actions };
        Ok(Self {
            version: offer.version.min(NEWEST_VERSION),
            actions: offered_actions & WANTED_ACTIONS,
            protocol: offer.protocol & WANTED_PROTOCOL,
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

    /// Whether HEADER is answered.
    pub const fn replies_to_header(&self) -> bool {
        self.protocol & protocol::NO_REPLY_HEADER == 0
    }

    /// Whether EOH is answered.
    pub const fn replies_to_end_of_header(&self) -> bool {
        self.protocol & protocol::NO_REPLY_END_OF_HEADER == 0
    }

    /// Whether BODY is answered.
    pub const fn replies_to_body(&self) -> bool {
        self.protocol & protocol::NO_REPLY_BODY == 0
    }

    /// Writes the answer to OPTNEG, with the macro lists where they were offered.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut payload = Vec::with_capacity(512);
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

    fn agreed(version: u32, actions: u32, protocol: u32) -> (u32, u32, u32) {
        let options = Options::negotiate(Offer { version, actions, protocol }).unwrap();
        (options.version, options.actions, options.protocol)
    }

    #[test]
    fn nothing_is_taken_that_was_not_offered() {
        for (what, offer, expected) in [
            ("Postfix and Sendmail", (6, 0x1ff, 0x1f_ffff), (6, 0x131, 0x1c_0180)),
            ("Postfix, milter_protocol=4", (4, 0x1ff, 0x37f), (4, 0x131, 0x100)),
            ("Postfix, milter_protocol=3", (3, 0x1ff, 0x17f), (3, 0x131, 0x100)),
            ("Postfix, milter_protocol=2,no_header_reply", (2, 0x1ff, 0xff), (2, 0x131, 0x80)),
            ("go-milter client", (6, 0x057, 0), (6, 0x011, 0)),
            ("a later version with more bits", (7, 0xffff_ffff, 0xffff_ffff), (6, 0x131, 0x1c_0180)),
            ("zero masks", (2, 0, 0), (2, 0x001, 0)),
        ] {
            let (version, actions, protocol) = offer;
            assert_eq!(agreed(version, actions, protocol), expected, "{what}");
        }
    }

    #[test]
    fn versions_below_two_are_refused() {
        for version in [0, 1] {
            let offer = Offer { version, actions: 0x1ff, protocol: 0x1f_ffff };
            assert_eq!(Options::negotiate(offer), Err(NegotiationError::TooOld(version)));
        }
    }

    #[test]
    fn replies_are_left_out_only_where_agreed() {
        let all = Options::negotiate(Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff }).unwrap();
        assert_eq!(
            [all.replies_to_header(), all.replies_to_end_of_header(), all.replies_to_body()],
            [false; 3]
        );
        assert_eq!([all.may_add_headers(), all.may_change_headers(), all.may_quarantine()], [true; 3]);
        assert!(all.exact_headers());
        let none = Options::negotiate(Offer { version: 6, actions: 0x100, protocol: 0x37f }).unwrap();
        assert_eq!(
            [none.replies_to_header(), none.replies_to_end_of_header(), none.replies_to_body()],
            [true; 3]
        );
        assert_eq!([none.may_add_headers(), none.may_change_headers(), none.may_quarantine()], [false; 3]);
        assert!(!none.exact_headers());
    }

    #[test]
    fn the_answer_names_the_macros_of_every_stage() {
        let mut out = BytesMut::new();
        Options::negotiate(Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff })
            .unwrap()
            .encode(&mut out);
        let expected = b"O\0\0\0\x06\0\0\x01\x31\0\x1c\x01\x80\
            \0\0\0\0j _ v {daemon_name} {daemon_addr} {daemon_port} {client_addr} {client_name} {client_port} \
            {client_ptr} {client_resolve} {if_addr}\0\
            \0\0\0\x01{tls_version} {cipher}\0\
            \0\0\0\x02i {auth_type} {auth_authen} {mail_addr}\0\
            \0\0\0\x03i {rcpt_addr}\0\
            \0\0\0\x04i\0\0\0\0\x05i\0\0\0\0\x06i\0";
        assert_eq!(&out[..4], (expected.len() as u32).to_be_bytes());
        assert_eq!(&out[4..], expected);
    }

    #[test]
    fn no_macro_lists_where_they_were_not_offered() {
        let mut out = BytesMut::new();
        Options::negotiate(Offer { version: 6, actions: 0x0ff, protocol: 0x1f_ffff })
            .unwrap()
            .encode(&mut out);
        assert_eq!(&out[..], b"\0\0\0\x0dO\0\0\0\x06\0\0\0\x31\0\x1c\x01\x80");
    }
}

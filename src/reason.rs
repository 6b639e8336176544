//! Why something was decided: one stable code for every cause, the same in policy files, log lines, metric labels,
//! headers and `greylag explain`.

/// A check: one file in `src/checks/`, one file in `policies/`, one `check` label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The rule for recipients' local parts.
    Address,
    /// Validation of the HELO name.
    Helo,
    /// The cap on recipients.
    Recipients,
    /// SPF, DKIM and DMARC.
    Auth,
    /// Greylisting.
    Greylist,
    /// Rules about what a message says.
    Content,
    /// Forbidden attachments.
    Attachments,
}

impl Check {
    /// Every check, in the order of the policy reference.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Helo,
        Self::Recipients,
        Self::Auth,
        Self::Greylist,
        Self::Content,
        Self::Attachments,
    ];

    /// The check's name in policy files, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Helo => "helo",
            Self::Recipients => "recipients",
            Self::Auth => "auth",
            Self::Greylist => "greylist",
            Self::Content => "content",
            Self::Attachments => "attachments",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $check:ident $number:literal $code:literal,)+) => {
        /// The cause of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in documentation order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable code, `check.cause`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The check that finds it.
            pub const fn check(self) -> Check {
                match self { $(Self::$variant => Check::$check,)+ }
            }

            /// Number of the cause in the documentation of its check, counted from 1.
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// What the cause means, in one sentence.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// The recipient's local part has a character that is not allowed, or a dot or hyphen where none may stand.
    AddressInvalidLocalPart = Address 1 "address.invalid_local_part",
    /// The recipient's local part is longer than `max_length`.
    AddressTooLong = Address 2 "address.too_long",
    /// The recipient's local part is not all ASCII.
    AddressNonAscii = Address 3 "address.non_ascii",

    /// The client sent no HELO or EHLO name.
    HeloMissing = Helo 1 "helo.missing",
    /// The name is an IP address without brackets, such as `127.0.0.1`.
    HeloBareAddress = Helo 2 "helo.bare_address",
    /// The name is an address literal, such as `[192.168.1.1]`.
    HeloAddressLiteral = Helo 3 "helo.address_literal",
    /// The name has no dot, such as `server` or `mon-serveur`.
    HeloUnqualified = Helo 4 "helo.unqualified",
    /// The name is `localhost` or below it.
    HeloLocalhost = Helo 5 "helo.localhost",
    /// The name is not a host name by RFC 5321 §4.1.2 (`_` is tolerated).
    HeloInvalidSyntax = Helo 6 "helo.invalid_syntax",
    /// The name is on the list of banned names.
    HeloBanned = Helo 7 "helo.banned",
    /// The name is one of this host's own names or addresses.
    HeloOwnName = Helo 8 "helo.own_name",
    /// The name does not exist in the DNS.
    HeloUnresolvable = Helo 9 "helo.unresolvable",
    /// The name exists, but has no A, AAAA or MX record.
    HeloNoAddress = Helo 10 "helo.no_address",
    /// The name resolves, but not to the client's address.
    HeloMismatched = Helo 11 "helo.mismatched",

    /// More recipients in the envelope than one message may have.
    RecipientsTooMany = Recipients 1 "recipients.too_many",
    /// More addresses in To, Cc and Bcc than one message may have.
    RecipientsTooManyInHeader = Recipients 2 "recipients.too_many_in_header",
    /// Content for the recipient is judged by other settings than for the first one; it shall come in a message of its own.
    RecipientsMixed = Recipients 3 "recipients.mixed",

    /// The domain of the sender does not permit the client to send its mail.
    AuthSpfFail = Auth 1 "auth.spf_fail",
    /// The domain of the sender suspects that the client may not send its mail.
    AuthSpfSoftFail = Auth 2 "auth.spf_softfail",
    /// The domain of the sender publishes no SPF record.
    AuthSpfNone = Auth 3 "auth.spf_none",
    /// The domain of the sender says nothing about the client.
    AuthSpfNeutral = Auth 4 "auth.spf_neutral",
    /// The SPF record of the sender's domain cannot be read, or costs too many look-ups.
    AuthSpfPermError = Auth 5 "auth.spf_permerror",
    /// The author's domain wants mail refused that neither SPF nor DKIM authenticates, and this is such mail.
    AuthDmarcReject = Auth 6 "auth.dmarc_reject",

    /// The triplet was never seen before; the client shall come again.
    GreylistFirstSeen = Greylist 1 "greylist.first_seen",
    /// The retry came before the minimum delay had passed.
    GreylistTooEarly = Greylist 2 "greylist.too_early",
    /// The retry came in time; the triplet is proven from now on.
    GreylistMatured = Greylist 3 "greylist.matured",
    /// The triplet, its pair of client and sender, or the client identity was proven earlier.
    GreylistKnown = Greylist 4 "greylist.known",
    /// The store did not answer in time or at all, and `on_store_failure` decided.
    GreylistStoreFailure = Greylist 5 "greylist.store_failure",
    /// Somebody released the mail by a rule.
    GreylistReleased = Greylist 6 "greylist.released",
    /// The client's network has as many first attempts under way as it may, and is judged as a whole.
    GreylistCapped = Greylist 7 "greylist.capped",

    /// A rule about header fields matches.
    ContentHeaderRule = Content 1 "content.header_rule",
    /// A rule about the text matches.
    ContentBodyRule = Content 2 "content.body_rule",
    /// A rule about links matches.
    ContentLinkRule = Content 3 "content.link_rule",
    /// A rule about attachment names matches.
    ContentAttachmentNameRule = Content 4 "content.attachment_name_rule",
    /// A link that cannot be right: `http//…`, no host, or no possible one.
    ContentMalformedLink = Content 5 "content.malformed_link",
    /// Reading the content ran out of wall time; a fault of ours, so a deferral.
    ContentScanTimeout = Content 6 "content.scan_timeout",
    /// Reading the content failed by our own fault.
    ContentScanFault = Content 7 "content.scan_fault",
    /// The message takes more memory than `message_memory` or `total_message_memory` leaves to it, so that nobody looked into it.
    ContentTooLarge = Content 8 "content.too_large",
    /// More than 100 `X-Greylag` fields, and `Authentication-Results` fields of our name, would have to be removed.
    ContentForgedFields = Content 9 "content.forged_fields",

    /// An attachment's name ends in a forbidden extension.
    AttachmentForbiddenExtension = Attachments 1 "attachment.forbidden_extension",
    /// A container, or what claims to be one, that no reader can list.
    AttachmentUnreadableContainer = Attachments 2 "attachment.unreadable_container",
    /// An archive entry is encrypted: its name is visible, its content is not.
    AttachmentEncryptedEntry = Attachments 3 "attachment.encrypted_entry",
    /// A container inside an encrypted archive, which nobody can look into.
    AttachmentEncryptedNested = Attachments 4 "attachment.encrypted_nested",
    /// Containers or messages nested deeper than `max_depth`.
    AttachmentLimitDepth = Attachments 5 "attachment.limit_depth",
    /// More MIME parts or archive entries than allowed.
    AttachmentLimitEntries = Attachments 6 "attachment.limit_entries",
    /// More inflated bytes, or more work, than one message may cost.
    AttachmentLimitBytes = Attachments 7 "attachment.limit_bytes",
    /// The scan ran out of wall time; a fault of ours, so a deferral.
    AttachmentScanTimeout = Attachments 8 "attachment.scan_timeout",
    /// The scan failed by our own fault.
    AttachmentScanFault = Attachments 9 "attachment.scan_fault",
    /// The content of an attachment is that of a forbidden type, whatever its name says.
    AttachmentForbiddenType = Attachments 10 "attachment.forbidden_type",
    /// Mail programs disagree on where the parts of the message begin, or on how they are encoded.
    AttachmentAmbiguousMime = Attachments 11 "attachment.ambiguous_mime",
    /// The directory of an archive is encrypted: not even the names in it are visible.
    AttachmentEncryptedHeader = Attachments 12 "attachment.encrypted_header",
    /// The directory of a zip and the headers of its entries contradict each other.
    AttachmentZipInconsistent = Attachments 13 "attachment.zip_inconsistent",
    /// Many entries of a zip share the same compressed data.
    AttachmentZipOverlap = Attachments 14 "attachment.zip_overlap",
    /// Two entries of a zip have the same name and different content.
    AttachmentZipDuplicate = Attachments 15 "attachment.zip_duplicate",
    /// The message is a fragment of one that mail programs put together (`message/partial`).
    AttachmentPartialMessage = Attachments 16 "attachment.partial_message",
    /// A part whose content is fetched from elsewhere when it is opened (`message/external-body`).
    AttachmentExternalBody = Attachments 17 "attachment.external_body",
    /// A document with macros.
    AttachmentMacros = Attachments 18 "attachment.macros",
    /// A name with characters that turn the direction of writing, so that it is shown with another ending.
    AttachmentBidiName = Attachments 19 "attachment.bidi_name",
    /// A name that ends in a class identifier, which Windows takes for the type and does not show.
    AttachmentClsidName = Attachments 20 "attachment.clsid_name",
    /// A forbidden extension behind that of a document or picture, such as `invoice.pdf.exe`.
    AttachmentDoubleExtension = Attachments 21 "attachment.double_extension",
}

impl Reason {
    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_found_again() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(Reason::from_code("helo.nonsense"), None);
    }

    #[test]
    fn numbers_count_up_from_one_within_a_check() {
        for check in Check::ALL {
            let numbers: Vec<u8> = Reason::ALL
                .iter()
                .filter(|reason| reason.check() == check)
                .map(|reason| reason.number())
                .collect();
            let expected: Vec<u8> = (1..=numbers.len() as u8).collect();
            assert_eq!(numbers, expected, "numbers of {}", check.name());
        }
    }

    #[test]
    fn summaries_are_sentences() {
        assert_eq!(Reason::HeloMissing.summary(), "The client sent no HELO or EHLO name.");
        for reason in Reason::ALL {
            assert!(reason.summary().ends_with('.'), "{reason}: {}", reason.summary());
        }
    }
}

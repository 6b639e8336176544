//! What Postfix 3.10 says in both protocols, for the load and for the counts.

use std::fmt::Write;

use crate::mail::Triplet;

/// OPTNEG.
pub(crate) const OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

/// A milter command, and what the protocol mask that was agreed on says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    pub(crate) code: u8,
    /// Set: it is not sent.
    not_sent: u32,
    /// Set: it is not answered.
    not_answered: u32,
}

pub(crate) const CONNECT: Command = Command { code: b'C', not_sent: 0x1, not_answered: 0x1000 };
pub(crate) const HELO: Command = Command { code: b'H', not_sent: 0x2, not_answered: 0x2000 };
pub(crate) const MAIL: Command = Command { code: b'M', not_sent: 0x4, not_answered: 0x4000 };
pub(crate) const RCPT: Command = Command { code: b'R', not_sent: 0x8, not_answered: 0x8000 };
pub(crate) const DATA: Command = Command { code: b'T', not_sent: 0x200, not_answered: 0x1_0000 };
pub(crate) const HEADER: Command = Command { code: b'L', not_sent: 0x20, not_answered: 0x80 };
pub(crate) const END_OF_HEADER: Command = Command { code: b'N', not_sent: 0x40, not_answered: 0x4_0000 };
pub(crate) const BODY: Command = Command { code: b'B', not_sent: 0x10, not_answered: 0x8_0000 };
pub(crate) const END_OF_MESSAGE: Command = Command { code: b'E', not_sent: 0, not_answered: 0 };

/// Macros, which are never answered.
pub(crate) const MACROS: u8 = b'D';
/// Ends a mail early.
pub(crate) const ABORT: u8 = b'A';
/// Ends the connection.
pub(crate) const QUIT: u8 = b'Q';

/// The macros of HELO.
pub(crate) const HELO_MACROS: &[u8] = b"H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES_256_GCM_SHA384\0";
/// The macros of DATA.
pub(crate) const DATA_MACROS: &[u8] = b"Ti\x004F2A1B\0";
/// The macros of the end of a message.
pub(crate) const END_MACROS: &[u8] = b"Ei\x004F2A1B\0";

impl Command {
    /// Whether it is sent where `protocol` was agreed on.
    pub(crate) const fn is_sent(self, protocol: u32) -> bool {
        protocol & self.not_sent == 0
    }

    /// Whether it is answered where `protocol` was agreed on.
    pub(crate) const fn is_answered(self, protocol: u32) -> bool {
        protocol & self.not_answered == 0
    }
}

/// The macros of CONNECT.
pub(crate) fn connect_macros(Triplet { client, name, .. }: &Triplet) -> Vec<u8> {
    format!(
        "Cj\0mx.recipient.example\0_\0{name} [{client}]\0v\0Postfix 3.10.0\0{{daemon_name}}\0smtpd\0\
         {{daemon_addr}}\x00127.0.0.1\0{{daemon_port}}\x0025\0{{client_addr}}\0{client}\0{{client_name}}\0{name}\0\
         {{client_port}}\x0053850\0{{client_ptr}}\0{name}\0"
    )
    .into_bytes()
}

/// The family and port of a client, as CONNECT has them between its name and its address.
pub(crate) const CLIENT_PORT: &[u8] = b"\x004\xd2\x5a";

/// Appends a packet.
pub(crate) fn packet(code: u8, parts: &[&[u8]], to: &mut Vec<u8>) {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    to.extend_from_slice(&(length as u32).to_be_bytes());
    to.push(code);
    parts.iter().for_each(|part| to.extend_from_slice(part));
}

/// Appends the request of the policy protocol about a recipient. `mail` numbers the mails of a connection, as `instance` does.
pub(crate) fn policy_request(triplet: &Triplet, mail: u64, to: &mut String) {
    let Triplet { client, name, sender, recipient } = triplet;
    let _ = write!(
        to,
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address={client}\n\
         client_name={name}\nclient_port=53850\nreverse_client_name={name}\nserver_address=127.0.0.1\n\
         server_port=25\nhelo_name={name}\nsender={sender}\nrecipient={recipient}\nrecipient_count=0\n\
         queue_id=\ninstance=3903.6b03b16e.f2bf9.{mail}\nsize=777\netrn_domain=\nstress=\nsasl_method=\n\
         sasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
         ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
         encryption_keysize=256\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.10.0\n\n"
    );
}

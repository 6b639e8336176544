//! What Postfix 3.10 says, prepared: one text for each time it waits for an answer.

use crate::mail::{Content, Triplet};

/// OPTNEG of Postfix.
pub(crate) const OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

/// For each command what says that it is not sent, and that it is not answered.
const CONNECT: (u32, u32) = (0x1, 0x1000);
const HELO: (u32, u32) = (0x2, 0x2000);
const MAIL: (u32, u32) = (0x4, 0x4000);
const RCPT: (u32, u32) = (0x8, 0x8000);
const DATA: (u32, u32) = (0x200, 0x1_0000);
const HEADER: (u32, u32) = (0x20, 0x80);
const END_OF_HEADER: (u32, u32) = (0x40, 0x4_0000);
const BODY: (u32, u32) = (0x10, 0x8_0000);
const END_OF_MESSAGE: (u32, u32) = (0, 0);

/// The request of the policy protocol about a recipient.
pub(crate) fn policy_request(triplet: &Triplet, mail: usize) -> Vec<u8> {
    let Triplet { client, name, sender, recipient } = triplet;
    format!(
        "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address={client}\n\
         client_name={name}\nclient_port=53850\nreverse_client_name={name}\nserver_address=127.0.0.1\n\
         server_port=25\nhelo_name={name}\nsender={sender}\nrecipient={recipient}\nrecipient_count=0\n\
         queue_id=\ninstance=3903.6b03b16e.f2bf9.{mail}\nsize=777\netrn_domain=\nstress=\nsasl_method=\n\
         sasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n\
         ccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
         encryption_keysize=256\npolicy_context=\ncompatibility_level=3.6\nmail_version=3.10.0\n\n"
    )
    .into_bytes()
}

/// A milter connection: OPTNEG, CONNECT, HELO, so many mails, QUIT.
pub(crate) fn milter_session(
    protocol: u32,
    triplet: &Triplet,
    content: &Content,
    mails: usize,
) -> Vec<Vec<u8>> {
    let Triplet { client, name, sender, recipient } = triplet;
    let mut talk = Talk { protocol, said: vec![OFFER.to_vec()], unsaid: Vec::new() };
    let macros = format!(
        "Cj\0mx.recipient.example\0_\0{name} [{client}]\0v\0Postfix 3.10.0\0{{daemon_name}}\0smtpd\0\
         {{daemon_addr}}\x00127.0.0.1\0{{daemon_port}}\x0025\0{{client_addr}}\0{client}\0{{client_name}}\0{name}\0\
         {{client_port}}\x0053850\0{{client_ptr}}\0{name}\0"
    );
    talk.packet(b'D', &[macros.as_bytes()]);
    talk.command(CONNECT, b'C', &[name.as_bytes(), b"\x004\xd2\x5a", client.as_bytes(), b"\0"]);
    talk.packet(b'D', &[b"H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES_256_GCM_SHA384\0"]);
    talk.command(HELO, b'H', &[name.as_bytes(), b"\0"]);
    for _ in 0..mails {
        talk.packet(b'D', &[b"M{mail_addr}\0", sender.as_bytes(), b"\0"]);
        talk.command(MAIL, b'M', &[b"<", sender.as_bytes(), b">\0"]);
        talk.packet(b'D', &[b"R{rcpt_addr}\0", recipient.as_bytes(), b"\0"]);
        talk.command(RCPT, b'R', &[b"<", recipient.as_bytes(), b">\0"]);
        talk.packet(b'D', &[b"Ti\x004F2A1B\0"]);
        talk.command(DATA, b'T', &[]);
        for (name, value) in &content.header {
            talk.command(HEADER, b'L', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        talk.command(END_OF_HEADER, b'N', &[]);
        talk.command(BODY, b'B', &[&content.body]);
        talk.packet(b'D', &[b"Ei\x004F2A1B\0"]);
        talk.command(END_OF_MESSAGE, b'E', &[]);
    }
    talk.packet(b'Q', &[]);
    talk.said.push(talk.unsaid);
    talk.said
}

struct Talk {
    protocol: u32,
    said: Vec<Vec<u8>>,
    /// Goes out with the next command that is answered.
    unsaid: Vec<u8>,
}

impl Talk {
    fn command(&mut self, (not_sent, not_answered): (u32, u32), code: u8, parts: &[&[u8]]) {
        if self.protocol & not_sent != 0 {
            return;
        }
        self.packet(code, parts);
        if self.protocol & not_answered == 0 {
            self.said.push(std::mem::take(&mut self.unsaid));
        }
    }

    fn packet(&mut self, code: u8, parts: &[&[u8]]) {
        let length: usize = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.unsaid.extend((length as u32).to_be_bytes());
        self.unsaid.push(code);
        parts.iter().for_each(|part| self.unsaid.extend(*part));
    }
}

//! What Postfix 3.10 says, prepared: one text for each time it waits for an answer.

use crate::mail::{Content, Triplet};
use crate::postfix::{
    self, BODY, CLIENT_PORT, CONNECT, Command, DATA, END_OF_HEADER, END_OF_MESSAGE, HEADER, HELO, MACROS,
    MAIL, RCPT,
};

/// A milter connection: OPTNEG, CONNECT, HELO, so many mails, QUIT.
pub(crate) fn milter_session(
    protocol: u32,
    triplet: &Triplet,
    content: &Content,
    mails: usize,
) -> Vec<Vec<u8>> {
    let Triplet { client, name, sender, recipient } = triplet;
    let mut talk = Talk { protocol, said: vec![postfix::OFFER.to_vec()], unsaid: Vec::new() };
    talk.packet(MACROS, &[&postfix::connect_macros(triplet)]);
    talk.command(CONNECT, &[name.as_bytes(), CLIENT_PORT, client.as_bytes(), b"\0"]);
    talk.packet(MACROS, &[postfix::HELO_MACROS]);
    talk.command(HELO, &[name.as_bytes(), b"\0"]);
    for _ in 0..mails {
        talk.packet(MACROS, &[b"M{mail_addr}\0", sender.as_bytes(), b"\0"]);
        talk.command(MAIL, &[b"<", sender.as_bytes(), b">\0"]);
        talk.packet(MACROS, &[b"R{rcpt_addr}\0", recipient.as_bytes(), b"\0"]);
        talk.command(RCPT, &[b"<", recipient.as_bytes(), b">\0"]);
        talk.packet(MACROS, &[postfix::DATA_MACROS]);
        talk.command(DATA, &[]);
        for (name, value) in &content.header {
            talk.command(HEADER, &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        talk.command(END_OF_HEADER, &[]);
        talk.command(BODY, &[&content.body]);
        talk.packet(MACROS, &[postfix::END_MACROS]);
        talk.command(END_OF_MESSAGE, &[]);
    }
    talk.packet(postfix::QUIT, &[]);
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
    fn command(&mut self, command: Command, parts: &[&[u8]]) {
        if !command.is_sent(self.protocol) {
            return;
        }
        self.packet(command.code, parts);
        if command.is_answered(self.protocol) {
            self.said.push(std::mem::take(&mut self.unsaid));
        }
    }

    fn packet(&mut self, code: u8, parts: &[&[u8]]) {
        postfix::packet(code, parts, &mut self.unsaid);
    }
}

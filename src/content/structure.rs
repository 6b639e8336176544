//! The MIME structure of a message, read once for all who look at it.

use std::sync::{LazyLock, OnceLock};

use mail_parser::{HeaderForm, HeaderName, MessageParser, PartFlags};
use self_cell::self_cell;

use crate::facts::Message;

/// Fields that most messages have, whose values nobody looks at: the structure is in those of MIME.
const UNREAD: [HeaderName<'static>; 14] = [
    HeaderName::Received,
    HeaderName::ReturnPath,
    HeaderName::From,
    HeaderName::Sender,
    HeaderName::ReplyTo,
    HeaderName::To,
    HeaderName::Cc,
    HeaderName::Subject,
    HeaderName::Date,
    HeaderName::MessageId,
    HeaderName::InReplyTo,
    HeaderName::References,
    HeaderName::ListId,
    HeaderName::ListUnsubscribe,
];

static PARSER: LazyLock<MessageParser> = LazyLock::new(|| {
    let parser = MessageParser::new();
    UNREAD.into_iter().fold(parser, |parser, name| parser.header(name, HeaderForm::Ignore))
});

/// How far the parser follows a message. Beyond it, the parts of a message are what the parser leaves together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Multiparts and messages one inside the other.
    pub(super) depth: usize,
    /// Parts of all of them.
    pub(super) parts: usize,
    /// Transfer-encoded messages one inside the other.
    pub(super) encoded_depth: usize,
}

impl Limits {
    /// What hardly any message reaches.
    const USUAL: Self = Self { depth: 12, parts: 64, encoded_depth: 1 };

    /// Reads `text` as far.
    pub(super) fn parse(self, text: &[u8]) -> Option<mail_parser::Message<'_>> {
        let parser = PARSER
            .clone()
            .max_depth(self.depth)
            .max_parts(self.parts)
            .max_encoded_nesting(self.encoded_depth);
        parser.parse(text)
    }

    const fn cover(self, other: Self) -> bool {
        self.depth >= other.depth && self.parts >= other.parts && self.encoded_depth >= other.encoded_depth
    }

    /// Whether a message that was read so far is the same read farther.
    fn leave_whole(self, message: &mail_parser::Message<'_>) -> bool {
        let cut = PartFlags::LIMIT_REACHED | PartFlags::NESTING_LIMIT;
        message.parts().len() < self.parts && message.parts().all(|part| !part.flags().intersects(cut))
    }
}

/// `None` where a message has to be read farther than is usual.
type Usual<'m> = OnceLock<Option<mail_parser::Message<'m>>>;

self_cell! {
    struct Read {
        owner: Message,
        #[not_covariant]
        dependent: Usual,
    }
}

/// A message whose structure is read by the first who looks at it, on whatever thread, and there for the next.
pub struct Structure(Read);

impl Structure {
    /// That of `message`, not read yet.
    pub fn of(message: Message) -> Self {
        Self(Read::new(message, |_| OnceLock::new()))
    }

    /// The message.
    pub fn message(&self) -> &Message {
        self.0.borrow_owner()
    }

    /// Looks at the structure within `limits`; there is none where nothing is a message in it.
    pub(super) fn look<T>(
        &self,
        limits: Limits,
        look: impl FnOnce(Option<&mail_parser::Message<'_>>) -> T,
    ) -> T {
        self.0.with_dependent(|message, usual| {
            let read = || Limits::USUAL.parse(message.text()).filter(|read| Limits::USUAL.leave_whole(read));
            let usual = limits.cover(Limits::USUAL).then(|| usual.get_or_init(read).as_ref());
            match usual.flatten() {
                Some(read) => look(Some(read)),
                None => look(limits.parse(message.text()).as_ref()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Limits = Limits { depth: 100, parts: 100, encoded_depth: 16 };

    fn multipart(boundary: usize, parts: &[String]) -> String {
        let parts: String = parts.iter().map(|part| format!("--b{boundary}\r\n{part}\r\n")).collect();
        format!("Content-Type: multipart/mixed; boundary=b{boundary}\r\n\r\n{parts}--b{boundary}--\r\n")
    }

    fn encoded(message: &str) -> String {
        let quoted = message.replace('=', "=3D");
        format!("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}")
    }

    #[test]
    fn no_limit_of_usual_messages_shows() {
        let text = "Content-Type: text/plain\r\n\r\nx".to_owned();
        let nested = |depth: usize| (0..depth).fold(text.clone(), |inside, at| multipart(at, &[inside]));
        let in_messages = |depth: usize| (0..depth).fold(text.clone(), |inside, _| encoded(&inside));
        for (mail, is_usual) in [
            (text.clone(), true),
            (nested(Limits::USUAL.depth - 1), true),
            (nested(Limits::USUAL.depth), false),
            (multipart(0, &vec![text.clone(); Limits::USUAL.parts - 2]), true),
            (multipart(0, &vec![text.clone(); Limits::USUAL.parts - 1]), false),
            (in_messages(1), true),
            (in_messages(2), false),
            (text.replace('x', &"x".repeat(20 << 10)), true),
        ] {
            let message = Message::from_bytes(mail.as_bytes());
            let structure = Structure::of(message.clone());
            let seen = |read: Option<&mail_parser::Message<'_>>| {
                let parts = read.into_iter().flat_map(|message| message.parts());
                parts.map(|part| (part.raw_body().to_vec(), part.flags())).collect::<Vec<_>>()
            };
            let expected = seen(WIDE.parse(message.text()).as_ref());
            assert!(!expected.is_empty());
            assert_eq!(structure.look(WIDE, seen), expected, "{mail}");
            let is_kept = structure.0.with_dependent(|_, usual| usual.get().is_some_and(Option::is_some));
            assert_eq!(is_kept, is_usual, "{mail}");
        }
    }

    #[test]
    fn it_is_read_once_but_for_those_who_would_not_read_so_far() {
        let structure = Structure::of(Message::from_bytes(b"Subject: x\r\n\r\nx"));
        let place = |limits| structure.look(limits, |read| std::ptr::from_ref(read.unwrap()).addr());
        assert_eq!(place(WIDE), place(Limits { parts: 99, ..WIDE }));
        assert_ne!(place(WIDE), place(Limits { parts: 1, ..WIDE }));
        let elsewhere = std::thread::scope(|threads| threads.spawn(|| place(WIDE)).join().unwrap());
        assert_eq!(elsewhere, place(WIDE));
    }
}

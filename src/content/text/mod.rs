//! The text of a message as a reader sees it: header fields, text parts, links and attachment names, with every encoding undone.
//!
//! No single reading is enough here either: where a charset or an encoding is likely a lie, both readings are kept.

mod charset;
mod fold;
mod foreign;
mod header;
mod html;

use std::borrow::Cow;

use mail_parser::{ContentType, Encoding, MessagePart, PartKind};

pub(super) use fold::Folded;
pub(crate) use fold::{folded, visible};
pub(super) use html::Page;

use super::links::{self, Link};
use super::structure::{Limits, Structure};
use super::{Cancel, parameters, raw, readings};

/// How far the parts of a message are followed.
const LIMITS: Limits = Limits { depth: 100, parts: 10_000, encoded_depth: 16 };
/// Links that are kept. A mail with more has shown what it is by then.
const MAX_LINKS: usize = 10_000;
/// Attachment names that are kept.
const MAX_NAMES: usize = 10_000;
/// Bytes of one header field that are kept. Postfix cuts fields at 100 kB.
const MAX_FIELD: usize = 128 << 10;

/// What can be read in a message. All texts are [`visible`]: one line, without characters that nobody sees.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Field names in lower case, and decoded values, in the order of the header.
    pub(super) fields: Vec<(String, String)>,
    /// The readings of each text part, those of attached messages included.
    pub(super) bodies: Vec<String>,
    /// Links of the texts and of the attributes of HTML, each once.
    pub(super) links: Vec<Link>,
    /// Every reading of every attachment name, each once.
    pub(super) attachment_names: Vec<String>,
}

/// What is read, as somebody looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The fields of the header.
    pub(super) fields: bool,
    /// Text parts and links.
    pub(super) texts: bool,
    pub(super) names: bool,
}

impl Texts {
    /// Reads of `message` what is `wanted`, up to `max_text` bytes of decoded text; all of it where `cancel` is not called. Takes
    /// time linear in the size of the message.
    pub(super) fn read(structure: &Structure, wanted: Wanted, max_text: u64, cancel: &Cancel) -> Self {
        let message = structure.message();
        let mut texts = Self::default();
        for field in message.headers().iter().filter(|_| wanted.fields) {
            if cancel.is_cancelled() {
                break;
            }
            let name = String::from_utf8_lossy(&field.name).trim().to_ascii_lowercase();
            let value = field.value.get(..MAX_FIELD).unwrap_or(&field.value);
            texts.fields.push((name, visible(&header::decoded(value))));
        }
        if !wanted.texts && !wanted.names {
            return texts;
        }
        let mut names = Names::default();
        let mut left = usize::try_from(max_text).unwrap_or(usize::MAX);
        let mut links = links::Links::new(MAX_LINKS);
        structure.look(LIMITS, |parsed| {
            for part in parsed.into_iter().flat_map(|message| message.parts()) {
                if cancel.is_cancelled() {
                    break;
                }
                if wanted.names {
                    names.of_part(&part);
                }
                if wanted.texts && left > 0 && is_text(&part) {
                    texts.part(&part, &mut left, &mut links);
                }
            }
        });
        if wanted.names {
            names.of_lines(message.text());
        }
        texts.links = links.into_vec();
        texts.attachment_names = names.readings();
        texts
    }

    fn part(&mut self, part: &MessagePart<'_>, left: &mut usize, links: &mut links::Links) {
        let bytes = transfer_decoded(part);
        let bytes = bytes.get(..*left).unwrap_or(&bytes);
        *left -= bytes.len();
        let content_type = part.content_type();
        let label = content_type.as_ref().and_then(|content_type| content_type.attribute("charset"));
        let is_html = matches!(part.kind(), PartKind::Html) || part.is_content_type("text", "html");
        for text in charset::readings(bytes, label.map(str::as_bytes), is_html) {
            if is_html {
                self.page(&text, links);
                if let Some(text) = html::for_outlook(&text) {
                    self.page(&text, links);
                }
            } else {
                self.body(visible(&text), links);
                if content_type.as_ref().is_some_and(is_joined) {
                    self.body(visible(&text.replace(" \r\n", "").replace(" \n", "")), links);
                }
            }
        }
    }

    fn page(&mut self, html: &str, links: &mut links::Links) {
        let page = html::Page::read(html);
        links.of_page(&page);
        self.body(visible(&page.text), links);
        if let Some(shown) = page.shown() {
            self.body(visible(&shown), links);
        }
    }

    fn body(&mut self, text: String, links: &mut links::Links) {
        links.of_text(&text);
        self.bodies.push(text);
    }
}

/// Whether lines that end in a space go on in the next one, without the space (RFC 3676 §4.1 and §4.2).
fn is_joined(content_type: &ContentType<'_>) -> bool {
    let has = |name, value| content_type.attribute(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    has("format", "flowed") && has("delsp", "yes")
}

/// Whether a part is shown as text. One without a type is text, as RFC 2045 §5.2 says.
fn is_text(part: &MessagePart<'_>) -> bool {
    matches!(part.kind(), PartKind::Text | PartKind::Html)
        || part.content_type().is_some_and(|content_type| content_type.ctype().eq_ignore_ascii_case("text"))
}

/// The content of a part. Transfer encodings that are misspelt are undone as mail programs do.
fn transfer_decoded<'p>(part: &'p MessagePart<'_>) -> Cow<'p, [u8]> {
    if part.has_known_transfer_encoding() {
        return part.decoded();
    }
    let written = part.content_transfer_encoding().unwrap_or_default().to_ascii_lowercase();
    let encoding = if written.contains("base64") {
        Encoding::Base64
    } else if written.contains("quoted") {
        Encoding::QuotedPrintable
    } else {
        return part.decoded();
    };
    encoding.decode(part.raw_body())
}

/// Attachment names as they are met, each once.
#[derive(Default)]
struct Names {
    written: Vec<String>,
    known: std::collections::HashSet<String>,
}

impl Names {
    /// The names of a part, decoded and as written in its `Content-*` fields.
    fn of_part(&mut self, part: &MessagePart<'_>) {
        self.add(part.attachment_name().unwrap_or_default());
        for header in part.headers().iter() {
            if raw::is_content_field(header.raw_name().as_bytes()) {
                parameters::names(header.raw_value()).iter().for_each(|name| self.add(name));
            }
        }
    }

    /// The names of lines that look like `Content-*` fields, wherever they stand.
    fn of_lines(&mut self, text: &[u8]) {
        let all: Result<(), std::convert::Infallible> = raw::seen(text, |seen| {
            if let raw::Seen::Name(name) = seen {
                self.add(name);
            }
            Ok(())
        });
        debug_assert!(all.is_ok());
    }

    fn add(&mut self, name: &str) {
        if !name.is_empty() && self.written.len() < MAX_NAMES && self.known.insert(name.to_owned()) {
            self.written.push(name.to_owned());
        }
    }

    fn readings(self) -> Vec<String> {
        let mut known = std::collections::HashSet::new();
        let readings = self.written.iter().flat_map(|name| readings::readings(name));
        readings
            .map(|name| visible(&name))
            .filter(|name| known.insert(name.clone()))
            .take(MAX_NAMES)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Message;

    #[test]
    fn only_what_is_wanted_is_read() {
        let mail = b"Subject: x\r\nContent-Disposition: inline; filename=a.txt\r\n\r\nsee http://example.com/ now\r\n";
        let read = |fields, texts, names| {
            let wanted = Wanted { fields, texts, names };
            let texts =
                Texts::read(&Structure::of(Message::from_bytes(mail)), wanted, 1000, &Cancel::default());
            (texts.fields.len(), texts.bodies.len(), texts.links.len(), texts.attachment_names.len())
        };
        assert_eq!(read(true, true, true), (2, 1, 1, 1));
        assert_eq!(read(true, true, false), (2, 1, 1, 0));
        assert_eq!(read(true, false, true), (2, 0, 0, 1));
        assert_eq!(read(false, true, false), (0, 1, 1, 0));
        assert_eq!(read(false, false, false), (0, 0, 0, 0));
    }

    #[test]
    fn lines_that_go_on_are_joined() {
        let bodies = |parameters: &str| {
            let mail =
                format!("Content-Type: text/plain; charset=utf-8{parameters}\r\n\r\nthe lot \r\ntery\r\n");
            let wanted = Wanted { fields: false, texts: true, names: false };
            let structure = Structure::of(Message::from_bytes(mail.as_bytes()));
            Texts::read(&structure, wanted, 1000, &Cancel::default()).bodies
        };
        assert_eq!(bodies("; format=flowed; delsp=yes"), ["the lot tery", "the lottery"]);
        assert_eq!(bodies("; format=flowed"), ["the lot tery"]);
        assert_eq!(bodies("; delsp=yes"), ["the lot tery"]);
    }

    #[test]
    fn a_cancelled_reading_leaves_fields_and_parts() {
        let cancel = Cancel::default();
        cancel.cancel();
        let message = Message::from_bytes(b"Subject: x\r\n\r\nHello\r\n");
        let wanted = Wanted { fields: true, texts: true, names: false };
        let texts = Texts::read(&Structure::of(message), wanted, 1000, &cancel);
        assert_eq!((texts.fields.len(), texts.bodies.len()), (0, 0));
    }
}

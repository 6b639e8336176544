//! Header fields as they arrived, and the message they make with the body.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::spare::Buffer;

/// Header fields for which there is room from the first on: most messages have no more when they come.
const USUAL_HEADERS: usize = 16;

/// A piece of the body of so many bytes is as large as MTAs make them, and others come behind it.
const FULL_CHUNK: usize = 65_000;
/// Pieces for which there is room then.
const USUAL_CHUNKS: usize = 2;

/// One header field as the MTA passes it on: name without colon, value unfolded by nobody (bare LF between its lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The field name.
    pub name: Bytes,
    /// The value; the space after the colon is part of it only in an [exact](Message::is_exact) message.
    pub value: Bytes,
}

/// A received message: a cheap handle, whose copies share everything. The pieces of a body are put behind the header, where the next
/// one has room, as they come: what they came in can be used for the next, and nobody has to put them together later.
#[derive(Clone, Debug, Default)]
pub struct Message(Arc<Parts>);

/// What is kept of a message that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    #[default]
    Whole,
    /// Envelope and header: with its body it takes more memory than it may.
    Header,
    /// Nothing: it takes more than it may even without a body. Recipients may be missing too.
    Nothing,
}

#[derive(Clone, Debug, Default)]
struct Parts {
    headers: Vec<HeaderField>,
    exact: bool,
    kept: Kept,
    /// Of these header fields; made when the body begins, or somebody asks.
    text: OnceLock<Text>,
}

/// A message as one text.
#[derive(Clone, Debug, Default)]
struct Text {
    bytes: Buffer,
    /// Where the body begins.
    body_at: usize,
}

impl Text {
    fn body(&self) -> &[u8] {
        self.bytes.get(self.body_at..).unwrap_or_default()
    }
}

impl Message {
    /// The message of these header fields and this body. [`Self::is_exact`] tells of `exact`.
    pub fn new(headers: Vec<HeaderField>, body: &[u8], exact: bool) -> Self {
        let mut message = Self(Arc::new(Parts { headers, exact, ..Parts::default() }));
        message.push_body(body);
        message
    }

    /// The header fields in order.
    pub fn headers(&self) -> &[HeaderField] {
        &self.0.headers
    }

    /// The body, lines ended by CRLF.
    pub fn body(&self) -> &[u8] {
        self.0.text.get().map_or(&[], Text::body)
    }

    /// Whether values begin right after the colon, as the MTA does when asked to (`SMFIP_HDR_LEADSPC`). Signatures over the
    /// header as it stands (`c=simple`) can only be verified so.
    pub fn is_exact(&self) -> bool {
        self.0.exact
    }

    /// Says whether the message is [exact](Self::is_exact).
    pub fn set_exact(&mut self, exact: bool) {
        if self.is_exact() != exact {
            self.change_header(|parts| parts.exact = exact);
        }
    }

    /// What there is of it.
    pub fn kept(&self) -> Kept {
        self.0.kept
    }

    /// Says what there is of it.
    pub(crate) fn set_kept(&mut self, kept: Kept) {
        if self.kept() != kept {
            Arc::make_mut(&mut self.0).kept = kept;
        }
    }

    /// Adds a header field below the others.
    pub fn push_header(&mut self, field: HeaderField) {
        self.change_header(|Parts { headers, .. }| {
            if headers.is_empty() {
                headers.reserve(USUAL_HEADERS);
            }
            headers.push(field);
        });
    }

    /// The header comes before the body. Where it does not, the text is made anew.
    fn change_header(&mut self, change: impl FnOnce(&mut Parts)) {
        let parts = Arc::make_mut(&mut self.0);
        let before = parts.text.take();
        change(parts);
        if let Some(before) = before {
            self.push_body(before.body());
        }
    }

    /// Adds a piece to the body.
    pub fn push_body(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        if let Some(end) = self.end_of_body(chunk.len()) {
            end.extend_from_slice(chunk);
        }
    }

    /// The text, with room for a piece of the body of `length` bytes: for whoever has nothing to add but that, and reads it to where
    /// it stays.
    pub(crate) fn end_of_body(&mut self, length: usize) -> Option<&mut Vec<u8>> {
        let parts = Arc::make_mut(&mut self.0);
        let mut text = parts.text.take().unwrap_or_else(|| {
            let chunks = if length < FULL_CHUNK { 1 } else { USUAL_CHUNKS };
            parts.header_text(chunks * length)
        });
        text.bytes.reserve(length);
        parts.text = text.into();
        parts.text.get_mut().map(|text| &mut *text.bytes)
    }

    /// Leaves the header alone.
    pub fn clear_body(&mut self) {
        Arc::make_mut(&mut self.0).text.take();
    }

    /// Size of header and body in bytes: that of [`Self::text`], but that a fold in the header gains a CR there.
    pub fn len(&self) -> usize {
        self.0.header_len() + self.body().len()
    }

    /// Whether there is neither header nor body.
    pub fn is_empty(&self) -> bool {
        self.headers().is_empty() && self.body().is_empty()
    }

    /// The message as one text with CRLF line ends: header fields, an empty line, the body. Byte for byte what the client sent
    /// when the message is [exact](Self::is_exact); else each value stands after one space.
    pub fn text(&self) -> &[u8] {
        &self.whole().bytes
    }

    /// The header with the empty line at its end, as [`Self::text`] has it.
    pub fn header_text(&self) -> &[u8] {
        let Text { bytes, body_at } = self.whole();
        bytes.get(..*body_at).unwrap_or_default()
    }

    fn whole(&self) -> &Text {
        self.0.text.get_or_init(|| self.0.header_text(0))
    }

    /// Reads a message file as an MTA would pass it on: header fields until the first empty line or the first line that is
    /// none, lines ended by LF or CRLF.
    pub fn from_bytes(text: &[u8]) -> Self {
        let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let line = rest[..end].strip_suffix(b"\n").unwrap_or(&rest[..end]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                rest = &rest[end..];
                break;
            }
            if matches!(line[0], b' ' | b'\t') {
                let Some((_, value)) = headers.last_mut() else { break };
                value.push(b'\n');
                value.extend_from_slice(line);
            } else {
                let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
                let value = &line[colon + 1..];
                let value = value.strip_prefix(b" ").unwrap_or(value);
                headers.push((line[..colon].trim_ascii_end().to_vec(), value.to_vec()));
            }
            rest = &rest[end..];
        }
        let field =
            |(name, value): (Vec<u8>, Vec<u8>)| HeaderField { name: name.into(), value: value.into() };
        Self::new(headers.into_iter().map(field).collect(), rest, false)
    }
}

impl Parts {
    /// The header as text, with room for so much body.
    fn header_text(&self, room: usize) -> Text {
        let mut bytes = Buffer::with_room(self.header_len() + self.headers.len() + room);
        for HeaderField { name, value } in &self.headers {
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(self.separator());
            let mut line = 0;
            for end in memchr::memchr_iter(b'\n', value) {
                bytes.extend_from_slice(value.get(line..end).unwrap_or_default());
                bytes.extend_from_slice(b"\r\n");
                line = end + 1;
            }
            bytes.extend_from_slice(value.get(line..).unwrap_or_default());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        Text { body_at: bytes.len(), bytes }
    }

    fn header_len(&self) -> usize {
        let around = self.separator().len() + 2;
        self.headers.iter().map(|field| field.name.len() + field.value.len() + around).sum::<usize>() + 2
    }

    const fn separator(&self) -> &'static [u8] {
        if self.exact { b":" } else { b": " }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_file_and_its_wire_form_agree() {
        let message = Message::from_bytes(b"From: a@b\nSubject: one\n two\n\tthree\nX:y\n\nHello\r\n");
        assert_eq!(message.headers()[1].value.as_ref(), b"one\n two\n\tthree");
        assert_eq!(message.headers()[2].name.as_ref(), b"X");
        assert_eq!(message.text(), b"From: a@b\r\nSubject: one\r\n two\r\n\tthree\r\nX: y\r\n\r\nHello\r\n");
    }

    #[test]
    fn an_exact_message_is_written_as_it_was_sent() {
        let field = |name: &'static str, value: &'static str| HeaderField {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        let headers = vec![field("A", "b"), field("C", "  d\n\te"), field("F", "")];
        let message = Message::new(headers, b"g\r\n", true);
        assert_eq!(message.text(), b"A:b\r\nC:  d\r\n\te\r\nF:\r\n\r\ng\r\n");
        assert_eq!(message.header_text(), b"A:b\r\nC:  d\r\n\te\r\nF:\r\n\r\n");
        let mut spaced = message.clone();
        spaced.set_exact(false);
        assert_eq!(spaced.text(), b"A: b\r\nC:   d\r\n\te\r\nF: \r\n\r\ng\r\n");
        assert_eq!(spaced.len(), spaced.text().len() - "\r".len(), "folds gain a CR");
        assert!(message.is_exact() && message.text().starts_with(b"A:b"), "the other is as it was");
    }

    #[test]
    fn a_message_that_starts_with_no_header_line_is_all_body() {
        let message = Message::from_bytes(b"hello world\r\nfoo: bar\r\n");
        assert!(message.headers().is_empty());
        assert_eq!(message.text(), b"\r\nhello world\r\nfoo: bar\r\n");
    }

    #[test]
    fn the_text_is_one_for_all_copies_until_one_changes() {
        let mut message = Message::from_bytes(b"A: b\r\n\r\nc\r\n");
        let copy = message.clone();
        assert_eq!(message.text().as_ptr(), copy.text().as_ptr());
        message.push_body(b"d\r\n");
        message.push_header(HeaderField { name: "E".into(), value: "f".into() });
        assert_eq!(message.text(), b"A: b\r\nE: f\r\n\r\nc\r\nd\r\n");
        message.clear_body();
        assert_eq!(message.text(), b"A: b\r\nE: f\r\n\r\n");
        assert_eq!(copy.text(), b"A: b\r\n\r\nc\r\n");
    }
}

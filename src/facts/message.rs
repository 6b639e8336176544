//! Header and body, in the chunks in which they arrived.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// Header fields for which there is room from the first on: most messages have no more when they come.
const USUAL_HEADERS: usize = 16;

/// One header field as the MTA passes it on: name without colon, value unfolded by nobody (bare LF between its lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The field name.
    pub name: Bytes,
    /// The value; the space after the colon is part of it only in an [exact](Message::is_exact) message.
    pub value: Bytes,
}

/// A received message: a cheap handle, whose copies share everything. Header and body are kept as the chunks in which they came, so
/// that receiving them copies nothing; whoever needs them in one piece gets the one that is put together for all.
#[derive(Clone, Debug, Default)]
pub struct Message(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    headers: Vec<HeaderField>,
    body: Vec<Bytes>,
    exact: bool,
    /// Of these parts as they are; what changes them forgets it.
    text: OnceLock<Vec<u8>>,
}

/// Made to be changed.
impl Clone for Parts {
    fn clone(&self) -> Self {
        let Self { headers, body, exact, text: _ } = self;
        Self { headers: headers.clone(), body: body.clone(), exact: *exact, text: OnceLock::new() }
    }
}

impl Message {
    /// The message of these header fields and pieces of a body. [`Self::is_exact`] tells of `exact`.
    pub fn new(headers: Vec<HeaderField>, body: Vec<Bytes>, exact: bool) -> Self {
        Self(Arc::new(Parts { headers, body, exact, text: OnceLock::new() }))
    }

    /// The header fields in order.
    pub fn headers(&self) -> &[HeaderField] {
        &self.0.headers
    }

    /// The body, lines ended by CRLF, in the pieces in which it came.
    pub fn body(&self) -> &[Bytes] {
        &self.0.body
    }

    /// Whether values begin right after the colon, as the MTA does when asked to (`SMFIP_HDR_LEADSPC`). Signatures over the
    /// header as it stands (`c=simple`) can only be verified so.
    pub fn is_exact(&self) -> bool {
        self.0.exact
    }

    /// Says whether the message is [exact](Self::is_exact).
    pub fn set_exact(&mut self, exact: bool) {
        self.parts().exact = exact;
    }

    /// Adds a header field below the others.
    pub fn push_header(&mut self, field: HeaderField) {
        let headers = &mut self.parts().headers;
        if headers.is_empty() {
            headers.reserve(USUAL_HEADERS);
        }
        headers.push(field);
    }

    /// Adds a piece to the body.
    pub fn push_body(&mut self, chunk: Bytes) {
        self.parts().body.push(chunk);
    }

    /// Leaves the header alone.
    pub fn clear_body(&mut self) {
        self.parts().body.clear();
    }

    fn parts(&mut self) -> &mut Parts {
        let parts = Arc::make_mut(&mut self.0);
        parts.text = OnceLock::new();
        parts
    }

    /// Size of header and body in bytes: that of [`Self::text`], but that a fold in the header gains a CR there.
    pub fn len(&self) -> usize {
        self.header_len() + self.body().iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is neither header nor body.
    pub fn is_empty(&self) -> bool {
        self.headers().is_empty() && self.body().is_empty()
    }

    /// The message as one text with CRLF line ends: header fields, an empty line, the body. Byte for byte what the client sent
    /// when the message is [exact](Self::is_exact); else each value stands after one space. Put together once, for all copies.
    pub fn text(&self) -> &[u8] {
        self.0.text.get_or_init(|| {
            let mut out = Vec::with_capacity(self.len() + self.headers().len());
            self.write_header(&mut out);
            for chunk in self.body() {
                out.extend_from_slice(chunk);
            }
            out
        })
    }

    /// The header with the empty line at its end, as [`Self::text`] has it.
    pub fn header_text(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header_len() + self.headers().len());
        self.write_header(&mut out);
        out
    }

    fn header_len(&self) -> usize {
        let around = self.separator().len() + 2;
        self.headers().iter().map(|field| field.name.len() + field.value.len() + around).sum::<usize>() + 2
    }

    fn write_header(&self, out: &mut Vec<u8>) {
        for field in self.headers() {
            out.extend_from_slice(&field.name);
            out.extend_from_slice(self.separator());
            for (index, line) in field.value.split(|byte| *byte == b'\n').enumerate() {
                if index > 0 {
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(line);
            }
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn separator(&self) -> &'static [u8] {
        if self.is_exact() { b":" } else { b": " }
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
        let headers = headers.into_iter().map(field).collect();
        let body = if rest.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(rest)] };
        Self::new(headers, body, false)
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
        let message = Message::new(headers, vec![Bytes::from_static(b"g\r\n")], true);
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
    fn the_text_is_put_together_once_for_all_copies_and_anew_after_a_change() {
        let mut message = Message::from_bytes(b"A: b\r\n\r\nc\r\n");
        let copy = message.clone();
        assert_eq!(message.text().as_ptr(), copy.text().as_ptr());
        message.push_body(Bytes::from_static(b"d\r\n"));
        message.push_header(HeaderField { name: "E".into(), value: "f".into() });
        assert_eq!(message.text(), b"A: b\r\nE: f\r\n\r\nc\r\nd\r\n");
        message.clear_body();
        assert_eq!(message.text(), b"A: b\r\nE: f\r\n\r\n");
        assert_eq!(copy.text(), b"A: b\r\n\r\nc\r\n");
    }
}

//! Header and body, in the chunks in which they arrived.

use bytes::Bytes;

/// One header field as the MTA passes it on: name without colon, value unfolded by nobody (bare LF between its lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField {
    /// The field name.
    pub name: Bytes,
    /// The value; the space after the colon is part of it only in an [exact](Message::exact) message.
    pub value: Bytes,
}

/// A received message. The body is kept as the chunks in which it came, so that receiving it copies nothing.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The header fields in order.
    pub headers: Vec<HeaderField>,
    /// The body, lines ended by CRLF.
    pub body: Vec<Bytes>,
    /// Whether values begin right after the colon, as the MTA does when asked to (`SMFIP_HDR_LEADSPC`). Signatures over the
    /// header as it stands (`c=simple`) can only be verified so.
    pub exact: bool,
}

impl Message {
    /// Size of header and body in bytes, as [`Self::to_bytes`] writes them.
    pub fn len(&self) -> usize {
        let around = self.separator().len() + 2;
        let header: usize =
            self.headers.iter().map(|field| field.name.len() + field.value.len() + around).sum();
        header + 2 + self.body.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is neither header nor body.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.body.is_empty()
    }

    /// The message as one text with CRLF line ends: header fields, an empty line, the body. Byte for byte what the client sent
    /// when the message is [exact](Self::exact); else each value stands after one space.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() + self.headers.len());
        for field in &self.headers {
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
        for chunk in &self.body {
            out.extend_from_slice(chunk);
        }
        out
    }

    const fn separator(&self) -> &'static [u8] {
        if self.exact { b":" } else { b": " }
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
        Self { headers, body, exact: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_file_and_its_wire_form_agree() {
        let message = Message::from_bytes(b"From: a@b\nSubject: one\n two\n\tthree\nX:y\n\nHello\r\n");
        assert_eq!(message.headers[1].value.as_ref(), b"one\n two\n\tthree");
        assert_eq!(message.headers[2].name.as_ref(), b"X");
        assert_eq!(
            message.to_bytes(),
            b"From: a@b\r\nSubject: one\r\n two\r\n\tthree\r\nX: y\r\n\r\nHello\r\n".to_vec()
        );
    }

    #[test]
    fn an_exact_message_is_written_as_it_was_sent() {
        let field = |name: &'static str, value: &'static str| HeaderField {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        let message = Message {
            headers: vec![field("A", "b"), field("C", "  d\n\te"), field("F", "")],
            body: vec![Bytes::from_static(b"g\r\n")],
            exact: true,
        };
        assert_eq!(message.to_bytes(), b"A:b\r\nC:  d\r\n\te\r\nF:\r\n\r\ng\r\n".to_vec());
        let spaced = Message { exact: false, ..message };
        assert_eq!(spaced.to_bytes(), b"A: b\r\nC:   d\r\n\te\r\nF: \r\n\r\ng\r\n".to_vec());
        assert_eq!(spaced.len(), spaced.to_bytes().len() - "\r".len(), "folds gain a CR");
    }

    #[test]
    fn a_message_that_starts_with_no_header_line_is_all_body() {
        let message = Message::from_bytes(b"hello world\r\nfoo: bar\r\n");
        assert!(message.headers.is_empty());
        assert_eq!(message.to_bytes(), b"\r\nhello world\r\nfoo: bar\r\n".to_vec());
    }
}

//! Cuts the byte stream into packets: a `u32` in network order, then that many bytes, the first of which is the
//! command.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::state::CommandKind;

/// Longest packet accepted, in bytes without the length prefix. An MTA sends at most 65536 unless more was
/// negotiated, which Greylag never does; this leaves room for the largest size the protocol knows.
pub const MAX_FRAME: usize = 1024 * 1024 + 1;

const PREFIX: usize = size_of::<u32>();

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The command byte.
    pub code: u8,
    /// What follows it, a slice of the buffer it was read into.
    pub payload: Bytes,
}

impl Frame {
    /// Bytes this packet took on the wire, length prefix included.
    pub fn wire_len(&self) -> usize {
        PREFIX + 1 + self.payload.len()
    }

    /// Takes the next packet from `buffer`; `None` when more bytes must be read first.
    ///
    /// # Errors
    /// A length of zero or beyond [`MAX_FRAME`], before anything is allocated for it.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*prefix);
        let length = match announced as usize {
            0 => return Err(FrameError::Empty),
            length if length > MAX_FRAME => return Err(FrameError::TooLong(announced)),
            length => length,
        };
        if buffer.len() < PREFIX + length {
            return Ok(None);
        }
        buffer.advance(PREFIX);
        let mut payload = buffer.split_to(length).freeze();
        let code = payload.get_u8();
        Ok(Some(Self { code, payload }))
    }
}

/// Why the byte stream cannot be cut any further. The peer and we no longer agree where packets begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is zero, so there is no command byte.
    #[error("packet of length 0")]
    Empty,
    /// The length is beyond [`MAX_FRAME`].
    #[error(
        "packet of {0} bytes, longer than {MAX_FRAME}: is the peer an MTA that speaks the milter protocol?"
    )]
    TooLong(u32),
}

/// Bytes that are missing of the packet which `read` begins with and [`Frame::decode`] did not take; `None` where its length is missing, too.
pub(super) fn missing(read: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*read.first_chunk()?) as usize;
    Some((PREFIX + length.min(MAX_FRAME)).saturating_sub(read.len()))
}

/// A piece of a body that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BegunPiece<'a> {
    /// Bytes that the packet takes on the wire.
    pub(super) wire_len: usize,
    /// What is there of the piece.
    pub(super) begin: &'a [u8],
    /// Bytes that are missing of it.
    pub(super) missing: usize,
}

/// The piece of a body which `read` begins with and [`Frame::decode`] did not take.
pub(super) fn begun_piece(read: &[u8]) -> Option<BegunPiece<'_>> {
    let missing = missing(read)?;
    let begin = read.get(PREFIX..)?.strip_prefix(&[CommandKind::Body.code()])?;
    Some(BegunPiece { wire_len: read.len() + missing, begin, missing })
}

/// Writes one packet, whose payload is `parts` one after the other.
///
/// What Greylag writes is far below `u32::MAX`: the types in [`reply`](super::reply) are bounded.
pub(super) fn encode(out: &mut BytesMut, code: u8, parts: &[&[u8]]) {
    let payload: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(PREFIX + 1 + payload);
    out.put_u32((1 + payload) as u32);
    out.put_u8(code);
    for part in parts {
        out.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: u8, payload: &'static [u8]) -> Frame {
        Frame { code, payload: Bytes::from_static(payload) }
    }

    #[test]
    fn packets_come_out_as_they_were_written() {
        let mut buffer = BytesMut::new();
        encode(&mut buffer, b'H', &[b"mail.test", b"\0"]);
        encode(&mut buffer, b'A', &[]);
        assert_eq!(&buffer[..], b"\0\0\0\x0bHmail.test\0\0\0\0\x01A");
        assert_eq!(Frame::decode(&mut buffer), Ok(Some(frame(b'H', b"mail.test\0"))));
        assert_eq!(Frame::decode(&mut buffer), Ok(Some(frame(b'A', b""))));
        assert_eq!(Frame::decode(&mut buffer), Ok(None));
    }

    #[test]
    fn a_packet_may_be_split_at_any_byte() {
        let wire = b"\0\0\0\x03Bab";
        for split in 0..wire.len() {
            let mut buffer = BytesMut::from(&wire[..split]);
            assert_eq!(Frame::decode(&mut buffer), Ok(None), "{split} bytes");
            buffer.extend_from_slice(&wire[split..]);
            assert_eq!(Frame::decode(&mut buffer), Ok(Some(frame(b'B', b"ab"))), "{split} bytes");
        }
    }

    #[test]
    fn a_piece_of_a_body_is_known_once_it_begins() {
        let wire = b"\0\0\0\x04Babc";
        let known = |split: usize| {
            begun_piece(&wire[..split]).map(|BegunPiece { wire_len, begin, missing }| {
                (wire_len, String::from_utf8_lossy(begin).into_owned(), missing)
            })
        };
        for split in 0..=PREFIX {
            assert_eq!(known(split), None, "{split} bytes");
        }
        assert_eq!(known(PREFIX + 1), Some((8, String::new(), 3)));
        assert_eq!(known(PREFIX + 3), Some((8, "ab".to_owned(), 1)));
        assert_eq!(begun_piece(b"\0\0\0\x04Labc"), None);
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_allocated() {
        for (prefix, error) in [
            ([0, 0, 0, 0], FrameError::Empty),
            ([0xff, 0xff, 0xff, 0xff], FrameError::TooLong(u32::MAX)),
            ([0, 0x10, 0, 2], FrameError::TooLong(MAX_FRAME as u32 + 1)),
            (*b"GET ", FrameError::TooLong(0x4745_5420)),
        ] {
            let mut buffer = BytesMut::from(&prefix[..]);
            assert_eq!(Frame::decode(&mut buffer), Err(error));
            assert!(buffer.capacity() < 64, "{} bytes allocated", buffer.capacity());
        }
    }

    #[test]
    fn what_is_missing_is_known_with_the_length() {
        for (read, expected) in [
            (&[][..], None),
            (&[0, 0x10, 0], None),
            (&[0, 0x10, 0, 1], Some(MAX_FRAME)),
            (&[0, 0, 0, 3, b'B'], Some(2)),
            (&[0xff; 4], Some(MAX_FRAME)),
        ] {
            assert_eq!(missing(read), expected, "{read:?}");
        }
    }

    #[test]
    fn the_wire_length_counts_prefix_and_command() {
        assert_eq!(frame(b'B', b"ab").wire_len(), 7);
    }
}

//! The decoder of deflated entries. Its window and tables are lent from one archive to the next.

#![expect(clippy::disallowed_types, reason = "each decoder here is read through the budget")]

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

use crate::spare::Spare;

/// Decoders kept, of 48 KiB each: as many as are commonly at work at once, one for what is inside another's file.
const MAX_SPARE: usize = 8;

static SPARE: Spare<Decompress> = Spare::new(MAX_SPARE, |_| 1);

/// Inflates what [`Self::reset`] gave it.
#[derive(Default)]
pub(super) struct Inflater<'z> {
    /// There is one once there is something to inflate.
    state: Option<Decompress>,
    packed: &'z [u8],
}

impl<'z> Inflater<'z> {
    /// Begins with `packed`, whatever came before.
    pub(super) fn reset(&mut self, packed: &'z [u8]) {
        let take = || SPARE.take().unwrap_or_else(|| Decompress::new(false));
        let state = self.state.get_or_insert_with(take);
        state.reset(false);
        self.packed = packed;
    }
}

impl Read for Inflater<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // One that panics is not put back, nor kept.
        let Some(mut state) = self.state.take() else { return Ok(0) };
        let read = inflate(&mut state, &mut self.packed, out);
        self.state = Some(state);
        read
    }
}

fn inflate(state: &mut Decompress, packed: &mut &[u8], out: &mut [u8]) -> io::Result<usize> {
    if out.is_empty() {
        return Ok(0);
    }
    loop {
        let (read, written) = (state.total_in(), state.total_out());
        let flush = if packed.is_empty() { FlushDecompress::Finish } else { FlushDecompress::None };
        let status =
            state.decompress(packed, out, flush).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let (read, written) = (state.total_in() - read, state.total_out() - written);
        *packed = packed.get(read as usize..).unwrap_or_default();
        if written > 0 || status == Status::StreamEnd {
            return Ok(written as usize);
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Drop for Inflater<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            SPARE.leave(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut out = DeflateEncoder::new(Vec::new(), Compression::best());
        out.write_all(data).unwrap();
        out.finish().unwrap()
    }

    fn inflated(inflater: &mut Inflater<'_>) -> (Vec<u8>, Option<io::ErrorKind>) {
        let mut out = Vec::new();
        let error = inflater.read_to_end(&mut out).err();
        (out, error.map(|error| error.kind()))
    }

    #[test]
    fn each_entry_begins_anew() {
        let text = b"of the first, of the second, ".repeat(5000);
        let packed = deflated(&text);
        let (half, behind) = (&packed[..packed.len() / 2], [&packed[..], b"the next header"].concat());
        let mut inflater = Inflater::default();
        assert_eq!(inflated(&mut inflater), (Vec::new(), None));
        for _ in 0..2 {
            inflater.reset(&packed);
            assert_eq!(inflated(&mut inflater), (text.clone(), None));
            inflater.reset(&behind);
            assert_eq!(inflated(&mut inflater), (text.clone(), None));
            inflater.reset(half);
            let (cut, error) = inflated(&mut inflater);
            assert!(text.starts_with(&cut) && !cut.is_empty() && cut.len() < text.len());
            assert_eq!(error, Some(io::ErrorKind::UnexpectedEof));
            inflater.reset(b"\xff\xff\xff");
            assert_eq!(inflated(&mut inflater), (Vec::new(), Some(io::ErrorKind::InvalidData)));
            inflater.reset(b"");
            assert_eq!(inflated(&mut inflater), (Vec::new(), Some(io::ErrorKind::UnexpectedEof)));
        }
    }

    #[test]
    fn nothing_of_an_earlier_mail_is_in_the_window() {
        // A match that reaches 4 bytes back, before the first of its own: fixed codes for (length 3, distance 4), then the end.
        let reaches_back = [0b0000_0011, 0b1100_0010, 0, 0];
        let packed = deflated(b"a secret of somebody else's");
        let mut inflater = Inflater::default();
        inflater.reset(&packed);
        assert_eq!(inflated(&mut inflater).0, b"a secret of somebody else's");
        inflater.reset(&reaches_back);
        let (found, error) = inflated(&mut inflater);
        assert_eq!((found, error.is_some()), (Vec::new(), true));
    }
}

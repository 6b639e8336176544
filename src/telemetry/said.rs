//! What is said of a decision, and is said again of others like it.

use std::sync::OnceLock;

use smallvec::SmallVec;

use super::decision::DecisionLine;
use super::form::{Json, Logfmt};
use super::log::Format;
use super::record::RecordedSaid;

/// All of a decision that is not its own ([`super::Made`]), as it is written.
#[derive(Debug)]
pub struct Said {
    bytes: Box<[u8]>,
    /// As it stands in the log, made when it first comes there.
    lines: OnceLock<(Format, Lines)>,
}

/// Its lines, of which there is mostly one.
pub(super) type Lines = SmallVec<[Line; 1]>;

/// What of a line is not of one decision.
#[derive(Debug)]
pub(super) struct Line {
    text: Box<[u8]>,
    /// Where the time stands that the decision took.
    time_at: usize,
}

impl Said {
    pub(super) const fn new(bytes: Box<[u8]>) -> Self {
        Self { bytes, lines: OnceLock::new() }
    }

    pub(super) const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes it takes, without its lines, which take some more.
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Its lines; there is one log, in one format.
    pub(super) fn lines(&self, format: Format) -> &[Line] {
        let (made_for, lines) = self.lines.get_or_init(|| (format, Line::all(&self.bytes, format)));
        debug_assert_eq!(*made_for, format);
        lines
    }
}

impl Line {
    fn all(said: &[u8], format: Format) -> Lines {
        let Some(said) = RecordedSaid::read(said) else { return Lines::new() };
        let written = |line: DecisionLine<'_>| {
            let mut text = Vec::new();
            let time_at = match format {
                Format::Text => line.write_said(&mut Logfmt(&mut text)),
                Format::Json => line.write_said(&mut Json(&mut text)),
            };
            Self { text: text.into(), time_at }
        };
        DecisionLine::all(&said).map(written).collect()
    }

    /// What stands before the time that the decision took, and what behind it.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        self.text.split_at_checked(self.time_at).unwrap_or_default().into()
    }
}

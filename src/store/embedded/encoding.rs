//! How records are written: fixed sizes, little-endian numbers.

use crate::store::Timestamp;
use crate::store::model::Distinct;
use crate::store::model::{MAX_DISTINCT, Standing};

/// Size of a standing in bytes.
pub(super) const STANDING_LEN: usize = 1 + 3 * 8 + 2 * 4 + 2 * 4 * MAX_DISTINCT;

/// Writes a standing.
pub(super) fn of_standing(standing: &Standing) -> [u8; STANDING_LEN] {
    let mut bytes = [0; STANDING_LEN];
    let mut writer = Writer { bytes: &mut bytes, at: 0 };
    writer.put(&[u8::from(standing.promoted)]);
    for time in [standing.expires, standing.since, standing.day] {
        writer.put(&time.as_millis().to_le_bytes());
    }
    for count in [standing.first_seen, standing.matured] {
        writer.put(&count.to_le_bytes());
    }
    for number in standing.senders.numbers().iter().chain(standing.recipients.numbers()) {
        writer.put(&number.to_le_bytes());
    }
    bytes
}

/// Reads a standing; `None` if the bytes are none.
pub(super) fn standing(bytes: &[u8]) -> Option<Standing> {
    let mut reader = Reader(bytes);
    let [promoted] = reader.take::<1>()?;
    let [expires, since, day] = reader.times()?;
    let [first_seen, matured] = reader.numbers()?;
    let senders = Distinct::from_numbers(reader.numbers()?);
    let recipients = Distinct::from_numbers(reader.numbers()?);
    let standing =
        Standing { promoted: promoted == 1, expires, since, senders, recipients, day, first_seen, matured };
    reader.0.is_empty().then_some(standing)
}

/// Puts fields one behind the other into an array that is large enough.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) at: usize,
}

impl Writer<'_> {
    pub(super) fn put(&mut self, field: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.at..self.at + field.len()) {
            place.copy_from_slice(field);
        }
        self.at += field.len();
    }
}

/// Takes fields one after the other; `None` when there are not enough bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp::from_millis)
    }

    fn times<const N: usize>(&mut self) -> Option<[Timestamp; N]> {
        let mut times = [Timestamp::EPOCH; N];
        for time in &mut times {
            *time = self.time()?;
        }
        Some(times)
    }

    fn numbers<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.take().map(u32::from_le_bytes)?;
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_read_as_written() {
        let standing_of = |promoted| Standing {
            promoted,
            expires: Timestamp::from_millis(u64::MAX),
            since: Timestamp::from_millis(2),
            senders: Distinct::from_numbers([1, 2, 3, 4, 5, 6, 7, u32::MAX]),
            recipients: Distinct::from_numbers([9, 0, 0, 0, 0, 0, 0, 0]),
            day: Timestamp::from_millis(3),
            first_seen: 4,
            matured: u32::MAX,
        };
        for promoted in [false, true] {
            let bytes = of_standing(&standing_of(promoted));
            assert_eq!(standing(&bytes), Some(standing_of(promoted)));
            assert_eq!(standing(&bytes[1..]), None);
            assert_eq!(standing(&[&bytes[..], &[0]].concat()), None);
        }
    }
}

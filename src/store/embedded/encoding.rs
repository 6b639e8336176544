//! How records are written: little-endian numbers, in the journal at fixed places.

use crate::store::Timestamp;
use crate::store::model::Distinct;
use crate::store::model::{MAX_DISTINCT, Standing};

/// Size of a standing in bytes.
pub(super) const STANDING_LEN: usize = 1 + 3 * 8 + 2 * 4 + 2 * 4 * MAX_DISTINCT;

/// Writes a standing, of [`STANDING_LEN`] bytes.
pub(super) fn put_standing(standing: &Standing, writer: &mut Writer<'_>) {
    writer.put(&[u8::from(standing.promoted)]);
    for time in [standing.expires, standing.since, standing.day] {
        writer.put(&time.as_millis().to_le_bytes());
    }
    for count in [standing.first_seen, standing.matured] {
        writer.put(&count.to_le_bytes());
    }
    for numbers in [&standing.senders, &standing.recipients].map(Distinct::numbers) {
        for number in numbers {
            writer.put(&number.to_le_bytes());
        }
    }
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

/// Writes a standing for the database, which may have very many: no longer than it has to be, as most identities have met few senders
/// and recipients.
pub(super) fn of_stored_standing(standing: &Standing) -> Vec<u8> {
    let (senders, recipients) = (standing.senders.len(), standing.recipients.len());
    let mut bytes = vec![u8::from(standing.promoted), senders, recipients];
    for time in [standing.expires, standing.since, standing.day] {
        bytes.extend(time.as_millis().to_le_bytes());
    }
    let counts = [standing.first_seen, standing.matured];
    let met = [(&standing.senders, senders), (&standing.recipients, recipients)];
    let met = met.into_iter().flat_map(|(numbers, len)| numbers.numbers().iter().take(len.into()).copied());
    for number in counts.into_iter().chain(met) {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// Reads a standing of the database; `None` if the bytes are none. Earlier versions wrote it as it stands in the journal.
pub(super) fn stored_standing(bytes: &[u8]) -> Option<Standing> {
    if bytes.len() == STANDING_LEN {
        return standing(bytes);
    }
    let mut reader = Reader(bytes);
    let [promoted, senders, recipients] = reader.take()?;
    let [expires, since, day] = reader.times()?;
    let [first_seen, matured] = reader.numbers()?;
    let mut met = |len: u8| {
        let mut numbers = [0; MAX_DISTINCT];
        for number in numbers.get_mut(..usize::from(len))? {
            *number = reader.take().map(u32::from_le_bytes)?;
        }
        Some(Distinct::from_numbers(numbers))
    };
    let (senders, recipients) = (met(senders)?, met(recipients)?);
    let promoted = promoted == 1;
    let standing = Standing { promoted, expires, since, senders, recipients, day, first_seen, matured };
    reader.0.is_empty().then_some(standing)
}

/// Puts fields one behind the other into an array that is large enough.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) at: usize,
}

impl Writer<'_> {
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, field: &[u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.at..).and_then(|bytes| bytes.first_chunk_mut()) {
            *place = *field;
        }
        self.at += N;
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

    fn standing_of(promoted: bool) -> Standing {
        Standing {
            promoted,
            expires: Timestamp::from_millis(u64::MAX),
            since: Timestamp::from_millis(2),
            senders: Distinct::from_numbers([1, 2, 3, 4, 5, 6, 7, u32::MAX]),
            recipients: Distinct::from_numbers([9, 0, 0, 0, 0, 0, 0, 0]),
            day: Timestamp::from_millis(3),
            first_seen: 4,
            matured: u32::MAX,
        }
    }

    fn of_standing(standing: &Standing) -> [u8; STANDING_LEN] {
        let mut bytes = [0; STANDING_LEN];
        let mut writer = Writer { bytes: &mut bytes, at: 0 };
        put_standing(standing, &mut writer);
        assert_eq!(writer.at, STANDING_LEN);
        bytes
    }

    #[test]
    fn a_stored_standing_is_short_and_read_as_written_by_any_version() {
        let full = standing_of(true);
        let few = Standing { senders: Distinct::from_numbers([5, 0, 0, 0, 0, 0, 0, 0]), ..full };
        let none =
            Standing { senders: Distinct::default(), recipients: Distinct::default(), ..standing_of(false) };
        for (standing, len) in [(full, 71), (few, 43), (none, 35)] {
            let bytes = of_stored_standing(&standing);
            assert_eq!((stored_standing(&bytes), bytes.len()), (Some(standing), len));
            assert_eq!(stored_standing(&bytes[1..]), None);
            assert_eq!(stored_standing(&[&bytes[..], &[0]].concat()), None);
            assert_eq!(stored_standing(&of_standing(&standing)), Some(standing));
        }
        let mut nonsense = of_stored_standing(&few);
        nonsense[1] = 200;
        assert_eq!(stored_standing(&nonsense), None);
    }

    #[test]
    fn a_standing_is_read_as_written() {
        for promoted in [false, true] {
            let bytes = of_standing(&standing_of(promoted));
            assert_eq!(standing(&bytes), Some(standing_of(promoted)));
            assert_eq!(standing(&bytes[1..]), None);
            assert_eq!(standing(&[&bytes[..], &[0]].concat()), None);
        }
    }
}

//! A standing as `lua/standing.lua` keeps it.

use crate::store::Timestamp;
use crate::store::model::{Distinct, MAX_DISTINCT, Standing};

/// `None` for what is no standing.
pub(super) fn read(text: &str) -> Option<Standing> {
    let fields: Vec<&str> = text.split(' ').collect();
    let [promoted, expires, since, day, first_seen, matured, senders, recipients] = fields.as_slice() else {
        return None;
    };
    let time = |text: &str| text.parse().ok().map(Timestamp::from_millis);
    Some(Standing {
        promoted: *promoted == "1",
        expires: time(expires)?,
        since: time(since)?,
        senders: distinct(senders)?,
        recipients: distinct(recipients)?,
        day: time(day)?,
        first_seen: first_seen.parse().ok()?,
        matured: matured.parse().ok()?,
    })
}

fn distinct(text: &str) -> Option<Distinct> {
    let mut numbers = [0; MAX_DISTINCT];
    let texts = text.split(',').filter(|number| !number.is_empty());
    for (slot, number) in numbers.iter_mut().zip(texts) {
        *slot = number.parse().ok()?;
    }
    Some(Distinct::from_numbers(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_read_as_it_is_kept() {
        let standing = read("1 5 4 3 2 1 ,7,8 ,9").unwrap();
        assert!(standing.promoted);
        assert_eq!((standing.expires, standing.since, standing.day), (time(5), time(4), time(3)));
        assert_eq!((standing.first_seen, standing.matured), (2, 1));
        assert_eq!((standing.senders.len(), standing.recipients.len()), (2, 1));
        assert!(read("0 5 4 3 2 1 , ,").unwrap().senders.is_empty());
        assert_eq!(read("1 5 4"), None);
        assert_eq!(read("1 5 4 3 2 x , ,"), None);
    }

    fn time(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }
}

//! What the DNS says of a HELO name.

use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::{Answer, DnsFault, Record, RecordType, Resolver};

/// What the DNS says of a HELO name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeloResolution {
    /// NXDOMAIN.
    NoSuchName,
    /// The name exists, but has no A, AAAA or MX record; or its only MX is the null one of RFC 7505, "no mail here".
    NoAddress,
    /// The name has an MX record and no address of its own.
    MailExchangerOnly,
    /// The name's addresses.
    Addresses(Addresses),
}

/// Addresses of one name. Nearly all have one or two, which need no memory of their own.
pub type Addresses = SmallVec<[IpAddr; 2]>;

/// Resolves `name`: A and AAAA at once, and MX only where both are empty. An address found counts even when the other
/// question failed; without one, a failure is a failure and no verdict on the name.
pub async fn resolve_helo(resolver: &dyn Resolver, name: &str) -> Result<HeloResolution, DnsFault> {
    let (v4, v6) =
        tokio::join!(resolver.lookup(name, RecordType::A), resolver.lookup(name, RecordType::Aaaa));
    let addresses: Addresses =
        [&v4, &v6].into_iter().flatten().flat_map(|timed| addresses(&timed.answer)).collect();
    if !addresses.is_empty() {
        return Ok(HeloResolution::Addresses(addresses));
    }
    if v4?.answer == Answer::NoSuchName || v6?.answer == Answer::NoSuchName {
        return Ok(HeloResolution::NoSuchName);
    }
    Ok(match resolver.lookup(name, RecordType::Mx).await?.answer {
        Answer::Records(exchangers) if !exchangers.iter().all(is_null) => HeloResolution::MailExchangerOnly,
        Answer::Records(_) | Answer::NoRecords => HeloResolution::NoAddress,
        Answer::NoSuchName => HeloResolution::NoSuchName,
    })
}

/// What [`resolve_helo`] would say of `name`, where nobody has to be asked for it, and how long that holds.
pub fn helo_at_hand(resolver: &dyn Resolver, name: &str) -> Option<(HeloResolution, Duration)> {
    let v4 = resolver.at_hand(name, RecordType::A)?;
    let v6 = resolver.at_hand(name, RecordType::Aaaa)?;
    let mut found = Addresses::new();
    let mut holds = Duration::MAX;
    for asked in [&v4, &v6] {
        // A failure is kept for a moment only.
        holds = holds.min(asked.as_ref().map_or(Duration::ZERO, |timed| timed.ttl));
        if let Ok(timed) = asked {
            found.extend(addresses(&timed.answer));
        }
    }
    // Names without an address are few, and need a third look-up.
    (!found.is_empty()).then_some((HeloResolution::Addresses(found), holds))
}

fn addresses(answer: &Answer) -> impl Iterator<Item = IpAddr> {
    let records = match answer {
        Answer::Records(records) => &records[..],
        Answer::NoRecords | Answer::NoSuchName => &[],
    };
    records.iter().filter_map(Record::address)
}

/// The null MX of RFC 7505 §3.
fn is_null(record: &Record) -> bool {
    matches!(record, Record::Mx(exchanger) if exchanger.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Zone;

    #[tokio::test]
    async fn every_kind_of_name_is_told_apart() {
        let zone = Zone::parse(
            "both.test A 192.0.2.1
             both.test AAAA 2001:db8::1
             six.test AAAA 2001:db8::2
             mx.test MX mail.test
             no-mail.test MX .
             odd.test MX .
             odd.test MX mail.test
             empty.test -
             half.test A 192.0.2.3
             half.test AAAA !
             dead.test !
             wrong.test A !
             wrong.test AAAA -",
        );
        let addresses = |texts: &[&str]| {
            Ok(HeloResolution::Addresses(texts.iter().filter_map(|text| text.parse().ok()).collect()))
        };
        for (name, expected) in [
            ("both.test", addresses(&["192.0.2.1", "2001:db8::1"])),
            ("six.test", addresses(&["2001:db8::2"])),
            ("mx.test", Ok(HeloResolution::MailExchangerOnly)),
            ("no-mail.test", Ok(HeloResolution::NoAddress)),
            ("odd.test", Ok(HeloResolution::MailExchangerOnly)),
            ("empty.test", Ok(HeloResolution::NoAddress)),
            ("nowhere.test", Ok(HeloResolution::NoSuchName)),
            ("half.test", addresses(&["192.0.2.3"])),
            ("dead.test", Err(DnsFault::Failed("server failure".into()))),
            ("wrong.test", Err(DnsFault::Failed("server failure".into()))),
        ] {
            assert_eq!(resolve_helo(&zone, name).await, expected, "{name}");
        }
    }
}

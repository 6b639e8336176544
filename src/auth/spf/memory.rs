//! What SPF said lately, for as long as the answers of the DNS it rests on may be kept.
//!
//! An evaluation reads the record of the domain five times, those it includes too; a sender's second mail is to cost one look-up. A
//! record that names addresses only is read off each time, where it is at hand.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail_auth::spf::SpfRecord;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use super::evaluate::{is_asked, read_off};
use super::record::{self, NoRecord};
use super::{SpfOutcome, SpfQuery, SpfResult, asked_of, evaluate_anew, nobody};
use crate::dns::{self, Answer, AtHand, RecordType, Resolver};
use crate::facts::ReversePath;
use crate::patience::at_once;

/// Results kept: some 5 MB of them.
const CAPACITY: usize = 40_000;
/// Records kept, which are larger, and bytes of all of them: what a stranger publishes may be read to a thousand times its usual size.
const MOST_RECORDS: usize = 10_000;
const RECORD_BYTES: u64 = 32 << 20;
/// Bytes that a byte of a record may take when it is read, but for its directives: macros and texts between them come as pieces.
const READ_BYTES: usize = 16;
/// Longest time a result is kept, in case a clock or a zone is odd.
const LONGEST: Duration = Duration::from_secs(3_600);

/// Asks for SPF, and remembers what does not depend on the very sender.
#[derive(Debug)]
pub struct SpfMemory {
    results: Cache<Key, Kept>,
    records: Records,
}

/// About whom a domain was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// This client.
    Client(IpAddr),
    /// Any client with an IPv4 address, or with an IPv6 address: what passes it vouches for nobody.
    Anyone {
        /// Which kind of address.
        v4: bool,
    },
}

type Key = (About, Arc<str>);

/// A key that is looked for.
#[derive(Hash)]
struct Question<'a>(About, &'a str);

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, (about, domain): &Key) -> bool {
        self.0 == *about && *self.1 == **domain
    }
}

/// What was found: the result, and whether anyone passes.
#[derive(Clone, Copy, Debug)]
struct Kept {
    found: (SpfResult, bool),
    until: Instant,
}

impl Default for SpfMemory {
    fn default() -> Self {
        Self { results: Cache::new(CAPACITY), records: Records::default() }
    }
}

impl SpfMemory {
    /// Asks as [`super::spf`] does, or remembers.
    pub async fn ask(&self, query: &SpfQuery, resolver: &dyn Resolver) -> SpfOutcome {
        let SpfQuery { client, helo, sender } = query;
        match self.remembered(*client, sender, helo) {
            Some(outcome) => outcome,
            None => evaluate_anew(*client, sender, helo, resolver, self).await,
        }
    }

    /// As [`Self::ask`] of mail of `sender` from this client, whose HELO name is `helo`, where nobody has to be waited for: `resolver`
    /// has all answers at hand.
    pub fn at_hand(
        &self,
        client: IpAddr,
        sender: &ReversePath,
        helo: &str,
        resolver: &dyn Resolver,
    ) -> Option<SpfOutcome> {
        let (identity, domain) = asked_of(sender, helo);
        let found =
            self.recall(About::Client(client), &domain).or_else(|| self.read(client, &domain, resolver));
        match found {
            Some(((result, passes_anyone), _)) => {
                Some(SpfOutcome { result, identity, domain: domain.into(), passes_anyone })
            }
            None => at_once(evaluate_anew(client, sender, helo, &AtHand(resolver), self)),
        }
    }

    fn remembered(&self, client: IpAddr, sender: &ReversePath, helo: &str) -> Option<SpfOutcome> {
        let (identity, domain) = asked_of(sender, helo);
        let ((result, passes_anyone), _) = self.recall(About::Client(client), &domain)?;
        Some(SpfOutcome { result, identity, domain: domain.into(), passes_anyone })
    }

    /// What the record of `domain` says of `client` and how long that holds, where the record is at hand and has no need of others: to
    /// read that off it costs less than to remember it.
    fn read(
        &self,
        client: IpAddr,
        domain: &str,
        resolver: &dyn Resolver,
    ) -> Option<((SpfResult, bool), Duration)> {
        if !is_asked(domain) {
            return None;
        }
        let texts = resolver.at_hand(domain, RecordType::Txt)?.ok()?;
        let record = self.records.read(domain, &texts.answer).ok()?;
        let (result, mut passes_anyone) = read_off(&record, client)?;
        if result == SpfResult::Pass && !passes_anyone {
            for nobody in nobody(client.is_ipv4()) {
                let (result, _) = read_off(&record, nobody)?;
                passes_anyone |= result == SpfResult::Pass;
            }
        }
        Some(((result, passes_anyone), texts.ttl.min(LONGEST)))
    }

    /// How long what SPF said of mail of this client still holds; `None` where something else would be said by now, or nothing at once.
    pub fn holds(&self, outcome: &SpfOutcome, client: IpAddr, resolver: &dyn Resolver) -> Option<Duration> {
        let SpfOutcome { result, passes_anyone, domain, .. } = outcome;
        let found =
            self.recall(About::Client(client), domain).or_else(|| self.read(client, domain, resolver));
        found.filter(|(found, _)| *found == (*result, *passes_anyone)).map(|(_, left)| left)
    }

    pub(super) const fn records(&self) -> &Records {
        &self.records
    }

    /// What was found, and how long it still holds.
    pub(super) fn recall(&self, about: About, domain: &str) -> Option<((SpfResult, bool), Duration)> {
        let kept = self.results.get(&Question(about, domain))?;
        let left = kept.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((kept.found, left))
    }

    pub(super) fn remember(
        &self,
        about: About,
        domain: Arc<str>,
        found: (SpfResult, bool),
        holds: Option<Duration>,
    ) {
        if let Some(holds) = holds {
            let until = Instant::now() + holds.min(LONGEST);
            self.results.insert((about, domain), Kept { found, until });
        }
    }
}

/// SPF records as they were read, each used for as long as the resolver's cache has the texts it was read from.
#[derive(Debug)]
pub(super) struct Records(Cache<Box<str>, Read, Size>);

/// A record, and the texts it was read from.
#[derive(Clone, Debug)]
struct Read {
    texts: Arc<[dns::Record]>,
    record: Arc<SpfRecord>,
}

impl Default for Records {
    fn default() -> Self {
        Self(Cache::with_weighter(MOST_RECORDS, RECORD_BYTES, Size))
    }
}

/// Records are weighed in bytes: one may have a thousand times as many directives as another.
#[derive(Clone, Debug)]
struct Size;

impl Weighter<Box<str>, Read> for Size {
    fn weight(&self, domain: &Box<str>, Read { texts, record }: &Read) -> u64 {
        let texts: usize = texts.iter().map(dns::Record::size).sum();
        let read = size_of::<SpfRecord>() + size_of_val(&*record.directives) + READ_BYTES * texts;
        (size_of::<Read>() + domain.len() + read) as u64
    }
}

impl Records {
    /// The one SPF record of `domain`, whose TXT records are `answer`.
    pub(super) fn read(&self, domain: &str, answer: &Answer) -> Result<Arc<SpfRecord>, NoRecord> {
        let Answer::Records(texts) = answer else { return Err(NoRecord::Missing) };
        if let Some(read) = self.0.get(domain).filter(|read| Arc::ptr_eq(&read.texts, texts)) {
            return Ok(read.record);
        }
        let record = Arc::new(record::read(texts)?);
        let read = Read { texts: Arc::clone(texts), record: Arc::clone(&record) };
        self.0.insert(domain.into(), read);
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Lookup, RecordType, Zone};
    use crate::facts::ReversePath;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A zone that counts the questions.
    #[derive(Debug)]
    struct Counted(Zone, AtomicUsize);

    impl Counted {
        fn new(zone: &str) -> Self {
            Self(Zone::parse(zone), AtomicUsize::new(0))
        }

        fn asked(&self) -> usize {
            self.1.swap(0, Ordering::Relaxed)
        }
    }

    impl Resolver for Counted {
        fn lookup<'a>(&'a self, name: &'a str, record_type: RecordType) -> Lookup<'a> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.lookup(name, record_type)
        }
    }

    fn query(client: &str, sender: &str) -> SpfQuery {
        SpfQuery {
            client: client.parse().unwrap(),
            helo: "mx.test".into(),
            sender: ReversePath::parse(sender),
        }
    }

    #[tokio::test]
    async fn a_domain_is_asked_once_about_a_client_and_once_about_anyone() {
        let dns = Counted::new("a.test TXT v=spf1 include:b.test -all\nb.test TXT v=spf1 ip4:192.0.2.0/24");
        let memory = SpfMemory::default();
        for (client, sender, result, asked) in [
            ("192.0.2.1", "joe@a.test", SpfResult::Pass, 2 + 4 * 2),
            ("192.0.2.1", "ann@a.test", SpfResult::Pass, 0),
            ("192.0.2.2", "joe@a.test", SpfResult::Pass, 2),
            ("198.51.100.1", "joe@a.test", SpfResult::Fail, 2),
            ("198.51.100.1", "joe@a.test", SpfResult::Fail, 0),
        ] {
            let query = query(client, sender);
            assert_eq!(memory.ask(&query, &dns).await, super::super::spf(&query, &dns.0).await);
            assert_eq!(
                (memory.ask(&query, &dns).await.result, dns.asked()),
                (result, asked),
                "{client} {sender}"
            );
        }
    }

    /// A zone of which only some names are at hand.
    #[derive(Debug)]
    struct Partly(Zone, &'static [&'static str]);

    impl Resolver for Partly {
        fn lookup<'a>(&'a self, _name: &'a str, _record_type: RecordType) -> Lookup<'a> {
            unreachable!("nobody is to be asked")
        }

        fn at_hand(&self, name: &str, record_type: RecordType) -> Option<Result<dns::Timed, dns::DnsFault>> {
            if self.1.contains(&name) { at_once(self.0.lookup(name, record_type)) } else { None }
        }
    }

    #[tokio::test]
    async fn what_the_dns_has_at_hand_is_evaluated_at_once_and_what_it_has_not_is_left() {
        let zone =
            "a.test TXT v=spf1 include:b.test -all\nb.test TXT v=spf1 a:c.test -all\nc.test A 192.0.2.1";
        let query = query("192.0.2.1", "joe@a.test");
        let asked = |names| {
            let memory = SpfMemory::default();
            let dns = Partly(Zone::parse(zone), names);
            let outcome = memory.at_hand(query.client, &query.sender, &query.helo, &dns);
            assert_eq!(memory.remembered(query.client, &query.sender, &query.helo), outcome);
            outcome
        };
        let outcome = super::super::spf(&query, &Zone::parse(zone)).await;
        assert_eq!(outcome.result, SpfResult::Pass);
        assert_eq!(asked(&["a.test", "b.test", "c.test"]), Some(outcome));
        assert_eq!(asked(&["a.test", "b.test"]), None);
        assert_eq!(asked(&[]), None);
    }

    #[tokio::test]
    async fn what_can_be_read_off_a_record_at_hand_is_as_evaluated_and_not_remembered() {
        for (record, is_read_off) in [
            ("ip4:192.0.2.0/24 -all", true),
            ("ip4:198.51.100.0/24 ~all", true),
            ("ip6:2001:db8::/32 ?all", true),
            ("ip4:192.0.2.0/24 ip6:::/0", true),
            ("ip4:198.51.100.1", true),
            ("-ip4:192.0.2.1 +all", true),
            ("+all", true),
            ("ip4:128.0.0.0/1 -all", true),
            ("ip4:192.0.2.1 ip4:22.0.0.0/8 -all", true),
            ("ip4:198.51.100.1 a -all", false),
            ("ip4:192.0.2.1 a -all", false),
            ("-ip4:192.0.2.1 a -all", true),
            ("ip4:198.51.100.1 redirect=b.test", false),
            ("ip4:192.0.2.1 moo", false),
        ] {
            let zone = format!(
                "a.test TXT v=spf1 {record}\na.test A 192.0.2.9\nb.test TXT v=spf1 ip4:192.0.2.1 -all"
            );
            let (memory, dns) = (SpfMemory::default(), Partly(Zone::parse(&zone), &["a.test", "b.test"]));
            let query = query("192.0.2.1", "joe@a.test");
            let outcome = super::super::spf(&query, &dns.0).await;
            let found = memory.at_hand(query.client, &query.sender, &query.helo, &dns);
            assert_eq!(found.as_ref(), Some(&outcome), "{record}");
            let remembered = memory.remembered(query.client, &query.sender, &query.helo);
            assert_eq!(remembered.is_none(), is_read_off, "{record}");
            let left = memory.holds(&outcome, query.client, &dns);
            assert!(left.is_some_and(|left| !left.is_zero()), "{record}: {left:?}");
            let other = SpfOutcome { passes_anyone: !outcome.passes_anyone, ..outcome };
            assert_eq!(memory.holds(&other, query.client, &dns), None, "{record}");
        }
    }

    #[tokio::test]
    async fn what_is_of_one_sender_or_of_this_moment_is_not_remembered() {
        let dns = Counted::new(
            "mine.test TXT v=spf1 exists:%{l}.mine.test -all\njoe.mine.test A 127.0.0.2\ndead.test TXT !\n\
             ptr.test TXT v=spf1 ptr -all\n1.2.0.192.in-addr.arpa PTR !",
        );
        let memory = SpfMemory::default();
        for (sender, result) in [
            ("joe@mine.test", SpfResult::Pass),
            ("ann@mine.test", SpfResult::Fail),
            ("joe@mine.test", SpfResult::Pass),
            ("joe@dead.test", SpfResult::TempError),
            ("joe@ptr.test", SpfResult::Fail),
        ] {
            let query = query("192.0.2.1", sender);
            assert_eq!(memory.ask(&query, &dns).await.result, result, "{sender}");
            assert_eq!(memory.remembered(query.client, &query.sender, &query.helo), None, "{sender}");
        }
    }

    #[test]
    fn records_of_many_terms_are_not_kept_beyond_their_bytes() {
        let records = Records::default();
        let text = format!("v=spf1{}", " a".repeat(30_000));
        for number in 0..20 {
            let answer = Answer::Records(vec![dns::Record::Txt(text.clone().into())].into());
            let read = records.read(&format!("a{number}.test"), &answer).unwrap();
            assert_eq!(read.directives.len(), 30_000);
        }
        let kept: u64 = records.0.iter().map(|(domain, read)| Size.weight(&domain, &read)).sum();
        assert!(kept <= RECORD_BYTES, "{kept}");
        let usual = Answer::Records(vec![dns::Record::Txt("v=spf1 include:b.test mx -all".into())].into());
        let read = records.read("usual.test", &usual).unwrap();
        assert!(Arc::ptr_eq(&read, &records.read("usual.test", &usual).unwrap()));
    }

    #[tokio::test]
    async fn a_record_is_read_anew_when_the_dns_has_another() {
        let memory = SpfMemory::default();
        let answer = |text: &str| Answer::Records(vec![dns::Record::Txt(text.into())].into());
        let first = answer("v=spf1 a mx");
        let read = memory.records.read("a.test", &first).unwrap();
        assert!(Arc::ptr_eq(&read, &memory.records.read("a.test", &first).unwrap()));
        assert_eq!(memory.records.read("a.test", &answer("v=spf1 a")).unwrap().directives.len(), 1);
        assert_eq!(memory.records.read("a.test", &Answer::NoRecords), Err(NoRecord::Missing));
        assert_eq!(memory.records.read("a.test", &answer("v=spf1 moo")), Err(NoRecord::Malformed));
    }
}

//! The cases: what is done to which server, and what is wanted of the ratio.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::daemon::{Daemon, Home};
use crate::mail::{Content, DOMAINS, KNOWN, Triplet};
use crate::milter::{End, Session};
use crate::nothing::Nothing;
use crate::policy::Smtpd;
use crate::ports::Ports;
use crate::report::{Row, Target};
use crate::{Args, dns, measure};

/// Runs the cases that were asked for.
pub(crate) fn run(args: &Args) -> io::Result<Vec<Row>> {
    let dns = dns::start();
    let bench = Bench::start(args, dns)?;
    let mut rows = Vec::new();
    let mut case = |name: &'static str, row: &dyn Fn() -> io::Result<Row>| {
        if args.cases.is_empty() || args.cases.iter().any(|wanted| name.contains(wanted.as_str())) {
            eprintln!("measuring: {name}");
            rows.push(Row { case: name, ..row()? });
        }
        io::Result::Ok(())
    };
    let small = Rc::new(Content::small());
    let large = Rc::new(Content::with_zip(1_000_000));
    case("policy, known triplets", &|| {
        bench.compare("requests/s", 0.85, |ports| bench.policy(ports, Which::Known))
    })?;
    case("policy, new triplets", &|| {
        bench.compare("requests/s", 0.7, |ports| bench.policy(ports, Which::New))
    })?;
    case("policy, new triplets, cold DNS", &|| {
        let row = bench.compare("requests/s", 0.0, |ports| bench.policy(ports, Which::Cold))?;
        Ok(Row { target: Target::None, ..row })
    })?;
    case("milter, small mail, a session each", &|| {
        bench.compare("mails/s", 0.8, |ports| bench.milter(ports, 1, &small))
    })?;
    case("milter, small mail, ten a session", &|| {
        bench.compare("mails/s", 0.6, |ports| bench.milter(ports, 10, &small))
    })?;
    case("milter, 1 MB with a zip", &|| {
        bench.compare("mails/s", 0.6, |ports| bench.milter(ports, 1, &large))
    })?;
    case("policy, p99 at half of the maximum", &|| bench.latency())?;
    case("start to serving, 1 M records", &|| million(dns).map(|(start, _)| start))?;
    case("memory, 1 M records", &|| million(dns).map(|(_, memory)| memory))?;
    case("memory, each idle connection of 10,000", &|| idle(dns))?;
    Ok(rows)
}

/// Which triplets a case asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Of those that are known.
    Known,
    /// Never seen, of domains the DNS was asked about before.
    New,
    /// Never seen, each of a domain of its own.
    Cold,
}

/// Both servers, and the numbers of triplets not used yet.
struct Bench {
    connections: usize,
    time: Duration,
    rounds: usize,
    greylag: Daemon,
    nothing: Nothing,
    next: Rc<Cell<u64>>,
    _home: Home,
}

impl Bench {
    fn start(args: &Args, dns: SocketAddr) -> io::Result<Self> {
        let home = Home::new();
        let greylag = Daemon::start(&home, dns, None);
        let agreed = measure::run(async { Session::open(greylag.ports.milter).await })??.agreed;
        let nothing = Nothing::start(&agreed);
        make_known(greylag.ports)?;
        Ok(Self {
            connections: args.connections,
            time: Duration::from_secs_f64(args.seconds),
            rounds: args.rounds,
            greylag,
            nothing,
            next: Rc::new(Cell::new(KNOWN)),
            _home: home,
        })
    }

    /// Measures both in turn and takes the round with the median ratio.
    fn compare(
        &self,
        unit: &'static str,
        target: f64,
        measure: impl Fn(Ports) -> io::Result<f64>,
    ) -> io::Result<Row> {
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            rounds.push((measure(self.greylag.ports)?, measure(self.nothing.ports)?));
        }
        rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (greylag, nothing) = rounds[rounds.len() / 2];
        Ok(Row { case: "", greylag, nothing: Some(nothing), unit, target: Target::AtLeast(target) })
    }

    fn policy(&self, ports: Ports, which: Which) -> io::Result<f64> {
        measure::closed(self.connections, self.time, |connection| self.asking(ports, which, connection))
    }

    /// One connection's operation: a request. What is known is not deferred, or the case would not be what it says.
    fn asking(
        &self,
        ports: Ports,
        which: Which,
        connection: usize,
    ) -> impl AsyncFnMut() -> io::Result<u64> + 'static {
        let (next, mut known, mut smtpd) = (Rc::clone(&self.next), connection as u64 * 977, None);
        async move || {
            let smtpd = match &mut smtpd {
                Some(smtpd) => smtpd,
                empty => empty.insert(Smtpd::connect(ports.policy).await?),
            };
            known = (known + 1) % KNOWN;
            let triplet = match which {
                Which::Known => Triplet::new(known, DOMAINS),
                Which::New => Triplet::new(next.replace(next.get() + 1), DOMAINS),
                Which::Cold => Triplet::new(next.replace(next.get() + 1), u64::MAX),
            };
            let action = smtpd.ask(&triplet).await?;
            assert!(
                which != Which::Known || !action.starts_with(['4', '5']) && !action.starts_with("DEFER"),
                "{triplet:?}: {action}"
            );
            Ok(1)
        }
    }

    fn milter(&self, ports: Ports, mails: u64, content: &Rc<Content>) -> io::Result<f64> {
        measure::closed(self.connections, self.time, |connection| {
            let (content, mut number) = (Rc::clone(content), connection as u64 * 977);
            async move || {
                number = (number + 1) % KNOWN;
                let triplet = Triplet::new(number, DOMAINS);
                let mut session = Session::open(ports.milter).await?;
                session.greet(&triplet).await?;
                for _ in 0..mails {
                    assert_eq!(session.mail(&triplet, &content).await?, End::Accepted, "{triplet:?}");
                }
                session.quit().await?;
                Ok(mails)
            }
        })
    }

    fn latency(&self) -> io::Result<Row> {
        let rate = self.policy(self.greylag.ports, Which::Known)? / 2.0;
        let p99 = |ports| {
            let histogram = measure::open(self.connections, self.time, rate, |connection| {
                self.asking(ports, Which::Known, connection)
            })?;
            io::Result::Ok(histogram.value_at_quantile(0.99) as f64)
        };
        let row = self.compare("µs", 2.0, p99)?;
        Ok(Row { target: Target::AtMost(2.0), ..row })
    }
}

/// Makes the known triplets known: a first attempt, and after the delay a second.
fn make_known(ports: Ports) -> io::Result<()> {
    measure::run(async {
        let mut smtpd = Smtpd::connect(ports.policy).await?;
        for number in 0..KNOWN {
            smtpd.ask(&Triplet::new(number, DOMAINS)).await?;
        }
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        for number in 0..KNOWN {
            let triplet = Triplet::new(number, DOMAINS);
            let action = smtpd.ask(&triplet).await?;
            assert!(!action.starts_with("DEFER"), "{triplet:?} is not known after its retry: {action}");
        }
        Ok(())
    })?
}

/// A daemon that holds a million records: how soon it serves again, and its memory.
fn million(dns: SocketAddr) -> io::Result<(Row, Row)> {
    let home = Home::new();
    let greylag = Daemon::start(&home, dns, None);
    let next = Rc::new(Cell::new(0u64));
    let ports = greylag.ports;
    measure::run(async {
        let set = tokio::task::LocalSet::new();
        for _ in 0..64 {
            let next = Rc::clone(&next);
            set.spawn_local(async move {
                let mut smtpd = Smtpd::connect(ports.policy).await.unwrap();
                // Three identities make three records.
                while next.get() < 333_334 {
                    let number = next.replace(next.get() + 1);
                    smtpd.ask(&Triplet::new(number, DOMAINS)).await.unwrap();
                }
            });
        }
        set.await;
    })?;
    let resident = greylag.resident_kib() as f64 / 1024.0;
    drop(greylag);
    let again = Daemon::start(&home, dns, None);
    let row = |greylag, unit, target| Row {
        case: "",
        greylag,
        nothing: None,
        unit,
        target: Target::AtMost(target),
    };
    Ok((row(again.start.as_secs_f64(), "s", 1.0), row(resident, "MB", 160.0)))
}

/// What ten thousand connections cost that say nothing.
fn idle(dns: SocketAddr) -> io::Result<Row> {
    const CONNECTIONS: usize = 10_000;
    let home = Home::new();
    let greylag = Daemon::start(&home, dns, None);
    let before = greylag.resident_kib();
    let ports = greylag.ports;
    let after = measure::run(async {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS / 2 {
            open.push(Session::open(ports.milter).await?);
        }
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS / 2 - 100 {
            let mut smtpd = Smtpd::connect(ports.policy).await?;
            smtpd.ask(&Triplet::new(1, DOMAINS)).await?;
            idle.push(smtpd);
        }
        io::Result::Ok(greylag.resident_kib())
    })??;
    let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    Ok(Row { case: "", greylag: each, nothing: None, unit: "kB", target: Target::AtMost(12.0) })
}

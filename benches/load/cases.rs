//! The cases: what is done to which server, and what is wanted of the ratio.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::daemon::{Daemon, Home};
use crate::drive::{self, Expect, Load, Which};
use crate::mail::{Content, DOMAINS, KNOWN, MANY, Triplet};
use crate::milter::Session;
use crate::nothing::Nothing;
use crate::peers::{self, Protocol};
use crate::policy::Smtpd;
use crate::ports::Ports;
use crate::report::{Row, Target};
use crate::{Args, dns, measure, redis};

/// Rounds of the latency for each of another case.
const LATENCY_ROUNDS: usize = 5;

/// How long a server is asked at once in a round of the latency.
const LATENCY_TURN: Duration = Duration::from_millis(500);

/// Runs the cases that were asked for.
pub(crate) fn run(args: &Args) -> io::Result<Vec<Row>> {
    let dns = dns::start();
    let bench = Bench::start(args, dns)?;
    let mut table = Table { args, rows: Vec::new() };
    let load = &bench.load;
    let small = Rc::new(Content::small());
    let large = Rc::new(Content::with_zip(1_000_000));
    table.case("policy, known triplets", || {
        bench.compare("requests/s", 0.85, |ports| load.policy(ports.policy, Which::Known))
    })?;
    table.case("policy, known triplets, each of 100,000 in its turn", || {
        drive::make_known(bench.greylag.ports.policy, MANY)?;
        let row = bench.compare("requests/s", 0.0, |ports| load.policy(ports.policy, Which::KnownOfMany))?;
        Ok(Row { target: Target::None, ..row })
    })?;
    table.case("policy, new triplets", || {
        bench.compare("requests/s", 0.7, |ports| load.policy(ports.policy, Which::New))
    })?;
    table.case("policy, new triplets, cold DNS", || {
        let row = bench.compare("requests/s", 0.0, |ports| load.policy(ports.policy, Which::Cold))?;
        Ok(Row { target: Target::None, ..row })
    })?;
    table.case("milter, small mail, a session each", || {
        bench.compare("mails/s", 0.8, |ports| load.milter(ports.milter, 1, &small))
    })?;
    table.case("milter, small mail, ten a session", || {
        bench.compare("mails/s", 0.6, |ports| load.milter(ports.milter, 10, &small))
    })?;
    table.case("milter, 1 MB with a zip", || {
        bench.compare("mails/s", 0.6, |ports| load.milter(ports.milter, 1, &large))
    })?;
    table.case("policy, p99 at half of the maximum", || bench.latency())?;
    table.cases(&["start to serving, 1 M records", "memory, 1 M records"], || {
        million(dns, Records::Unproven)
    })?;
    table.cases(&["start to serving, 1 M proven records", "memory, 1 M proven records"], || {
        million(dns, Records::Proven)
    })?;
    table.case("memory, each of 10,000 idle milter connections", || idle(dns, Protocol::Milter))?;
    table.case("memory, each of 10,000 idle policy connections", || idle(dns, Protocol::Policy))?;
    table.case("policy with Redis, new triplets", || redis::alone(args, dns))?;
    table.case("two Greylags, Cluster of 1 shard, new triplets", || redis::cluster(args, dns, 1))?;
    table.case("two Greylags, Cluster of 2 shards, new triplets", || redis::cluster(args, dns, 2))?;
    table.case("two Greylags, Cluster of 3 shards, new triplets", || redis::cluster(args, dns, 3))?;
    Ok(table.rows)
}

/// The rows so far.
struct Table<'a> {
    args: &'a Args,
    rows: Vec<Row>,
}

impl Table<'_> {
    /// Measures a case that was asked for.
    fn case(&mut self, name: &'static str, row: impl FnOnce() -> io::Result<Row>) -> io::Result<()> {
        self.cases(&[name], || Ok(vec![row()?]))
    }

    /// Measures cases, of which one gives the other, where any of them was asked for.
    fn cases(
        &mut self,
        names: &[&'static str],
        rows: impl FnOnce() -> io::Result<Vec<Row>>,
    ) -> io::Result<()> {
        if names.iter().any(|name| self.args.is_asked(name)) {
            eprintln!("measuring: {}", names.join("; "));
            let named = |(case, row): (&&'static str, Row)| Row { case, ..row };
            self.rows.extend(names.iter().zip(rows()?).map(named));
        }
        Ok(())
    }
}

/// The same load for the peers, beside the servers that do nothing.
pub(crate) fn run_peers(args: &Args) -> io::Result<Vec<Row>> {
    let dns = dns::start();
    let bench = Bench::start(args, dns)?;
    let load = Load::new(args.connections, bench.load.time, Expect::Answer);
    let (small, large) = (Rc::new(Content::small()), Rc::new(Content::with_zip(1_000_000)));
    let mut rows = Vec::new();
    for peer in peers::ALL {
        if !args.is_asked(peer.name) {
            continue;
        }
        eprintln!("measuring: {}", peer.name);
        let running = peer.start(dns)?;
        let mut row = |what: &str, unit, measure: &dyn Fn(u16) -> io::Result<f64>| {
            let (theirs, ours, nothing) = match peer.protocol {
                Protocol::Policy => (running.port, bench.greylag.ports.policy, bench.nothing.ports.policy),
                Protocol::Milter => (running.port, bench.greylag.ports.milter, bench.nothing.ports.milter),
            };
            let beside_nothing = |port, case: String| {
                let both = || Ok((measure(port)?, measure(nothing)?));
                let row = bench.median(bench.rounds, unit, Target::None, both)?;
                io::Result::Ok(Row { case: case.leak(), ..row })
            };
            rows.push(beside_nothing(theirs, format!("{}: {what}", peer.name))?);
            rows.push(beside_nothing(ours, format!("Greylag beside it: {what}"))?);
            io::Result::Ok(())
        };
        match peer.protocol {
            Protocol::Policy => {
                drive::make_known(running.port, KNOWN)?;
                row("known triplets", "requests/s", &|port| load.policy(port, Which::Known))?;
                row("new triplets", "requests/s", &|port| load.policy(port, Which::New))?;
            }
            Protocol::Milter => {
                row("small mail, a session each", "mails/s", &|port| load.milter(port, 1, &small))?;
                row("1 MB with a zip", "mails/s", &|port| load.milter(port, 1, &large))?;
            }
        }
    }
    Ok(rows)
}

/// Both servers, and the load they get.
pub(crate) struct Bench {
    pub(crate) load: Load,
    rounds: usize,
    pub(crate) greylag: Daemon,
    pub(crate) nothing: Nothing,
    _home: Home,
}

impl Bench {
    pub(crate) fn start(args: &Args, dns: SocketAddr) -> io::Result<Self> {
        let home = Home::new();
        let greylag = Daemon::start(&home, dns, None);
        let agreed = measure::run(async { Session::open(greylag.ports.milter).await })??.agreed;
        let nothing = Nothing::start(&agreed);
        let load = Load::new(args.connections, Duration::from_secs_f64(args.seconds), Expect::Accepted);
        drive::make_known(greylag.ports.policy, KNOWN)?;
        Ok(Self { load, rounds: args.rounds, greylag, nothing, _home: home })
    }

    /// Measures both in turn.
    fn compare(
        &self,
        unit: &'static str,
        target: f64,
        measure: impl Fn(Ports) -> io::Result<f64>,
    ) -> io::Result<Row> {
        self.median(self.rounds, unit, Target::AtLeast(target), || {
            Ok((measure(self.greylag.ports)?, measure(self.nothing.ports)?))
        })
    }

    /// The highest latencies depend on where the scheduler puts three threads on two processors, and one pause of the host makes all
    /// of a round late: so there are many short rounds. What a machine does every second takes a hundredth of it and more, which is
    /// all that a p99 is about, and would meet the same server in every round if each had its turn in the same half of the second:
    /// so each has two turns, the first and the last, or those between, and one of them in either half.
    fn latency(&self) -> io::Result<Row> {
        let rate = self.load.policy(self.greylag.ports.policy, Which::Known)? / 2.0;
        let load = self.load.lasting(LATENCY_TURN);
        let turn = |ports: Ports| load.policy_at(ports.policy, rate);
        self.median(self.rounds * LATENCY_ROUNDS, "µs", Target::AtMost(2.0), || {
            let (mut greylag, mut nothing) = (turn(self.greylag.ports)?, turn(self.nothing.ports)?);
            nothing.add(turn(self.nothing.ports)?).map_err(io::Error::other)?;
            greylag.add(turn(self.greylag.ports)?).map_err(io::Error::other)?;
            Ok((greylag.value_at_quantile(0.99) as f64, nothing.value_at_quantile(0.99) as f64))
        })
    }

    /// Measures both, Greylag first, so many times, and takes the round with the median ratio.
    fn median(
        &self,
        rounds: usize,
        unit: &'static str,
        target: Target,
        both: impl Fn() -> io::Result<(f64, f64)>,
    ) -> io::Result<Row> {
        let mut measured = (0..rounds).map(|_| both()).collect::<io::Result<Vec<_>>>()?;
        measured.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (greylag, nothing) = measured[measured.len() / 2];
        Ok(Row { case: "", greylag, nothing: Some(nothing), unit, target })
    }
}

/// What a store is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    /// Of triplets that came once.
    Unproven,
    /// Of those that came again.
    Proven,
}

/// A daemon that holds a million records: how soon it serves again, and its memory.
fn million(dns: SocketAddr, records: Records) -> io::Result<Vec<Row>> {
    /// Three identities make three records of each: nearly as many as all parts of the store have room for.
    const TRIPLETS: u64 = 325_000;
    let home = Home::new();
    let greylag = Daemon::start(&home, dns, None);
    let port = greylag.ports.policy;
    match records {
        Records::Unproven => drive::ask_each(port, TRIPLETS, |_, _| {})?,
        Records::Proven => drive::make_known(port, TRIPLETS)?,
    }
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
    Ok(vec![row(again.start.as_secs_f64(), "s", 1.0), row(resident, "MiB", 160.0)])
}

/// What each of ten thousand connections costs that have said something and are quiet now.
fn idle(dns: SocketAddr, protocol: Protocol) -> io::Result<Row> {
    const CONNECTIONS: usize = 10_000;
    /// Buffers are kept for a second.
    const QUIET: Duration = Duration::from_secs(3);
    let home = Home::new();
    let greylag = Daemon::start(&home, dns, None);
    let before = greylag.resident_kib();
    let (ports, triplet) = (greylag.ports, Triplet::new(1, DOMAINS));
    let after = measure::run(async {
        let (mut sessions, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            match protocol {
                Protocol::Milter => {
                    let mut session = Session::open(ports.milter).await?;
                    session.greet(&triplet).await?;
                    sessions.push(session);
                }
                Protocol::Policy => {
                    let mut smtpd = Smtpd::connect(ports.policy).await?;
                    smtpd.ask(&triplet).await?;
                    requests.push(smtpd);
                }
            }
        }
        tokio::time::sleep(QUIET).await;
        io::Result::Ok(greylag.resident_kib())
    })??;
    let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    Ok(Row { case: "", greylag: each, nothing: None, unit: "KiB", target: Target::AtMost(12.0) })
}

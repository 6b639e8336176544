//! How costs grow: with connections, records, recipients, size and structure of a message, and size of the policy.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use greylag::store::{Attempt, EmbeddedStore, Identity, IdentityKind, Rules, Store, Timestamp};

use crate::daemon::{Daemon, Home};
use crate::drive::{self, Expect, Load, Which};
use crate::mail::{Content, DOMAINS, KNOWN, MANY};
use crate::measure;
use crate::milter::Session;
use crate::nothing::Nothing;
use crate::{Args, dns};

/// One chart: what an operation costs, in microseconds of the whole machine, as something grows.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Curve {
    pub(crate) title: &'static str,
    /// What grows.
    pub(crate) of: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// What it was, and the microseconds.
    pub(crate) points: Vec<(u64, f64)>,
}

/// Measures the curves that were asked for.
pub(crate) fn run(args: &Args) -> io::Result<Vec<Curve>> {
    let run = Run {
        dns: dns::start(),
        load: Load::new(args.connections, Duration::from_secs_f64(args.seconds), Expect::Accepted),
    };
    type Measure = fn(&Run) -> io::Result<Curve>;
    let all: [(&str, Measure); 10] = [
        ("connections", connections),
        ("sessions", sessions),
        ("records", records),
        ("recipients", recipients),
        ("message size", sizes),
        ("archive depth", depths),
        ("archive entries", entries),
        ("scopes", scopes),
        ("content rules", rules),
        ("list entries", lists),
    ];
    let mut curves = Vec::new();
    for (name, measure) in all {
        if args.is_asked(name) {
            eprintln!("measuring: {name}");
            curves.push(measure(&run)?);
        }
    }
    Ok(curves)
}

struct Run {
    dns: SocketAddr,
    load: Load,
}

impl Run {
    /// A daemon with an additional policy file, in which the triplets are known.
    fn daemon(&self, file: &str, text: &str) -> io::Result<(Home, Daemon)> {
        let home = Home::new();
        home.policy(file, text);
        let daemon = Daemon::start(&home, self.dns, None);
        drive::make_known(daemon.ports.policy, KNOWN)?;
        Ok((home, daemon))
    }

    /// Measures the cost of a mail, as `content` makes them.
    fn mails(&self, of: &[u64], content: impl Fn(usize) -> Content) -> io::Result<Vec<(u64, f64)>> {
        let (_home, daemon) = self.daemon("greylist.toml", "")?;
        // Two at a time: fifty megabytes sixteen times are the memory limit's business.
        let load = self.load.over(2);
        points(of, |size| {
            let content = Rc::new(content(size as usize));
            let rate = |load: &Load| load.milter(daemon.ports.milter, 1, &content);
            let first = rate(&load)?;
            // Of the largest there are few in the usual time.
            let enough = Duration::from_secs_f64(ENOUGH / first.max(0.5));
            if enough > load.time { rate(&load.lasting(enough)) } else { Ok(first) }
        })
    }
}

/// Mails of each size that are measured at least.
const ENOUGH: f64 = 60.0;

/// The cost of one operation where so many are done a second.
fn points(of: &[u64], rate: impl Fn(u64) -> io::Result<f64>) -> io::Result<Vec<(u64, f64)>> {
    of.iter().map(|x| Ok((*x, 1e6 / rate(*x)?))).collect()
}

const CONNECTIONS: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 10_000];

fn connections(run: &Run) -> io::Result<Curve> {
    let (_home, daemon) = run.daemon("greylist.toml", "")?;
    let agreed = measure::run(async { Session::open(daemon.ports.milter).await })??.agreed;
    let nothing = Nothing::start(&agreed);
    let line = |name, port| {
        let rate = |connections| run.load.over(connections as usize).policy(port, Which::Known);
        io::Result::Ok(Line { name, points: points(&CONNECTIONS, rate)? })
    };
    let lines = vec![line("Greylag", daemon.ports.policy)?, line("nothing", nothing.ports.policy)?];
    Ok(Curve { title: "A policy request, known triplet", of: "connections", lines })
}

fn sessions(run: &Run) -> io::Result<Curve> {
    let (_home, daemon) = run.daemon("greylist.toml", "")?;
    let agreed = measure::run(async { Session::open(daemon.ports.milter).await })??.agreed;
    let nothing = Nothing::start(&agreed);
    let small = Rc::new(Content::small());
    // Each connects anew for each mail: of thousands at once the kernel itself refuses some.
    let of = &CONNECTIONS[..6];
    let line = |name, port| {
        let rate = |connections| run.load.over(connections as usize).milter(port, 1, &small);
        io::Result::Ok(Line { name, points: points(of, rate)? })
    };
    let lines = vec![line("Greylag", daemon.ports.milter)?, line("nothing", nothing.ports.milter)?];
    Ok(Curve { title: "A small mail, a session each", of: "connections", lines })
}

fn records(run: &Run) -> io::Result<Curve> {
    let (mut known, mut new) = (Vec::new(), Vec::new());
    for records in [10_000, 100_000, 1_000_000, 10_000_000] {
        let home = Home::new();
        fill(&home, records);
        let daemon = Daemon::start(&home, run.dns, None);
        let port = daemon.ports.policy;
        drive::make_known(port, MANY)?;
        known.extend(points(&[records], |_| run.load.policy(port, Which::KnownOfMany))?);
        new.extend(points(&[records], |_| run.load.policy(port, Which::New))?);
    }
    let lines = vec![Line { name: "known", points: known }, Line { name: "new", points: new }];
    Ok(Curve { title: "A policy request", of: "records in the store", lines })
}

/// Puts so many unproven records into the store, by its own means.
fn fill(home: &Home, records: u64) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let now = Timestamp::from_millis(
        u64::try_from(since.as_millis()).expect("a clock before the year 584 million"),
    );
    let store = EmbeddedStore::open(&home.store(), 20_000_000, now).expect("an empty store");
    for number in 0..records {
        let [a, b, c, d] = (number as u32).wrapping_mul(2_654_435_761).to_be_bytes();
        let attempt = Attempt {
            identities: vec![Identity {
                kind: IdentityKind::Network,
                key: format!("{a}.{b}.{c}.0/24").into(),
            }],
            client: [a, b, c, d].into(),
            sender: format!("{number}@elsewhere.example"),
            recipient: format!("{}@recipient.example", number % 1_000),
            never_promote: false,
            mail_counted: false,
            rules: Rules::DEFAULT,
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut answer = std::pin::pin!(store.attempt(&attempt, now));
        loop {
            match answer.as_mut().poll(&mut context) {
                Poll::Ready(answer) => {
                    answer.expect("an answer");
                    break;
                }
                // The store's own thread has the journal just now.
                Poll::Pending => std::thread::yield_now(),
            }
        }
    }
}

fn recipients(run: &Run) -> io::Result<Curve> {
    let (_home, daemon) = run.daemon("greylist.toml", "")?;
    let port = daemon.ports.milter;
    let of = [1, 3, 10, 30, 100];
    // First they are new, then known.
    run.load.recipients(port, 100)?;
    let points = points(&of, |count| run.load.recipients(port, count as usize))?;
    Ok(Curve { title: "A mail", of: "recipients", lines: vec![Line { name: "milter", points }] })
}

fn sizes(run: &Run) -> io::Result<Curve> {
    let of = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000];
    let lines = vec![
        Line { name: "text", points: run.mails(&of, Content::text)? },
        Line { name: "zip", points: run.mails(&of[1..], Content::with_zip)? },
    ];
    Ok(Curve { title: "A mail", of: "bytes", lines })
}

fn depths(run: &Run) -> io::Result<Curve> {
    let points = run.mails(&[1, 2, 3, 4, 5, 6, 7], Content::nested)?;
    Ok(Curve { title: "A mail", of: "zips one in the other", lines: vec![Line { name: "milter", points }] })
}

fn entries(run: &Run) -> io::Result<Curve> {
    let points = run.mails(&[10, 100, 1_000, 10_000, 49_000], Content::of_entries)?;
    Ok(Curve { title: "A mail", of: "files in a zip", lines: vec![Line { name: "milter", points }] })
}

fn scopes(run: &Run) -> io::Result<Curve> {
    let points = points(&[1, 10, 100, 1_000, 10_000], |scopes| {
        let scope = |number| {
            format!(
                "[[scope]]\nname = \"{number}\"\nrecipient = [\"@domain{number}.example\"]\nset.helo.mode = \"off\"\n"
            )
        };
        let (_home, daemon) = run.daemon("scopes.toml", &(0..scopes).map(scope).collect::<String>())?;
        run.load.policy(daemon.ports.policy, Which::New)
    })?;
    Ok(Curve { title: "A policy request", of: "scopes", lines: vec![Line { name: "new", points }] })
}

fn rules(run: &Run) -> io::Result<Curve> {
    let content = Rc::new(Content::text(100_000));
    let points = points(&[1, 10, 100, 1_000, 5_000], |rules| {
        let rule = |number| {
            let patterns = match number % 5 {
                0 => format!("regex = ['number{number}\\s+\\d{{1,3}}']"),
                1 => format!("contains = [\"inside{number}\"]"),
                _ => format!("words = [\"word{number} meeting\", \"lottery{number}\"]"),
            };
            format!(
                "[[rule]]\nname = \"{number}\"\nin = [\"header:Subject\", \"body\"]\n{patterns}\naction = \"tag\"\n"
            )
        };
        let (_home, daemon) = run.daemon("content.toml", &(0..rules).map(rule).collect::<String>())?;
        run.load.milter(daemon.ports.milter, 1, &content)
    })?;
    Ok(Curve { title: "A mail of 100 kB", of: "content rules", lines: vec![Line { name: "milter", points }] })
}

fn lists(run: &Run) -> io::Result<Curve> {
    type Entry = fn(u64) -> String;
    let scope = |of: &str| {
        format!("[[scope]]\nname = \"listed\"\n{of} = [\"file:lists/long.txt\"]\nset.helo.mode = \"off\"\n")
    };
    let helo = "banned_names = [\"file:lists/long.txt\"]\n".to_owned();
    let kinds: [(&'static str, &str, String, Entry); 3] = [
        ("HELO names", "helo.toml", helo, |number| format!("host{number}.zone{}.example", number % 1_000)),
        ("client networks", "scopes.toml", scope("client"), |number| {
            let [a, b, c, d] = ((10 << 24) + number as u32 * 8).to_be_bytes();
            format!("{a}.{b}.{c}.{d}/30")
        }),
        ("recipients", "scopes.toml", scope("recipient"), |number| {
            format!("user{number}@zone{}.example", number % 1_000)
        }),
    ];
    let line = |(name, file, text, entry): &(&'static str, &str, String, Entry)| {
        let points = points(&[1_000, 10_000, 100_000, 1_000_000], |entries| {
            let home = Home::new();
            home.policy(
                "lists/long.txt",
                &(0..entries).map(|number| entry(number) + "\n").collect::<String>(),
            );
            home.policy(file, text);
            let daemon = Daemon::start(&home, run.dns, None);
            // What the DNS says of their domains is at hand.
            drive::ask_each(daemon.ports.policy, DOMAINS, |_, _| {})?;
            run.load.policy(daemon.ports.policy, Which::New)
        })?;
        io::Result::Ok(Line { name, points })
    };
    let lines = kinds.iter().map(line).collect::<io::Result<_>>()?;
    Ok(Curve { title: "A policy request, new triplet", of: "entries of a list", lines })
}

//! Memory over a long time: everything that mail does, at a low rate, and the resident memory every ten seconds.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::daemon::{Daemon, Home};
use crate::drive::{self, Expect, Load, Which};
use crate::mail::{Content, DOMAINS, KNOWN, Triplet};
use crate::milter::Session;
use crate::policy::Smtpd;
use crate::ports::Ports;
use crate::{Args, dns, measure};

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(10);
/// Time between two reloads.
const RELOAD: Duration = Duration::from_secs(30);
/// Clocks the store has room for, three for each triplet: so few that it is full within minutes, and what grows afterwards is not the
/// greylist.
const MAX_ENTRIES: u32 = 50_000;
/// Loops of each kind, so that the rate is kept where the machine has other things to do as well.
const LOOPS: u32 = 16;
/// Of a hundred operations so many are policy requests of known triplets over connections that stay;
const KNOWN_SHARE: f64 = 60.0;
/// of triplets never seen before;
const NEW_SHARE: f64 = 15.0;
/// over connections that come and go;
const COMING_AND_GOING: f64 = 15.0;
/// small mails through the milter, each in a session of its own;
const SMALL_MAILS: f64 = 9.0;
/// and mails with a zip,
const LARGE_MAILS: f64 = 1.0;
/// of so many bytes.
const LARGE: usize = 100_000;

/// What caches have room for is filled before the first sample, by each kind of mail at full speed for so long: what grows afterwards
/// is no cache.
const FILLING: Duration = Duration::from_secs(10);
/// Then all kinds come together, so many times as fast,
const FASTER: f64 = 10.0;
/// for so long, with reloads. Which mail comes how often decides what the caches keep; at the rate that is measured that takes them
/// twenty minutes. A reload has all that comes regularly decided anew, while the trace still has what was said of it before.
const SETTLING: Duration = Duration::from_secs(120);
/// New triplets are numbered from here on, beyond those that fill caches.
const NEW: u64 = 1 << 32;

/// What was resident after so many seconds, in KiB.
type Sample = (u64, u64);

/// Runs for so many minutes, and prints the samples and what they grew by.
pub(crate) fn run(args: &Args, minutes: f64) -> io::Result<()> {
    let home = Home::new();
    let config = home.path().join("greylag.toml");
    std::fs::write(&config, format!("store_max_entries = {MAX_ENTRIES}\n"))?;
    let greylag = Daemon::start_with(&home, dns::start(), None, Some(&config));
    fill(greylag.ports)?;
    let done = Rc::new(Cell::new(0));
    let samples = measure::run(async {
        let next = Rc::new(Next { known: Cell::new(0), new: Cell::new(NEW) });
        let settling = LocalSet::new();
        drive_all(&settling, greylag.ports, args.rate * FASTER, &next, &Rc::default());
        settling.run_until(timeout(SETTLING, reload_on(&greylag))).await.expect_err("reloads do not end");
        drop(settling);
        let set = LocalSet::new();
        let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
        drive_all(&set, greylag.ports, args.rate, &next, &done);
        let sampling = sample(&greylag, until, &done);
        set.run_until(async {
            tokio::select! {
                samples = sampling => samples,
                never = reload_on(&greylag) => match never {},
            }
        })
        .await
    })?;
    report(&samples, done.get());
    Ok(())
}

async fn reload_on(greylag: &Daemon) -> Infallible {
    loop {
        sleep(RELOAD).await;
        greylag.reload();
    }
}

fn fill(ports: Ports) -> io::Result<()> {
    let load = Load::new(LOOPS as usize, FILLING, Expect::Accepted);
    drive::make_known(ports.policy, KNOWN)?;
    for content in [Content::small(), Content::with_zip(LARGE)] {
        load.milter(ports.milter, 1, &Rc::new(content))?;
    }
    for which in [Which::New, Which::Known] {
        load.policy(ports.policy, which)?;
    }
    Ok(())
}

/// The triplets that are next, by number.
struct Next {
    known: Cell<u64>,
    new: Cell<u64>,
}

impl Next {
    fn a_known(&self) -> Triplet {
        Triplet::new(self.known.replace(self.known.get() + 1) % KNOWN, DOMAINS)
    }

    fn a_new(&self) -> Triplet {
        Triplet::new(self.new.replace(self.new.get() + 1), DOMAINS)
    }
}

/// Starts all loops, which do `rate` operations a second together.
fn drive_all(set: &LocalSet, ports: Ports, rate: f64, next: &Rc<Next>, done: &Rc<Cell<u64>>) {
    for _ in 0..LOOPS {
        drive(set, ports, rate / 100.0 / f64::from(LOOPS), next, done);
    }
}

/// Starts a loop of each kind, which does `each` operations a second for each hundredth it has. They end with the runtime.
fn drive(set: &LocalSet, ports: Ports, each: f64, next: &Rc<Next>, done: &Rc<Cell<u64>>) {
    for (share, triplet) in [(KNOWN_SHARE, Next::a_known as fn(&Next) -> Triplet), (NEW_SHARE, Next::a_new)] {
        let (next, mut smtpd) = (Rc::clone(next), None);
        at_rate(set, each * share, done, async move || {
            let smtpd = match &mut smtpd {
                Some(smtpd) => smtpd,
                empty => empty.insert(Smtpd::connect(ports.policy).await?),
            };
            smtpd.ask(&triplet(&next)).await.map(drop)
        });
    }
    let coming = Rc::clone(next);
    at_rate(set, each * COMING_AND_GOING, done, async move || {
        Smtpd::connect(ports.policy).await?.ask(&coming.a_known()).await.map(drop)
    });
    for (share, content) in [(SMALL_MAILS, Content::small()), (LARGE_MAILS, Content::with_zip(LARGE))] {
        let next = Rc::clone(next);
        at_rate(set, each * share, done, async move || {
            let triplet = next.a_known();
            let mut session = Session::open(ports.milter).await?;
            session.greet(&triplet).await?;
            session.mail(&triplet, &content).await?;
            session.quit().await
        });
    }
}

fn at_rate<O>(set: &LocalSet, rate: f64, done: &Rc<Cell<u64>>, mut operation: O)
where
    O: AsyncFnMut() -> io::Result<()> + 'static,
{
    let done = Rc::clone(done);
    set.spawn_local(async move {
        let mut due = interval(Duration::from_secs_f64(1.0 / rate));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            operation().await.expect("the daemon answers");
            done.set(done.get() + 1);
        }
    });
}

async fn sample(greylag: &Daemon, until: Instant, done: &Rc<Cell<u64>>) -> Vec<Sample> {
    let began = Instant::now();
    let mut samples = Vec::new();
    while Instant::now() < until {
        sleep(SAMPLE.min(until.saturating_duration_since(Instant::now()))).await;
        let (seconds, resident) = (began.elapsed().as_secs(), greylag.resident_kib());
        println!("{seconds:>6} s {resident:>8} KiB {:>9} operations", done.get());
        samples.push((seconds, resident));
    }
    samples
}

/// Growth by least squares over the last two thirds: before that the allocator finds what it needs.
fn report(samples: &[Sample], done: u64) {
    let settled = samples.get(samples.len() / 3..).unwrap_or_default();
    let (Some((_, first)), Some((_, last))) = (settled.first(), settled.last()) else { return };
    println!(
        "{done} operations; {first} KiB after a third of the time, {last} KiB at the end, {:.1} KiB a minute",
        slope(settled) * 60.0
    );
}

fn slope(samples: &[Sample]) -> f64 {
    let points = || samples.iter().map(|(seconds, resident)| (*seconds as f64, *resident as f64));
    let count = samples.len() as f64;
    let (mean_x, mean_y) =
        (points().map(|(x, _)| x).sum::<f64>() / count, points().map(|(_, y)| y).sum::<f64>() / count);
    let both: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let square: f64 = points().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if square == 0.0 { 0.0 } else { both / square }
}

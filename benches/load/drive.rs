//! What is done to a server: requests of the policy service, mails through the milter, by as many connections as are asked for.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::mail::{Content, DOMAINS, KNOWN, MANY, Triplet};
use crate::measure;
use crate::milter::{End, Session};
use crate::policy::Smtpd;

/// Which triplets are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of those that are known.
    Known,
    /// Of [`MANY`] that are known, each in its turn.
    KnownOfMany,
    /// Never seen, of domains the DNS was asked about before.
    New,
    /// Never seen, each of a domain of its own.
    Cold,
}

/// What must come of a mail; else the measurement is not of what it says, and fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Known triplets are accepted.
    Accepted,
    /// An answer, whatever it is: other servers judge by other rules.
    Answer,
}

/// How a server is driven, and the numbers of triplets not used yet.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) time: Duration,
    pub(crate) expect: Expect,
    next: Rc<Cell<u64>>,
}

impl Load {
    pub(crate) fn new(connections: usize, time: Duration, expect: Expect) -> Self {
        Self { connections, time, expect, next: Rc::new(Cell::new(MANY)) }
    }

    /// The same with another number of connections.
    pub(crate) fn over(&self, connections: usize) -> Self {
        Self { connections, ..self.clone() }
    }

    /// The same for another time.
    pub(crate) fn lasting(&self, time: Duration) -> Self {
        Self { time, ..self.clone() }
    }

    /// Requests a second at the policy service.
    pub(crate) fn policy(&self, port: u16, which: Which) -> io::Result<f64> {
        measure::closed(self.connections, self.time, |connection| self.asking(port, which, connection))
    }

    /// How long the policy service takes at `rate` requests a second, in microseconds.
    pub(crate) fn policy_at(&self, port: u16, rate: f64) -> io::Result<Histogram<u64>> {
        measure::open(self.connections, self.time, rate, |connection| {
            self.asking(port, Which::Known, connection)
        })
    }

    /// One connection's operation: a request.
    fn asking(
        &self,
        port: u16,
        which: Which,
        connection: usize,
    ) -> impl AsyncFnMut() -> io::Result<u64> + 'static {
        let triplets = if which == Which::KnownOfMany { MANY } else { KNOWN };
        // As far from each other as can be, so that a triplet comes again after all others.
        let first = connection as u64 * triplets / self.connections as u64;
        let (next, mut known, mut smtpd) = (Rc::clone(&self.next), first, None);
        let must_pass = matches!(which, Which::Known | Which::KnownOfMany) && self.expect == Expect::Accepted;
        async move || {
            let smtpd = match &mut smtpd {
                Some(smtpd) => smtpd,
                empty => empty.insert(Smtpd::connect(port).await?),
            };
            known = (known + 1) % triplets;
            let unused = || next.replace(next.get() + 1);
            let triplet = match which {
                Which::Known | Which::KnownOfMany => Triplet::new(known, DOMAINS),
                Which::New => Triplet::new(unused(), DOMAINS),
                Which::Cold => Triplet::new(unused(), u64::MAX),
            };
            let action = smtpd.ask(&triplet).await?;
            assert!(!must_pass || !is_refusal(action), "{triplet:?}: {action}");
            Ok(1)
        }
    }

    /// Mails to so many recipients a second through the milter, each in a session of its own.
    pub(crate) fn recipients(&self, port: u16, recipients: usize) -> io::Result<f64> {
        let content = Rc::new(Content::small());
        measure::closed(self.connections, self.time, |connection| {
            let (content, triplet) = (Rc::clone(&content), Triplet::new(connection as u64, DOMAINS));
            let to: Vec<_> =
                (0..recipients).map(|number| format!("alice{number}@recipient.example")).collect();
            async move || {
                let mut session = Session::open(port).await?;
                session.greet(&triplet).await?;
                session.mail_to(&triplet, &to, &content).await?;
                session.quit().await?;
                Ok(1)
            }
        })
    }

    /// Mails of known triplets a second through the milter, `mails` in each session.
    pub(crate) fn milter(&self, port: u16, mails: u64, content: &Rc<Content>) -> io::Result<f64> {
        measure::closed(self.connections, self.time, |connection| {
            let (content, mut number, must_pass) =
                (Rc::clone(content), connection as u64 * 977, self.expect == Expect::Accepted);
            async move || {
                number = (number + 1) % KNOWN;
                let triplet = Triplet::new(number, DOMAINS);
                let mut session = Session::open(port).await?;
                session.greet(&triplet).await?;
                for _ in 0..mails {
                    let end = session.mail(&triplet, &content).await?;
                    assert!(!must_pass || end == End::Accepted, "{triplet:?}: {end:?}");
                }
                session.quit().await?;
                Ok(mails)
            }
        })
    }
}

/// Makes the first `triplets` known: a first attempt, and after a second another.
pub(crate) fn make_known(port: u16, triplets: u64) -> io::Result<()> {
    ask_each(port, triplets, |_, _| {})?;
    std::thread::sleep(Duration::from_millis(1_100));
    ask_each(port, triplets, |triplet, action| {
        assert!(!is_refusal(action), "{triplet:?} is not known after its retry: {action}");
    })
}

/// Asks about each of the first `triplets` once, over some connections.
pub(crate) fn ask_each(port: u16, triplets: u64, check: fn(&Triplet, &str)) -> io::Result<()> {
    const CONNECTIONS: usize = 16;
    let next = Rc::new(Cell::new(0));
    let ask = |_| {
        let next = Rc::clone(&next);
        async move {
            let mut smtpd = Smtpd::connect(port).await?;
            while next.get() < triplets {
                let triplet = Triplet::new(next.replace(next.get() + 1), DOMAINS);
                check(&triplet, smtpd.ask(&triplet).await?);
            }
            Ok(())
        }
    };
    measure::run(measure::all(CONNECTIONS, ask))?
}

fn is_refusal(action: &str) -> bool {
    action.starts_with(['4', '5']) || action.starts_with("DEFER") || action.starts_with("REJECT")
}

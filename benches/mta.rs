//! Mails a second through a real Postfix and a real Sendmail that ask Greylag as a milter, each program given in turn in one run.
//!
//! `cargo bench --ignore-rust-version --bench mta` measures this Greylag beside no filter at all, and what its negotiation saves:
//! through a proxy that hides what the mail server offers, beside the same proxy hiding nothing;
//! `-- --greylag /path/to/another/greylag` another one too. Figures of one run compare; those of different runs do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench fails by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::time::Instant;

use clap::Parser;

use support::dns::{Dns, HELO};
use support::greylag::{Greylag, Setup};
use support::postfix::{HookUp, Postfix};
use support::process;
use support::sendmail::Sendmail;
use support::sink::Sink;
use support::tap::{Offer, Tap};

/// Mails a second through Postfix and Sendmail with Greylag as their milter.
#[derive(Debug, Parser)]
struct Args {
    /// Other programs to measure beside this one.
    #[arg(long)]
    greylag: Vec<String>,
    /// Mails of each measurement.
    #[arg(long, default_value_t = 2000)]
    mails: u32,
    /// Mails of each measurement of Sendmail, which starts a process for each session.
    #[arg(long, default_value_t = 200)]
    sendmail_mails: u32,
    /// SMTP sessions at a time.
    #[arg(long, default_value_t = 8)]
    sessions: u32,
    /// Rounds, every program in turn in each; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Nobody waits for a retry, and 127.0.0.1, where the load comes from, is a client like any other.
const POLICIES: &[(&str, &str)] = &[("greylist.toml", "mode = \"off\"\n"), ("scopes.toml", "")];

/// Postfix keeps what it took: what comes after is not measured.
const HOLD: &str = "smtpd_end_of_data_restrictions = check_client_access static:HOLD\n\
                    smtpd_client_connection_count_limit = 0\n";

/// What the mail server asks about its mails.
enum Filter {
    Nobody,
    /// A Greylag by its path.
    Greylag(String),
    /// The same behind a proxy.
    Proxied(String, Offer),
}

/// A mail server and how it is driven.
struct Case {
    name: &'static str,
    mails: u32,
    sessions: u32,
    /// Further options of smtp-source.
    options: &'static [&'static str],
}

fn main() {
    let args = Args::parse();
    let own = env!("CARGO_BIN_EXE_greylag").to_owned();
    let proxied = [Offer::AsItIs, Offer::Nothing].map(|offer| Filter::Proxied(own.clone(), offer));
    let programs = args.greylag.into_iter().chain([own]).map(Filter::Greylag);
    let filters: Vec<Filter> = [Filter::Nobody].into_iter().chain(programs).chain(proxied).collect();
    let cases = [
        Case { name: "Postfix, a session each", mails: args.mails, sessions: args.sessions, options: &[] },
        Case { name: "Postfix, sessions kept", mails: args.mails, sessions: args.sessions, options: &["-d"] },
        Case { name: "Postfix, one at a time", mails: args.mails / 4, sessions: 1, options: &[] },
        Case {
            name: "Sendmail, a session each",
            mails: args.sendmail_mails,
            sessions: args.sessions,
            options: &[],
        },
    ];
    for case in &cases {
        println!("{}", case.name);
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); filters.len()];
        let mut said = vec![String::new(); filters.len()];
        for round in 0..args.rounds {
            for (at, filter) in filters.iter().enumerate() {
                let (rate, conversation) = measure(case, filter, round == 0);
                rates[at].push(rate);
                if round == 0 {
                    said[at] = conversation;
                }
            }
        }
        for ((filter, rates), said) in filters.iter().zip(&mut rates).zip(&said) {
            rates.sort_by(f64::total_cmp);
            let name = filter.name();
            println!("  {:8.0} mails/s  {said:32} {name}", rates[rates.len() / 2]);
        }
    }
}

impl Filter {
    fn program(&self) -> Option<&str> {
        match self {
            Self::Nobody => None,
            Self::Greylag(program) | Self::Proxied(program, _) => Some(program),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Nobody => "no filter",
            Self::Greylag(program) => program,
            Self::Proxied(_, Offer::AsItIs) => "Greylag behind a proxy",
            Self::Proxied(_, Offer::Nothing) => "Greylag behind a proxy that lets it negotiate nothing",
        }
    }
}

/// Mails a second, and what the mail server said to the milter in a session, where `tapped`.
fn measure(case: &Case, filter: &Filter, tapped: bool) -> (f64, String) {
    let dns = Dns::start();
    let sink = Sink::start();
    let Some(program) = filter.program() else {
        return (drive(case, None, &sink, case.mails, case.sessions), String::new());
    };
    let setup =
        Setup { policies: POLICIES, dns: Some(dns.address()), program: Some(program), ..Setup::default() };
    let greylag = Greylag::start(setup);
    let (offer, is_proxied) = match filter {
        Filter::Proxied(_, offer) => (*offer, true),
        Filter::Nobody | Filter::Greylag(_) => (Offer::AsItIs, false),
    };
    let milter = greylag.ports().milter;
    let tap = Tap::start_with(milter, offer);
    let is_mail = |said: &String| said.contains('E') && said.ends_with('.');
    let conversation = match tapped {
        true => {
            drive(case, Some(tap.port()), &sink, 1, 1);
            process::eventually("a session is over", || tap.conversations().iter().any(is_mail));
            tap.conversations().into_iter().find(is_mail).unwrap()
        }
        false => String::new(),
    };
    let asked = if is_proxied { tap.port() } else { milter };
    (drive(case, Some(asked), &sink, case.mails, case.sessions), conversation)
}

/// Sends mails through a mail server of its own that asks `milter`; returns mails a second.
fn drive(case: &Case, milter: Option<u16>, sink: &Sink, mails: u32, sessions: u32) -> f64 {
    if case.name.starts_with("Sendmail") {
        // Sendmail tempfails without its filter: where there is none to be, it is not measured.
        let Some(milter) = milter else { return f64::NAN };
        let sendmail = Sendmail::start(milter, sink, &[]);
        return load(case, sendmail.port(), mails, sessions);
    }
    let lines = milter.map_or_else(String::new, |milter| {
        let ports = support::postfix::Ports { milter, policy: milter };
        Postfix::lines(HookUp::Milter, ports)
    });
    let postfix = Postfix::start_with(&(lines + HOLD), sink);
    load(case, postfix.port(), mails, sessions)
}

fn load(case: &Case, port: u16, mails: u32, sessions: u32) -> f64 {
    let send = |mails: u32| {
        let sent = Command::new(process::program("smtp-source"))
            .args(["-s", &sessions.to_string(), "-m", &mails.to_string(), "-l", "2000", "-M", HELO])
            .args(["-f", "alice@sender.example", "-t", "bob@example.test"])
            .args(case.options)
            .arg(format!("127.0.0.1:{port}"))
            .output()
            .unwrap();
        assert!(sent.status.success(), "smtp-source: {}", String::from_utf8_lossy(&sent.stderr));
    };
    // Processes of the mail server are there, caches are warm.
    send(sessions.min(mails));
    let began = Instant::now();
    send(mails);
    f64::from(mails) / began.elapsed().as_secs_f64()
}

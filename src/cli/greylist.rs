//! `greylag greylist`: what the running daemon's greylist holds about somebody, and letting mail of theirs pass.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Exit;
use super::control::AskArgs;
use crate::admin::control::{About, Counts, Forgotten, GreylistRequest, Released, Request, Shown};
use crate::facts::Recipient;
use crate::policy::parse_duration;
use crate::store::Identity;

/// Show, release or forget what the running daemon's greylist holds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The greylist keeps keyed hashes and no addresses: it can look up whom you name, and list nobody. Identities are those
the log shows for a decision, with their kind before them: spf:DOMAIN, host:DOMAIN, network:NETWORK, address:ADDRESS.
Only one that the policies in force know clients by is released.

Examples:
  greylag greylist show --sender shop@example.com --recipient me@example.org
  greylag greylist release --sender shop@example.com --recipient me@example.org
  greylag greylist release --identity spf:example.com --recipient me@example.org --for 2h
  greylag greylist forget --identity network:192.0.2.0/24
  greylag greylist stats --json

Exit code 0 when the daemon did it, 1 when it cannot, 64 for wrong usage, 69 when no daemon answers.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is held about a sender, a recipient, an identity, or all of those that are named.
    Show {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        how: AskArgs,
    },
    /// Let mail to a recipient pass, of one sender or one identity: at once, on every Greylag that shares the store.
    Release {
        #[command(flatten)]
        whom: Whom,
        /// How long, such as 48h.
        #[arg(long = "for", value_name = "TIME", default_value = "48h", value_parser = release_time)]
        span: Duration,
        #[command(flatten)]
        how: AskArgs,
    },
    /// Forget what is held about a sender, a recipient, an identity, or all of those that are named: it is greylisted anew.
    Forget {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        how: AskArgs,
    },
    /// Show how much is held.
    Stats {
        #[command(flatten)]
        how: AskArgs,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Whom {
    /// The envelope sender; <> for bounces.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// The envelope recipient.
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// An identity of the client: spf:DOMAIN, host:DOMAIN, network:NETWORK or address:ADDRESS.
    #[arg(long, value_name = "KIND:NAME")]
    identity: Option<Identity>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    match &args.command {
        Command::Show { whom, how } => {
            ask(how, GreylistRequest::Show(whom.about()), out, errors, |shown: &Vec<Shown>, out| {
                write_shown(shown, out)
            })
        }
        Command::Release { whom, span, how } => {
            if whom.recipient.as_deref().is_none_or(names_nobody)
                || whom.sender.is_some() == whom.identity.is_some()
            {
                writeln!(errors, "greylag: name the --recipient, and either the --sender or the --identity")?;
                return Ok(Exit::Usage);
            }
            let request = GreylistRequest::Release { about: whom.about(), seconds: span.as_secs() };
            ask(how, request, out, errors, |Released { recipient, of, expires }, out| {
                let left = time(expires.saturating_sub(now()));
                writeln!(out, "mail of {of} to <{recipient}> passes for {left}")
            })
        }
        Command::Forget { whom, how } => {
            ask(how, GreylistRequest::Forget(whom.about()), out, errors, |Forgotten { forgotten }, out| {
                writeln!(out, "{forgotten} records forgotten")
            })
        }
        Command::Stats { how } => ask(how, GreylistRequest::Stats, out, errors, |counts: &Counts, out| {
            let Counts { waiting, proven, standings, releases } = counts;
            writeln!(out, "waiting for a retry: {waiting}")?;
            writeln!(out, "proven: {proven}")?;
            writeln!(out, "identities on their way to pass as a whole, or there: {standings}")?;
            writeln!(out, "rules of release: {releases}")
        }),
    }
}

/// A duration for a rule of release, which is kept in whole seconds.
fn release_time(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    if span < Duration::from_secs(1) { Err("a release lasts a second at least".to_owned()) } else { Ok(span) }
}

/// Whether a recipient is left empty, with brackets or without.
fn names_nobody(recipient: &str) -> bool {
    Recipient::parse(recipient).raw().is_empty()
}

impl Whom {
    fn about(&self) -> About {
        About {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            identity: self.identity.as_ref().map(ToString::to_string),
        }
    }
}

/// Asks; the greylist did what it was asked where it answers.
fn ask<T: Serialize + DeserializeOwned>(
    how: &AskArgs,
    request: GreylistRequest,
    out: &mut dyn Write,
    errors: &mut dyn Write,
    write: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
) -> io::Result<Exit> {
    let write = |answer: &T, out: &mut dyn Write, _: &mut dyn Write| write(answer, out);
    how.ask(&Request::Greylist(request), out, errors, write, |_| Exit::Success, Exit::Findings)
}

fn write_shown(shown: &[Shown], out: &mut dyn Write) -> io::Result<()> {
    let left = |expires: u64| time(expires.saturating_sub(now()));
    if shown.is_empty() {
        writeln!(out, "nothing is held")?;
    }
    for shown in shown {
        match *shown {
            Shown::Waiting { age, .. } => writeln!(out, "waits for its retry, first seen {} ago", time(age)),
            Shown::ProvenPair { expires } => {
                writeln!(out, "client and sender pass for every recipient, for {}", left(expires))
            }
            Shown::ProvenTriplet { expires } => {
                writeln!(out, "client, sender and recipient pass, for {}", left(expires))
            }
            Shown::Standing { promoted: true, expires, .. } => {
                writeln!(out, "passes as a whole, for {}", left(expires))
            }
            Shown::Standing { senders, recipients, expires, .. } => writeln!(
                out,
                "is on its way to pass as a whole: {senders} senders and {recipients} recipients, remembered for {}",
                left(expires)
            ),
            Shown::Release { expires } => writeln!(out, "released by a rule, for {}", left(expires)),
        }?;
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A span of time in its two largest units, rounded: what is left of two days is no day less a moment later.
fn time(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = |seconds| units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let (finest, _) = units[(largest(seconds) + 1).min(units.len() - 1)];
    let rounded = seconds.saturating_add(finest / 2) / finest * finest;
    let mut text = String::new();
    let mut rest = rounded;
    for (unit, name) in units.iter().skip(largest(rounded)).take(2) {
        if rest >= *unit || text.is_empty() {
            let blank = if text.is_empty() { "" } else { " " };
            text += &format!("{blank}{} {name}", rest / unit);
        }
        rest %= unit;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_told_by_their_largest_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min 59 s"),
            (172_800, "2 d"),
            (172_799, "2 d"),
            (86_400 + 7_205, "1 d 2 h"),
            (86_399, "1 d"),
            (3_605, "1 h"),
            (3_630, "1 h 1 min"),
        ] {
            assert_eq!(time(seconds), expected);
        }
    }

    #[test]
    fn what_is_held_is_told_in_words() {
        let shown = [
            Shown::Waiting { first_seen: 0, age: 61 },
            Shown::ProvenTriplet { expires: 0 },
            Shown::Standing { promoted: false, senders: 2, recipients: 3, expires: 0 },
            Shown::Standing { promoted: true, senders: 5, recipients: 5, expires: 0 },
        ];
        let mut out = Vec::new();
        write_shown(&shown, &mut out).unwrap();
        let expected = "waits for its retry, first seen 1 min 1 s ago\n\
            client, sender and recipient pass, for 0 s\n\
            is on its way to pass as a whole: 2 senders and 3 recipients, remembered for 0 s\n\
            passes as a whole, for 0 s\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

//! `greylag explain`: what would happen to a mail, and why.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::policies::load_or_report;
use super::{Exit, printable, recent};
use crate::checks::greylist::{self, Exemption};
use crate::config::dns_server;
use crate::dns;
use crate::driver::{Driver, Protocol, Scanner, Transaction};
use crate::facts::{Client, Connection, Facts, Message, Recipient, ReversePath, Stage, host_name};
use crate::filter::{Known, Slot};
use crate::policy::{Mode, Policy, Settings};
use crate::reason::Check;
use crate::store::MemoryStore;
use crate::verdict::{Finding, Verdict};

/// Room in the greylist of one explanation.
const MAX_ATTEMPTS: usize = 10_000;

/// Say what would happen to a mail, and why: each check, what it saw, what it decided. Nothing is sent and nothing recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greylag explain --client 192.0.2.1 --helo localhost --from a@example.org --to b@example.net
  greylag explain --client 192.0.2.1 --client-name mail.example.org --helo mail.example.org \\
      --from '<>' --to b@example.net --to c@example.net message.eml
  greylag explain --recent --sender a@example.org  # what the running daemon decided lately

Exit code 1 when a recipient or the message would be refused.")]
pub(super) struct Args {
    /// The client's address.
    #[arg(long, value_name = "IP", required_unless_present = "recent")]
    client: Option<std::net::IpAddr>,
    /// The client's verified host name (FCrDNS), if it has one.
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// The HELO or EHLO name; leave out for a client that sends none.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender; '<>' for the null reverse-path.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "recent")]
    from: Option<String>,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "recent")]
    to: Vec<String>,
    /// The login name of an authenticated client.
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// The directory of the policy files; the built-in policies without it.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A DNS server to ask instead of the system's: an address, with a port where it is not 53.
    #[arg(long, value_name = "ADDR", value_parser = dns_server)]
    dns: Option<SocketAddr>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    /// The message, to judge its content too.
    #[arg(value_name = "MESSAGE.eml")]
    message: Option<PathBuf>,
    #[command(flatten)]
    recent: recent::RecentArgs,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<Exit> {
    if args.recent.recent {
        return recent::run(&args.recent, args.json, out, errors);
    }
    let Some(policy) = load_or_report(args.policies.as_deref(), errors)? else { return Ok(Exit::Config) };
    let message = match args.message.as_ref().map(|path| std::fs::read(path).map_err(|error| (path, error))) {
        None => None,
        Some(Ok(text)) => Some(Message::from_bytes(&text)),
        Some(Err((path, error))) => {
            writeln!(errors, "greylag explain: cannot read {}: {error}", path.display())?;
            return Ok(Exit::NoInput);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let steps = match runtime.block_on(explain(args, policy, message)) {
        Ok(steps) => steps,
        Err(error) => {
            writeln!(errors, "greylag explain: {error}")?;
            return Ok(Exit::Failure);
        }
    };
    if args.json {
        let steps: Vec<Value> = steps.iter().map(Explained::to_json).collect();
        writeln!(out, "{}", json!({ "store": STORE_NOTE, "stages": steps }))?;
    } else {
        for step in &steps {
            step.write(out)?;
        }
        writeln!(out, "\nNote: {STORE_NOTE}.")?;
    }
    let refused = steps.iter().any(|step| step.verdict.action().refuses());
    Ok(if refused { Exit::Findings } else { Exit::Success })
}

const STORE_NOTE: &str = "the greylist store was not consulted; the triplet is taken as never seen";

/// One stage that was judged, for one recipient or for the message.
struct Explained {
    subject: String,
    checks: Vec<(Check, Mode)>,
    settings: Arc<Settings>,
    /// Why the recipient is not greylisted.
    exempt: Option<Exemption>,
    known: Known,
    verdict: Verdict,
}

/// Judges as the daemon would, with an empty greylist in memory.
async fn explain(
    args: &Args,
    policy: Policy,
    message: Option<Message>,
) -> Result<Vec<Explained>, Box<dyn Error>> {
    let servers: Vec<SocketAddr> = args.dns.into_iter().collect();
    let resolver = Arc::new(dns::live(&servers, |_| ())?);
    let driver = Driver::new(policy, resolver, Arc::new(MemoryStore::new(MAX_ATTEMPTS)?), Scanner::new(1));
    let mut transaction = driver.begin(Protocol::Milter);
    let mut facts = facts(args);
    facts.content_follows = message.is_some();
    let mut steps = Vec::new();
    for recipient in args.to.iter().map(|to| Recipient::parse(to)) {
        let subject = format!("recipient {}", recipient.raw());
        facts.recipient = Some(recipient.clone());
        let verdict = driver.judge(Stage::Rcpt, &facts, &mut transaction).await;
        if !verdict.action().refuses() {
            facts.accepted.push(recipient);
        }
        steps.push(Explained::new(subject, Stage::Rcpt, &facts, &transaction, verdict));
    }
    facts.recipient = None;
    if let Some(message) = message {
        let subject = format!("message of {} bytes", message.len());
        facts.message = Some(message);
        let verdict = driver.judge(Stage::EndOfMessage, &facts, &mut transaction).await;
        steps.push(Explained::new(subject, Stage::EndOfMessage, &facts, &transaction, verdict));
    }
    Ok(steps)
}

fn facts(args: &Args) -> Facts {
    Facts {
        connection: Connection {
            client: args.client.map_or(Client::Unknown, |client| Client::Ip(client.to_canonical())),
            client_name: args.client_name.as_deref().and_then(host_name),
            ..Connection::default()
        },
        helo: args.helo.clone(),
        sender: args.from.as_deref().map(ReversePath::parse),
        login: args.login.clone(),
        content_follows: true,
        ..Facts::default()
    }
}

impl Explained {
    fn new(
        subject: String,
        stage: Stage,
        facts: &Facts,
        transaction: &Transaction,
        verdict: Verdict,
    ) -> Self {
        let settings = transaction.policy.settings(facts);
        let (recipients, auth) = (settings.recipients.mode, settings.auth.mode);
        let checks = match stage {
            Stage::EndOfMessage => vec![
                (Check::Recipients, recipients),
                (Check::Auth, auth),
                (Check::Content, settings.content.mode),
                (Check::Attachments, settings.attachments.mode),
            ],
            _ => vec![
                (Check::Address, settings.address.mode),
                (Check::Recipients, recipients),
                (Check::Helo, settings.helo.mode),
                (Check::Auth, auth),
                (Check::Greylist, settings.greylist.mode),
            ],
        };
        let exempt = greylist::exemption(facts, &settings);
        Self { subject, checks, settings, exempt, known: transaction.known.clone(), verdict }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.subject)?;
        for (check, mode) in &self.checks {
            let findings: Vec<&Finding> = self.findings(*check).collect();
            match (mode, findings.as_slice()) {
                (Mode::Off, _) => writeln!(out, "  {:<12} off", check.name())?,
                (_, []) => {
                    writeln!(out, "  {:<12} accept      {}", check.name(), self.nothing_found(*check))?
                }
                (_, findings) => {
                    for finding in findings {
                        self.write_finding(out, *check, *mode, finding)?;
                    }
                }
            }
        }
        match self.verdict.reply() {
            Some(reply) => writeln!(out, "  => {}: {reply}", self.verdict.action().name()),
            None => writeln!(out, "  => {}", self.verdict.action().name()),
        }
    }

    fn write_finding(
        &self,
        out: &mut dyn Write,
        check: Check,
        mode: Mode,
        finding: &Finding,
    ) -> io::Result<()> {
        let action = finding.outcome.action().name();
        let would = if mode == Mode::Monitor { " (monitored only)" } else { "" };
        writeln!(
            out,
            "  {:<12} {action:<11} {}{would}: {}",
            check.name(),
            finding.reason,
            finding.reason.summary()
        )?;
        if !finding.detail.is_empty() {
            writeln!(out, "  {:<24} saw {}", "", printable(&finding.detail))?;
        }
        if check == Check::Helo && !self.known.helo.is_not_asked() {
            writeln!(out, "  {:<24} DNS: {}", "", self.helo_dns())?;
        }
        Ok(())
    }

    fn findings(&self, check: Check) -> impl Iterator<Item = &Finding> {
        let all = self.verdict.findings.iter().chain(&self.verdict.would);
        all.filter(move |finding| finding.reason.check() == check)
    }

    fn nothing_found(&self, check: Check) -> String {
        match check {
            Check::Helo if !self.known.helo.is_not_asked() => format!("DNS: {}", self.helo_dns()),
            Check::Greylist if self.verdict.action().refuses() => "not asked: refused before it".into(),
            Check::Greylist => self.exempt.map_or("nothing to say", Exemption::summary).into(),
            Check::Attachments if self.known.scan(&self.settings.attachments).got().is_some() => {
                "nothing forbidden inside".into()
            }
            Check::Auth => format!("SPF: {}", self.spf()),
            _ => "nothing to say".into(),
        }
    }

    fn spf(&self) -> String {
        match &self.known.spf {
            Slot::NotAsked => "not asked".into(),
            Slot::Got(outcome, took) => {
                format!("{} for {:?} in {} ms", outcome.result.name(), outcome.domain, took.as_millis())
            }
            Slot::Unknown(fault) => format!("unknown ({fault}), which refuses nobody"),
        }
    }

    fn helo_dns(&self) -> String {
        match &self.known.helo {
            Slot::NotAsked => "not asked".into(),
            Slot::Got(answer, took) => format!("{answer:?} in {} ms", took.as_millis()),
            Slot::Unknown(fault) => format!("unknown ({fault}), which refuses nobody"),
        }
    }

    fn to_json(&self) -> Value {
        let finding = |finding: &Finding, monitored: bool| {
            json!({
                "check": finding.reason.check().name(),
                "reason": finding.reason.code(),
                "action": finding.outcome.action().name(),
                "reply": finding.outcome.reply().map(ToString::to_string),
                "saw": finding.detail,
                "monitored": monitored,
            })
        };
        let findings = self.verdict.findings.iter().map(|found| finding(found, false));
        let would = self.verdict.would.iter().map(|found| finding(found, true));
        json!({
            "subject": self.subject,
            "action": self.verdict.action().name(),
            "reply": self.verdict.reply().map(ToString::to_string),
            "helo_dns": self.helo_dns(),
            "spf": self.spf(),
            "findings": findings.chain(would).collect::<Vec<_>>(),
        })
    }
}

//! `greylag explain`: what would happen to a mail, and why.

mod against;
mod from_log;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::policies::load_or_report;
use super::progress::Progress;
use super::{Exit, recent};
use crate::admin::control::Request;
use crate::config::{DnsServers, ListenAddress, dns_server};
use crate::dns;
use crate::driver::{Driver, Scanner};
use crate::explain::{Envelope, Explanation, explain};
use crate::facts::Message;
use crate::policy::Policy;
use crate::store::MemoryStore;
use against::Two;

/// Room in the greylist of one explanation.
const MAX_ATTEMPTS: usize = 10_000;

/// Say what would happen to a mail, and why: each check, what it saw, what it decided.
///
/// The running daemon is asked, which knows its greylist. Where there is none, or a policy or DNS server is named, the mail is judged
/// here, by the policy of the configuration file, as if the greylist had never seen it. Nothing is sent and nothing recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greylag explain --client 192.0.2.1 --helo localhost --from a@example.org --to b@example.net
  greylag explain --client 192.0.2.1 --client-name mail.example.org --helo mail.example.org \\
      --from '<>' --to b@example.net --to c@example.net message.eml
  greylag explain --policies /etc/greylag/policies --client 192.0.2.1 --helo localhost \\
      --from a@example.org --to b@example.net      # by another policy than the daemon's
  greylag explain --against /etc/greylag/policies --client 192.0.2.1 --helo localhost \\
      --from a@example.org --to b@example.net      # what would be different by these
  grep 'decision ' mail.log | greylag explain --from-log -   # the same questions again
  greylag explain --recent --sender a@example.org  # what the running daemon decided lately

Exit code 1 when a recipient or the message would be refused; with --against, when the two differ.")]
pub(super) struct Args {
    /// The client's address.
    #[arg(long, value_name = "IP", required_unless_present_any = ["recent", "from_log"])]
    client: Option<std::net::IpAddr>,
    /// The client's verified host name (FCrDNS), if it has one.
    #[arg(long, value_name = "NAME")]
    client_name: Option<String>,
    /// The HELO or EHLO name; leave out for a client that sends none.
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender; '<>' for the null reverse-path.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["recent", "from_log"])]
    from: Option<String>,
    /// A recipient; may be given several times.
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["recent", "from_log"])]
    to: Vec<String>,
    /// The login name of an authenticated client.
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// The listener of Greylag that is asked, as greylag.toml names it; some scopes ask for it.
    #[arg(long, value_name = "ADDR")]
    listener: Option<ListenAddress>,
    /// The TLS version of an encrypted session, such as TLSv1.3; some scopes ask for it.
    #[arg(long, value_name = "VERSION")]
    tls: Option<String>,
    /// What Postfix sets as policy_context, without the message: a milter is not told.
    #[arg(long, value_name = "TEXT", conflicts_with = "message")]
    policy_context: Option<String>,
    /// Judge by the policy files of this directory.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A DNS server to ask instead of the system's: an address, with a port where it is not 53.
    #[arg(long, value_name = "ADDR", value_parser = dns_server)]
    dns: Option<SocketAddr>,
    /// Judge a decision line of Greylag's log once more, logfmt or JSON; - reads lines from standard input.
    #[arg(long, value_name = "LINE|-", allow_hyphen_values = true,
        conflicts_with_all = ["client", "client_name", "helo", "from", "to", "login", "listener", "tls",
            "policy_context", "message", "recent"])]
    from_log: Option<String>,
    /// Judge by the policy files of this directory too, and show what differs.
    #[arg(long, value_name = "DIR", conflicts_with = "recent")]
    against: Option<PathBuf>,
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
    if let Some(line) = &args.from_log {
        return from_log::run(args, line, out, errors);
    }
    let message = match args.message.as_ref().map(|path| std::fs::read(path).map_err(|error| (path, error))) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err((path, error))) => {
            writeln!(errors, "greylag explain: cannot read {}: {error}", path.display())?;
            return Ok(Exit::NoInput);
        }
    };
    let (Some(client), Some(sender)) = (args.client, args.from.clone()) else { return Ok(Exit::Usage) };
    let envelope = Envelope {
        client,
        client_name: args.client_name.clone(),
        helo: args.helo.clone(),
        sender,
        recipients: args.to.clone(),
        login: args.login.clone(),
        listener: args.listener.as_ref().map(ToString::to_string),
        tls: args.tls.clone(),
        policy_context: args.policy_context.clone(),
    };
    if let Some(directory) = &args.against {
        let two = match Two::read(args, directory, errors)? {
            Ok(two) => two,
            Err(exit) => return Ok(exit),
        };
        let message = message.map(|text| Message::from_bytes(&text));
        return match two.compare(&envelope, message)? {
            Ok(comparison) => {
                write(&comparison, args.json, out)?;
                Ok(if comparison.differs { Exit::Findings } else { Exit::Success })
            }
            Err(error) => {
                writeln!(errors, "greylag explain: {error}")?;
                Ok(Exit::Failure)
            }
        };
    }
    let alone_only = args.policies.is_some() || args.dns.is_some();
    let request = match &message {
        None => Request::Explain(envelope.clone()),
        Some(text) => Request::ExplainMessage { envelope: envelope.clone(), bytes: text.len() as u64 },
    };
    let found = match args.by_daemon(alone_only, &request, message.as_deref().unwrap_or_default(), errors) {
        Ok(ByDaemon::Answered(mut explanation)) => {
            explanation.notes.insert(0, DAEMON_NOTE.to_owned());
            Ok(*explanation)
        }
        Ok(ByDaemon::NotAsked(why)) => {
            let basis = match Basis::read(args, errors)? {
                Ok(basis) => basis,
                Err(exit) => return Ok(exit),
            };
            let notes: Vec<String> =
                why.into_iter().chain([basis.judged_by(), STORE_NOTE.to_owned()]).collect();
            let message = message.map(|text| Message::from_bytes(&text));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let progress = Progress::at("judging", "the mail");
            let found = runtime.block_on(alone(&basis.dns, &envelope, basis.policy, message));
            drop(progress);
            found.map(|mut explanation| {
                explanation.notes.splice(..0, notes);
                explanation
            })
        }
        Err(exit) => return Ok(exit),
    };
    match found {
        Ok(explanation) => {
            write(&explanation, args.json, out)?;
            Ok(if explanation.refuses() { Exit::Findings } else { Exit::Success })
        }
        Err(error) => {
            writeln!(errors, "greylag explain: {error}")?;
            Ok(Exit::Failure)
        }
    }
}

fn write(answer: &(impl Serialize + Display), as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    if as_json { writeln!(out, "{}", serde_json::to_string(answer)?) } else { write!(out, "{answer}") }
}

const DAEMON_NOTE: &str =
    "the running daemon was asked, for its policy, its greylist and its DNS; it recorded nothing";
const STORE_NOTE: &str = "the greylist store was not consulted; the triplet is taken as never seen";

/// What came of asking the daemon.
enum ByDaemon {
    Answered(Box<Explanation>),
    /// It was not asked, or did not answer; why, where it should have.
    NotAsked(Option<String>),
}

impl Args {
    /// Asks the running daemon; not where the command line names what only this process has.
    fn by_daemon(
        &self,
        alone_only: bool,
        request: &Request,
        message: &[u8],
        errors: &mut dyn Write,
    ) -> Result<ByDaemon, Exit> {
        let control = &self.recent.control;
        if alone_only {
            return Ok(ByDaemon::NotAsked(None));
        }
        if control.is_named() {
            let answer = super::control::ask(&control.socket(errors)?, request, message);
            return answer.map(ByDaemon::Answered).map_err(|why| super::control::failed(&why, errors));
        }
        let socket = control.socket(&mut io::sink());
        match socket.map(|socket| super::control::ask(&socket, request, message)) {
            Ok(Ok(answer)) => Ok(ByDaemon::Answered(answer)),
            Ok(Err(why)) => Ok(ByDaemon::NotAsked(Some(why.to_string()))),
            Err(_) => Ok(ByDaemon::NotAsked(None)),
        }
    }
}

/// What a mail is judged by in this process.
struct Basis {
    policy: Policy,
    /// Where its files are; `None` for the built-in ones.
    directory: Option<PathBuf>,
    /// The DNS servers to ask; none for the system's.
    dns: Vec<SocketAddr>,
}

impl Basis {
    /// What the command line names, else what the daemon's configuration file does. `Err` where it cannot be used, which was said.
    fn read(args: &Args, errors: &mut dyn Write) -> io::Result<Result<Self, Exit>> {
        let (config, configured) = match args.recent.control.configuration(errors) {
            Ok(configuration) => configuration,
            Err(exit) => return Ok(Err(exit)),
        };
        let directory = args.policies.clone().or(configured);
        let dns = match (args.dns, config.dns) {
            (Some(server), _) => vec![server],
            (None, DnsServers::Servers(servers)) => servers,
            (None, DnsServers::System) => Vec::new(),
        };
        let policy = load_or_report(directory.as_deref(), errors)?;
        Ok(policy.map(|policy| Self { policy, directory, dns }).ok_or(Exit::Config))
    }

    /// Which policy it is.
    fn name(&self) -> String {
        let directory = self.directory.as_ref();
        directory.map_or_else(
            || "the built-in policy".to_owned(),
            |path| format!("the policy in {}", path.display()),
        )
    }

    fn judged_by(&self) -> String {
        format!("judged by {}", self.name())
    }
}

/// Judges as the daemon would, with an empty greylist in memory.
async fn alone(
    dns: &[SocketAddr],
    envelope: &Envelope,
    policy: Policy,
    message: Option<Message>,
) -> Result<Explanation, Box<dyn Error>> {
    let resolver = Arc::new(dns::live(dns, |_| ())?);
    let driver = Driver::new(policy, resolver, Arc::new(MemoryStore::new(MAX_ATTEMPTS)?), Scanner::new(1));
    Ok(explain(envelope, message, &driver).await)
}

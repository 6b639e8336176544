//! `greylag explain --recent`: what the running daemon decided lately.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::control::ControlArgs;
use super::{Exit, printable};
use crate::admin::control::Request;
use crate::telemetry::{TraceQuery, Traced};

/// Which of the latest mails are shown.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --recent")]
pub(super) struct RecentArgs {
    /// Show what the running daemon decided of its latest mails instead.
    #[arg(long, conflicts_with_all = ["client", "from", "to", "message"])]
    pub recent: bool,
    /// Only mails from this sender; '<>' for the null reverse-path.
    #[arg(long, value_name = "ADDRESS", requires = "recent")]
    sender: Option<String>,
    /// Only mails to this recipient.
    #[arg(long, value_name = "ADDRESS", requires = "recent")]
    recipient: Option<String>,
    /// Only mails of this client.
    #[arg(long, value_name = "IP", requires = "recent")]
    from_client: Option<std::net::IpAddr>,
    /// Only the mail with this queue id.
    #[arg(long, value_name = "ID", requires = "recent")]
    queue_id: Option<String>,
    /// How many mails at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, requires = "recent")]
    last: usize,
    #[command(flatten)]
    pub control: ControlArgs,
}

pub(super) fn run(
    args: &RecentArgs,
    json: bool,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> io::Result<Exit> {
    let query = TraceQuery {
        client: args.from_client.map(|client| client.to_canonical().to_string()),
        sender: args.sender.clone(),
        recipient: args.recipient.clone(),
        queue_id: args.queue_id.clone(),
        last: args.last,
    };
    let mails: Vec<Traced> = match args.control.ask(&Request::Trace(query), Exit::Failure, errors) {
        Ok(mails) => mails,
        Err(exit) => return Ok(exit),
    };
    if json {
        writeln!(out, "{}", serde_json::to_string(&mails)?)?;
        return Ok(Exit::Success);
    }
    if mails.is_empty() {
        writeln!(out, "the daemon remembers no such mail")?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    mails.iter().try_for_each(|mail| write_mail(mail, now, out))?;
    Ok(Exit::Success)
}

fn write_mail(mail: &Traced, now: f64, out: &mut dyn Write) -> io::Result<()> {
    let Some(first) = mail.steps.first() else { return Ok(()) };
    let field = |key| text(first.decision.get(key));
    let ago = (now - first.at).max(0.0);
    writeln!(
        out,
        "{ago:.0} s ago by {}: client {} ({}), HELO {}, sender {}",
        field("protocol"),
        field("client"),
        field("client_name"),
        field("helo"),
        field("sender")
    )?;
    mail.steps.iter().try_for_each(|step| write_step(&step.decision, out))
}

fn write_step(decision: &Value, out: &mut dyn Write) -> io::Result<()> {
    let field = |key| text(decision.get(key));
    writeln!(
        out,
        "  {} {}: {} {} ({} µs)",
        field("stage"),
        field("recipients"),
        field("action"),
        field("reason"),
        field("micros")
    )?;
    for key in ["reply", "queue_id", "helo_dns", "spf", "identities", "login", "tls"] {
        if !decision.get(key).is_none_or(Value::is_null) {
            writeln!(out, "    {key:<10} {}", field(key))?;
        }
    }
    let findings = decision.get("findings").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for finding in findings {
        let field = |key| text(finding.get(key));
        let would = if field("mode") == "monitor" { " (monitored only)" } else { "" };
        writeln!(
            out,
            "    {:<10} {} {}{would}: {}",
            field("check"),
            field("action"),
            field("reason"),
            field("detail")
        )?;
    }
    Ok(())
}

/// A value as a terminal may show it; `-` where there is none.
fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) => items.iter().map(|item| text(Some(item))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

//! Messages for the checks of DKIM and DMARC.

use std::sync::Arc;

use greylag::auth::{self, MessageAuth, SpfIdentity, SpfOutcome, SpfResult};
use greylag::dns::{Resolver, Zone};
use greylag::facts::{HeaderField, Message};

/// The message as an MTA hands it over that leaves the space after the colon.
pub fn exact(mail: &str) -> Message {
    let (header, body) = mail.split_once("\n\n").unwrap();
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in header.lines() {
        match (line.split_once(':'), headers.last_mut()) {
            (_, Some((_, value))) if line.starts_with([' ', '\t']) => *value += &format!("\n{line}"),
            (Some((name, value)), _) => headers.push((name.to_owned(), value.to_owned())),
            (None, _) => panic!("{line:?} is no header line"),
        }
    }
    let field = |(name, value): (String, String)| HeaderField { name: name.into(), value: value.into() };
    let body = body.replace('\n', "\r\n");
    Message::new(headers.into_iter().map(field).collect(), body.as_bytes(), true)
}

/// What SPF says of `domain` as the sender's.
pub fn spf(result: SpfResult, domain: &str) -> SpfOutcome {
    SpfOutcome { result, identity: SpfIdentity::MailFrom, domain: domain.into(), passes_anyone: false }
}

/// What DKIM and DMARC say of `message`, asking the DNS that [`Zone`] reads from `zone`.
pub async fn checked(message: &Message, spf: &SpfOutcome, zone: &str) -> MessageAuth {
    let resolver: Arc<dyn Resolver> = Arc::new(Zone::parse(zone));
    auth::message(message, spf, &resolver).await.unwrap()
}

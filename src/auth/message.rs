//! DKIM (RFC 6376) and DMARC (RFC 9989) of a received message.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail_auth::crypto::Algorithm;
use mail_auth::dkim::{DkimError, Signature, VerifySignature};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::dmarc::{Alignment, Policy};
use mail_auth::dns::ToFqdn;
use mail_auth::{AuthenticatedMessage, DkimOutput, Error, Parameters, SpfOutput};
use tokio::task::JoinSet;

use super::answers::{Answers, Purpose, verifier};
use super::author::{author_domains, domain_name};
use super::spf::is_name;
use super::{SpfOutcome, SpfResult};
use crate::dns::{RecordType, Resolver};
use crate::facts::Message;
use crate::patience::at_once;

/// How many signatures of one message are checked, from the top.
const MAX_SIGNATURES: usize = 8;
/// How many fields a signature may name. Others name some thirty; the time to find them all grows with each.
const MAX_SIGNED_FIELDS: usize = 100;
/// Shortest signature by RSA, which is as long as the key, in bytes: those of fewer than 1024 bits do not count (RFC 8301 §3.2).
const MIN_RSA_BYTES: usize = 128;
/// Longest name, in labels, that is asked for a DMARC policy beside the domain itself (RFC 9989 §4.10).
const MAX_POLICY_LABELS: usize = 7;

/// Who vouches for a message by what stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageAuth {
    /// The signatures that were checked, in the order of the header.
    pub signatures: Vec<DkimSignature>,
    /// Whether there are signatures that do not count: malformed, of a kind not trusted, or too many.
    pub ignored_signatures: bool,
    /// What DMARC says.
    pub dmarc: DmarcOutcome,
}

impl MessageAuth {
    /// The first valid signature of the author's own domain.
    pub fn aligned_pass(&self) -> Option<&DkimSignature> {
        self.aligned(DkimResult::Pass)
    }

    /// The first signature of the author's own domain that could not be checked just now.
    pub fn aligned_unknown(&self) -> Option<&DkimSignature> {
        self.aligned(DkimResult::TempError)
    }

    fn aligned(&self, result: DkimResult) -> Option<&DkimSignature> {
        self.signatures.iter().find(|signature| signature.aligned && signature.result == result)
    }
}

/// One DKIM-Signature field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimSignature {
    /// The domain that signed (`d=`), in lower case.
    pub domain: String,
    /// Which of its keys it used (`s=`), in lower case.
    pub selector: String,
    /// Whether the signature holds.
    pub result: DkimResult,
    /// Whether the domain is that of the author: the same, or under one registrable domain unless the author's DMARC policy wants
    /// the same.
    pub aligned: bool,
}

/// The results of RFC 8601 §2.7.1 that a signature can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// The signature is valid.
    Pass,
    /// It is not: header or body were changed, or another key was used.
    Fail,
    /// It has expired.
    Neutral,
    /// The key does not exist, was revoked or cannot be read.
    PermError,
    /// The key cannot be looked up just now.
    TempError,
}

impl DkimResult {
    /// The result's name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Neutral => "neutral",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
        }
    }
}

/// What DMARC says of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DmarcOutcome {
    /// Whether SPF or DKIM passed for the author's domain.
    pub result: DmarcResult,
    /// What the domain wants done with mail that fails.
    pub policy: DmarcPolicy,
    /// The author's domain (From), empty where there is none; of several, the one whose policy is the most strict among those that
    /// fail.
    pub domain: String,
}

/// The results of RFC 9989 §4.10.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DmarcResult {
    /// SPF or DKIM passed for the author's domain.
    Pass,
    /// Neither did.
    Fail,
    /// The domain publishes no policy, or the author has no domain.
    #[default]
    None,
    /// The policy cannot be read.
    PermError,
    /// The DNS failed.
    TempError,
}

impl DmarcResult {
    /// The result's name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::None => "none",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
        }
    }
}

/// What a domain wants done with mail that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DmarcPolicy {
    /// Nothing.
    #[default]
    None,
    /// Treat it with suspicion.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl DmarcPolicy {
    /// The policy's name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// Why a message could not be checked: a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum MessageAuthError {
    /// The task that checks ended early.
    #[error("the check of signatures ended: {0}")]
    Ended(#[from] tokio::task::JoinError),
    /// mail-auth asked for more than it was given.
    #[error("the check of signatures waited for an answer that it was not given")]
    Waited,
    /// mail-auth cannot be set up.
    #[error("the check of signatures cannot be set up: {0}")]
    NoVerifier(&'static hickory_resolver::net::NetError),
}

/// Checks the signatures of `message` and its author's DMARC policy, given what SPF said. Everything is looked up at once; the
/// caller sets the deadline. Hashing runs beside the connections, on a thread of its own.
///
/// # Errors
/// Only a fault of ours: whatever is wrong with the message or the DNS is a result.
pub async fn message(
    message: &Message,
    spf: &SpfOutcome,
    resolver: &Arc<dyn Resolver>,
) -> Result<MessageAuth, MessageAuthError> {
    let header = message.header_text();
    let Some(read) = parse(header) else { return Ok(MessageAuth::default()) };
    let authors = author_domains(&read);
    let mut answers = look_up(questions(&read, spf, &authors), resolver).await?;
    for signature in read.dkim_signatures().iter().map(|field| &field.header) {
        // mail-auth asks for U-labels as they stand.
        let called = signature.domain_key();
        if let Some(name) = key_name(signature).filter(|_| !called.is_ascii()) {
            answers.also_called(&name, &called.to_fqdn());
        }
    }
    if read.dkim_signatures().is_empty() {
        // DMARC is about the header alone.
        return verify_at_once(&read, &authors, spf, &answers);
    }
    let (message, spf) = (message.clone(), spf.clone());
    let verify_all = move || match parse(message.text()) {
        Some(read) => verify_at_once(&read, &authors, &spf, &answers),
        None => Ok(MessageAuth::default()),
    };
    tokio::task::spawn_blocking(verify_all).await?
}

/// Every name whose records may matter: the keys of the signatures, and the policies of the author's domain and of those that may
/// be aligned with it.
fn questions(
    message: &AuthenticatedMessage<'_>,
    spf: &SpfOutcome,
    authors: &[String],
) -> BTreeSet<(String, Purpose)> {
    let signatures = || message.dkim_signatures().iter().map(|field| &field.header);
    let keys = signatures().filter_map(key_name).map(|name| (name, Purpose::Key));
    let mut questions: BTreeSet<(String, Purpose)> = keys.collect();
    let signers = signatures().filter_map(|signature| domain_name(&signature.d));
    let others: Vec<String> = signers.chain(domain_name(&spf.domain)).collect();
    for author in authors {
        let related = others.iter().filter(|domain| registrable(domain) == registrable(author));
        for domain in related.chain([author]) {
            let policies = ancestors(domain).map(|name| ["_dmarc.", name].concat());
            questions.extend(policies.filter(|name| is_name(name)).map(|name| (name, Purpose::Policy)));
        }
        questions.insert((author.clone(), Purpose::Existence));
    }
    questions
}

/// Where the key of a signature is, as the DNS writes it (RFC 8616 §4 has U-labels in signatures).
fn key_name(signature: &Signature) -> Option<String> {
    let name = format!("{}._domainkey.{}", domain_name(&signature.s)?, domain_name(&signature.d)?);
    is_name(&name).then_some(name)
}

/// The domain itself, and every domain above it that RFC 9989 §4.10 asks.
fn ancestors(domain: &str) -> impl Iterator<Item = &str> {
    let above = domain.rmatch_indices('.').map(|(dot, _)| &domain[dot + 1..]);
    above.take(MAX_POLICY_LABELS).chain([domain])
}

async fn look_up(
    questions: BTreeSet<(String, Purpose)>,
    resolver: &Arc<dyn Resolver>,
) -> Result<Answers, MessageAuthError> {
    let mut answers = Answers::new();
    let mut asked = JoinSet::new();
    for (name, purpose) in questions {
        let record_type = match purpose {
            Purpose::Key | Purpose::Policy => RecordType::Txt,
            Purpose::Existence => RecordType::A,
        };
        if let Some(answer) = resolver.at_hand(&name, record_type) {
            answers.add(&name, purpose, answer.map(|timed| timed.answer));
            continue;
        }
        let resolver = Arc::clone(resolver);
        asked.spawn(async move {
            let answer = resolver.lookup(&name, record_type).await.map(|timed| timed.answer);
            (name, purpose, answer)
        });
    }
    while let Some(answered) = asked.join_next().await {
        let (name, purpose, answer) = answered?;
        answers.add(&name, purpose, answer);
    }
    Ok(answers)
}

/// Every answer is in hand, so there is nothing to wait for, nor room to be taken for that.
fn verify_at_once(
    message: &AuthenticatedMessage<'_>,
    authors: &[String],
    spf: &SpfOutcome,
    answers: &Answers,
) -> Result<MessageAuth, MessageAuthError> {
    at_once(verify(message, authors, spf, answers)).ok_or(MessageAuthError::Waited)?
}

async fn verify(
    message: &AuthenticatedMessage<'_>,
    authors: &[String],
    spf: &SpfOutcome,
    answers: &Answers,
) -> Result<MessageAuth, MessageAuthError> {
    let verifier = verifier().map_err(MessageAuthError::NoVerifier)?;
    let dkim = verifier.verify_dkim(Parameters::new(message).with_cache(answers)).await;
    let spf_output = SpfOutput::new(spf.domain.to_string()).with_result(spf_result(spf.result));
    let mut outcomes = Vec::with_capacity(authors.len());
    let mut strict = false;
    for author in authors {
        // As we read From, which may have more than one reading.
        let from = (!names(message, author)).then(|| format!("From: a@{author}\r\n\r\n"));
        let anew = from.as_ref().and_then(|from| AuthenticatedMessage::parse(from.as_bytes()));
        let parameters =
            DmarcParameters::new(anew.as_ref().unwrap_or(message), &dkim, &spf.domain, &spf_output);
        let dmarc = verifier.verify_dmarc(Parameters::new(parameters).with_cache(answers)).await;
        strict |= dmarc.record().is_some_and(|record| record.adkim == Alignment::Strict);
        outcomes.push(dmarc_outcome(&dmarc));
    }

    let aligned = |domain: &str| match authors {
        [author] => domain == author || (!strict && registrable(domain) == registrable(author)),
        _ => false,
    };
    let signatures = dkim.iter().filter_map(|output| signature(output, &aligned)).collect();
    Ok(MessageAuth {
        signatures,
        ignored_signatures: message.has_dkim_errors(),
        dmarc: most_strict(outcomes),
    })
}

/// Whether `author` is the one domain that mail-auth reads in From, too.
fn names(message: &AuthenticatedMessage<'_>, author: &str) -> bool {
    let [address] = message.from_addresses() else { return false };
    address.split_once('@').is_some_and(|(_, domain)| domain == author)
}

/// Reads the message, and leaves it the signatures that count. Those that cover only the beginning of the body (`l=`) do not, as
/// anyone may append to it (RFC 6376 §8.2).
fn parse(raw: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let mut message = AuthenticatedMessage::parse(raw)?;
    let mut kept = 0;
    message.retain_dkim_signatures(|signature| {
        if kept == MAX_SIGNATURES || !counts(signature) {
            return Err(DkimError::UnsupportedAlgorithm);
        }
        kept += 1;
        Ok(())
    });
    Some(message)
}

/// Whether a signature can vouch for the author: by a hash and a key that are trusted (RFC 8301 §3), over From (RFC 6376 §5.4),
/// naming a key that can be looked up, and no more fields than can be gone through.
fn counts(signature: &Signature) -> bool {
    let is_trusted = match signature.a {
        Algorithm::RsaSha256 => signature.b.len() >= MIN_RSA_BYTES,
        Algorithm::Ed25519Sha256 => true,
        Algorithm::RsaSha1 | Algorithm::MlDsa44 => false,
    };
    let covers_author = signature.h.iter().any(|name| name.eq_ignore_ascii_case("from"));
    is_trusted && covers_author && signature.h.len() <= MAX_SIGNED_FIELDS && key_name(signature).is_some()
}

/// RFC 9989 §11.6, as RFC 7489 §6.6.1: of several authors' domains, what the most strict policy among those that fail says.
fn most_strict(outcomes: Vec<DmarcOutcome>) -> DmarcOutcome {
    let strictness = |outcome: &DmarcOutcome| (outcome.result == DmarcResult::Fail).then_some(outcome.policy);
    // The last of equals is taken, which is to be the first.
    outcomes.into_iter().rev().max_by_key(strictness).unwrap_or_default()
}

/// The domain someone registered, `example.co.uk` of `mail.example.co.uk`; a public suffix stands for itself.
fn registrable(domain: &str) -> &str {
    psl::domain_str(domain).unwrap_or(domain)
}

fn signature(output: &DkimOutput<'_>, aligned: &impl Fn(&str) -> bool) -> Option<DkimSignature> {
    let signature = output.signature()?;
    let (domain, selector) = (domain_name(&signature.d)?, domain_name(&signature.s)?);
    let aligned = aligned(&domain);
    let result = match output.result() {
        mail_auth::DkimResult::Pass => DkimResult::Pass,
        mail_auth::DkimResult::Fail(_)
        | mail_auth::DkimResult::Neutral(Error::Dkim(DkimError::BodyHashMismatch)) => DkimResult::Fail,
        mail_auth::DkimResult::Neutral(_) | mail_auth::DkimResult::None => DkimResult::Neutral,
        mail_auth::DkimResult::PermError(_) => DkimResult::PermError,
        mail_auth::DkimResult::TempError(_) => DkimResult::TempError,
    };
    Some(DkimSignature { domain, selector, result, aligned })
}

fn dmarc_outcome(output: &mail_auth::DmarcOutput) -> DmarcOutcome {
    let result = match output.result() {
        mail_auth::DmarcResult::Pass => DmarcResult::Pass,
        mail_auth::DmarcResult::Fail(_) => DmarcResult::Fail,
        mail_auth::DmarcResult::TempError(_) => DmarcResult::TempError,
        mail_auth::DmarcResult::PermError(_) => DmarcResult::PermError,
        mail_auth::DmarcResult::None => DmarcResult::None,
    };
    let policy = match output.policy() {
        Policy::Reject => DmarcPolicy::Reject,
        Policy::Quarantine => DmarcPolicy::Quarantine,
        Policy::None | Policy::Unspecified => DmarcPolicy::None,
    };
    DmarcOutcome { result, policy, domain: output.domain().to_owned() }
}

const fn spf_result(result: SpfResult) -> mail_auth::SpfResult {
    match result {
        SpfResult::Pass => mail_auth::SpfResult::Pass,
        SpfResult::Fail => mail_auth::SpfResult::Fail,
        SpfResult::SoftFail => mail_auth::SpfResult::SoftFail,
        SpfResult::Neutral => mail_auth::SpfResult::Neutral,
        SpfResult::None => mail_auth::SpfResult::None,
        SpfResult::PermError => mail_auth::SpfResult::PermError,
        SpfResult::TempError => mail_auth::SpfResult::TempError,
    }
}

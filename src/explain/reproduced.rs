//! Every kind of refusal there is, logged and judged once more: verdict, reason and reply come out the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;

use super::explain_logged;
use crate::auth::{SpfOutcome, SpfResult};
use crate::dns::{HeloResolution, Zone};
use crate::driver::{Driver, Protocol, Scanner};
use crate::facts::{Client, Facts, Recipient, ReversePath, Stage};
use crate::filter::Slot;
use crate::policy::Policy;
use crate::reason::{Check, Reason};
use crate::store::{MemoryStore, Timestamp};
use crate::telemetry::{Decision, LoggedDecision};
use crate::verdict::{Action, Code, Finding, Outcome, Reply, Verdict};

const ZONE: &str = "mail.pass.test A 192.0.2.1
    pass.test TXT v=spf1 ip4:192.0.2.1 -all
    fail.test TXT v=spf1 -all
    softfail.test TXT v=spf1 ~all
    neutral.test TXT v=spf1 ?all
    permerror.test TXT v=spf1 include:nobody.test -all
    none.test A 192.0.2.9
    empty.test TXT nothing
    elsewhere.test A 192.0.2.9";

const RULE: &str = "[[rule]]\nname = \"r\"\nin = [\"body\"]\nwords = [\"w\"]\naction = \"reject\"\n";

/// A mail that is refused for one reason.
struct Refused {
    facts: Facts,
    protocol: Protocol,
    /// Policy files; others are as shipped.
    files: Vec<(&'static str, String)>,
    /// What was found, where more than the envelope is needed to find it.
    finding: Option<(Stage, Action)>,
}

/// A mail that is refused for nothing but what the greylist says.
fn ordinary() -> Refused {
    let mut facts = Facts {
        helo: Some("mail.pass.test".to_owned()),
        sender: Some(ReversePath::parse("a@pass.test")),
        recipient: Some(Recipient::parse("b@example.test")),
        ..Facts::default()
    };
    facts.connection.client = Client::parse("192.0.2.1");
    Refused { facts, protocol: Protocol::Policy, files: Vec::new(), finding: None }
}

/// A mail to `local` that is refused for the address.
fn to(local: &str) -> Refused {
    Refused {
        facts: Facts {
            recipient: Some(Recipient::parse(&format!("{local}@example.test"))),
            ..ordinary().facts
        },
        files: vec![("address.toml", "mode = \"enforce\"\n".to_owned())],
        ..ordinary()
    }
}

/// A mail that is refused for this reason; none for a reason that never refuses.
fn refused(reason: Reason) -> Option<Refused> {
    let mut mail = ordinary();
    let cause = reason.code().split_once('.').unwrap().1;
    let set = |file, value: &str| vec![(file, format!("{cause} = {value}\n"))];
    let helo = |name: &str| Refused {
        facts: Facts { helo: (!name.is_empty()).then(|| name.to_owned()), ..ordinary().facts },
        files: vec![("helo.toml", format!("{cause} = \"reject\"\nown_names = [\"mx.example.test\"]\n"))],
        ..ordinary()
    };
    let sender = |domain: &str| Refused {
        facts: Facts { sender: Some(ReversePath::parse(&format!("a@{domain}"))), ..ordinary().facts },
        files: set("auth.toml", "\"reject\""),
        ..ordinary()
    };
    let said_by_greylist =
        |files| Refused { finding: Some((Stage::Rcpt, Action::Defer)), files, ..ordinary() };
    let in_message = |files| {
        let mut mail = Refused {
            finding: Some((Stage::EndOfMessage, Action::Reject)),
            protocol: Protocol::Milter,
            files,
            ..ordinary()
        };
        mail.facts.accepted.extend(mail.facts.recipient.take());
        mail
    };
    Some(match reason {
        Reason::AddressInvalidLocalPart => to("-b"),
        Reason::AddressTooLong => to(&"b".repeat(65)),
        Reason::AddressNonAscii => to("\u{e9}"),
        Reason::HeloMissing => helo(""),
        Reason::HeloBareAddress => helo("192.0.2.1"),
        Reason::HeloAddressLiteral => helo("[192.168.1.1]"),
        Reason::HeloUnqualified => helo("mon-serveur"),
        Reason::HeloLocalhost => helo("localhost"),
        Reason::HeloInvalidSyntax => helo("a..b"),
        Reason::HeloBanned => helo("fakedomain.xyz"),
        Reason::HeloOwnName => helo("mx.example.test"),
        Reason::HeloUnresolvable => helo("nobody.test"),
        Reason::HeloNoAddress => helo("empty.test"),
        Reason::HeloMismatched => helo("elsewhere.test"),
        Reason::AuthSpfFail => sender("fail.test"),
        Reason::AuthSpfSoftFail => sender("softfail.test"),
        Reason::AuthSpfNone => sender("none.test"),
        Reason::AuthSpfNeutral => sender("neutral.test"),
        Reason::AuthSpfPermError => sender("permerror.test"),
        Reason::AuthDmarcReject => in_message(set("auth.toml", "true")),
        Reason::RecipientsTooMany => {
            mail.facts.accepted = vec![Recipient::parse("c@example.test"); 100];
            mail
        }
        Reason::RecipientsMixed => {
            mail.facts.accepted = vec![Recipient::parse("c@other.test")];
            mail.facts.content_follows = true;
            mail.protocol = Protocol::Milter;
            let scope =
                "[[scope]]\nname = \"s\"\nrecipient = [\"@other.test\"]\nset.attachments.mode = \"off\"\n";
            mail.files =
                vec![("scopes.toml", scope.to_owned()), ("greylist.toml", "mode = \"off\"\n".to_owned())];
            mail
        }
        Reason::RecipientsTooManyInHeader => {
            in_message(vec![("recipients.toml", "too_many_in_header_inbound = \"reject\"\n".to_owned())])
        }
        Reason::GreylistFirstSeen => mail,
        Reason::GreylistTooEarly | Reason::GreylistCapped => said_by_greylist(Vec::new()),
        Reason::GreylistStoreFailure => {
            said_by_greylist(vec![("greylist.toml", "on_store_failure = \"defer\"\n".to_owned())])
        }
        Reason::GreylistMatured | Reason::GreylistKnown | Reason::GreylistReleased => return None,
        Reason::ContentHeaderRule
        | Reason::ContentBodyRule
        | Reason::ContentLinkRule
        | Reason::ContentAttachmentNameRule => in_message(vec![("content.toml", RULE.to_owned())]),
        Reason::ContentMalformedLink | Reason::ContentScanTimeout | Reason::ContentScanFault => {
            in_message(set("content.toml", "\"reject\""))
        }
        Reason::ContentTooLarge => {
            Refused { finding: Some((Stage::EndOfMessage, Action::Defer)), ..in_message(Vec::new()) }
        }
        Reason::ContentForgedFields => in_message(Vec::new()),
        // Those of what is found in attachments: each has a setting of its name.
        _ if reason.check() == Check::Attachments => in_message(set("attachments.toml", "\"reject\"")),
        _ => panic!("no mail that is refused for {reason}: write one here"),
    })
}

/// What the log says of the mail.
async fn line(reason: Reason, mail: &Refused, policy: &Policy) -> [String; 2] {
    let store = Arc::new(MemoryStore::new(1_000).unwrap());
    let driver = Driver::new(policy.clone(), Arc::new(Zone::parse(ZONE)), store, Scanner::new(1));
    let mut transaction = driver.begin(mail.protocol);
    let (stage, finding) = match mail.finding {
        None => {
            let verdict = driver.judge(Stage::Rcpt, &mail.facts, &mut transaction).await;
            (Stage::Rcpt, verdict.decisive().unwrap().clone())
        }
        Some((stage, action)) => {
            let code = if action == Action::Defer { Code::C451 } else { Code::C554 };
            let outcome = Outcome::of(action, Reply::new(code, (7, 1), "as it was told"));
            transaction.known.helo =
                Slot::Got(HeloResolution::Addresses(smallvec![[192, 0, 2, 1].into()]), Duration::ZERO);
            let spf =
                SpfOutcome { result: SpfResult::Pass, domain: "pass.test".into(), ..SpfOutcome::none() };
            transaction.known.spf = Slot::Got(spf, Duration::ZERO);
            (stage, Finding { reason, outcome, detail: "rule \"r\": seen".to_owned() })
        }
    };
    assert_eq!(finding.reason, reason);
    let verdict = Verdict { findings: vec![finding], ..Verdict::default() };
    let decision = Decision {
        transaction: 1,
        at: Timestamp::EPOCH,
        took: Duration::from_micros(7),
        protocol: mail.protocol,
        stage,
        facts: &mail.facts,
        verdict: &verdict,
        helo_dns: &transaction.known.helo,
        spf: &transaction.known.spf,
        identities: &[],
    };
    decision.lines().swap_remove(0)
}

/// Asserts that each line of the mail's refusal, judged once more, comes out as it was.
async fn is_reproduced(reason: Reason, mail: &Refused) {
    let files: BTreeMap<String, String> =
        mail.files.iter().map(|(file, text)| ((*file).to_owned(), text.clone())).collect();
    let policy = Policy::load(&files).map(|(policy, _)| policy).unwrap();
    for line in line(reason, mail, &policy).await {
        let logged = LoggedDecision::parse(&line).unwrap();
        let found = explain_logged(&logged, &policy).unwrap();
        let stage = &found.stages[0];
        let then = ["action", "reason", "reply"].map(|key| logged.get(key));
        let now = [Some(stage.action.as_str()), stage.reason.as_deref(), stage.reply.as_deref()];
        assert_eq!(now, then, "{line}\n{found}");
        assert!(matches!(stage.action.as_str(), "defer" | "reject"), "{line}");
        assert!(found.notes.iter().any(|note| note == "the verdict would be the same"), "{found}");
    }
}

#[tokio::test]
async fn every_kind_of_refusal_is_reproduced_from_its_line() {
    let mut kinds = 0;
    for reason in Reason::ALL.iter().copied() {
        let Some(mail) = refused(reason) else { continue };
        is_reproduced(reason, &mail).await;
        kinds += 1;
    }
    // All but the three by which the greylist lets pass.
    assert_eq!(kinds, Reason::ALL.len() - 3);
}

#[tokio::test]
async fn a_recipient_that_begins_like_a_number_of_more_is_judged() {
    for local in ["+b", "+1"] {
        is_reproduced(Reason::AddressInvalidLocalPart, &to(local)).await;
    }
}

#[tokio::test]
async fn a_recipient_beyond_the_cap_of_another_is_reproduced() {
    let mut mail = ordinary();
    mail.facts.accepted = ["a@small.test", "c@example.test"].map(Recipient::parse).into();
    let scope = "[[scope]]\nname = \"s\"\nrecipient = [\"@small.test\"]\nset.recipients.max_recipients = 2\n";
    mail.files = vec![("scopes.toml", scope.to_owned()), ("greylist.toml", "mode = \"off\"\n".to_owned())];
    is_reproduced(Reason::RecipientsTooMany, &mail).await;
}

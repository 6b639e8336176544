//! What the milter asks of an MTA follows from the policy, and a mail is judged the same whatever was agreed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use greylag::dns::Zone;
use greylag::driver::{Driver, Scanner};
use greylag::policy::Policy;
use greylag::reason::Check;
use greylag::store::MemoryStore;
use support::milter::{Agreed, EndOfMessage, Mta, OFFER, Reply, Server, options};

const CLIENT: &str = "198.51.100.10:4242";
const GREYLISTED: &str = "451 4.7.1 Greylisted, try again in 120 seconds";
const FORBIDDEN: &str = "554 5.7.0 Forbidden attachment: evil.exe - files of type exe are not accepted, remove it and \
                         send again";

/// A message with a forbidden attachment.
const PROGRAM: &str = "From: a@b.test\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=evil.exe\r\n\
                       \r\nMZ\r\n";

/// Greylists no postmaster.
const FREE: &str = "[[scope]]\nname = \"free\"\nrecipient = [\"postmaster@\"]\nset.greylist.mode = \"off\"\n";

/// Scans for attachments where a recipient is of this domain.
const SCANNED: &str = "[[scope]]\nname = \"scanned\"\nrecipient = [\"@scanned.test\"]\n\
                       set.attachments.mode = \"enforce\"\n";

/// These checks and no others.
fn policy(checks: &[Check], scopes: &str) -> Policy {
    let mode = |check: Check| if checks.contains(&check) { "enforce" } else { "off" };
    let file = |check: Check| (format!("{}.toml", check.name()), format!("mode = {:?}\n", mode(check)));
    let mut files: BTreeMap<_, _> = Check::ALL.map(file).into();
    files.insert("scopes.toml".into(), scopes.to_owned());
    Policy::load(&files).map(|(policy, _)| policy).unwrap()
}

fn driver(policy: Policy) -> Arc<Driver> {
    let store = MemoryStore::new(1_000).unwrap();
    Arc::new(Driver::new(policy, Arc::new(Zone::default()), Arc::new(store), Scanner::new(1)))
}

/// A greeted session, and what it agreed on.
async fn session(server: &Server) -> (Mta, Agreed) {
    let mut mta = server.mta().await;
    let agreed = mta.negotiate(OFFER).await.clone();
    greet(&mut mta).await;
    (mta, agreed)
}

async fn greet(mta: &mut Mta) {
    assert_eq!(mta.connect("[198.51.100.10]", CLIENT.parse().unwrap()).await, Reply::Continue);
    assert_eq!(mta.helo("mail.example.org").await, Reply::Continue);
}

/// Sends [`PROGRAM`] to these recipients, who are accepted.
async fn send(mta: &mut Mta, recipients: &[&str]) -> EndOfMessage {
    assert_eq!(mta.mail("<a@b.test>").await, Reply::Continue);
    for recipient in recipients {
        assert_eq!(mta.rcpt(&format!("<{recipient}>")).await, Reply::Continue, "{recipient}");
    }
    assert_eq!(mta.data().await, Reply::Continue);
    mta.content(PROGRAM).await
}

#[tokio::test]
async fn greylisting_alone_is_told_of_no_content() {
    let driver = driver(policy(&[Check::Greylist], FREE));
    let server = Server::tcp(Arc::clone(&driver), options()).await;
    let (mut mta, agreed) = session(&server).await;
    assert_eq!(agreed.protocol, 0x14_31f0);
    assert_eq!(mta.mail("<a@b.test>").await, Reply::Continue);
    let deferred = mta.rcpt("<bob@example.test>").await;
    assert_eq!(deferred, Reply::Refuse("451 4.7.1 <bob@example.test>... ".to_owned() + &GREYLISTED[10..]));
    mta.quit().await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("milter.sock");
    let server = Server::unix(&path, driver, options());
    let mut mta = Mta::unix(&path).await;
    assert_eq!(mta.negotiate(OFFER).await.protocol, 0x14_33f0, "without DATA, where nothing stalls");
    greet(&mut mta).await;
    assert_eq!(send(&mut mta, &["postmaster@example.test"]).await, EndOfMessage::unchanged());
    mta.quit().await;
    drop(server);
}

#[tokio::test]
async fn content_alone_is_judged_without_an_answer_before_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("milter.sock");
    let server = Server::unix(&path, driver(policy(&[Check::Attachments], "")), options());
    let mut mta = Mta::unix(&path).await;
    assert_eq!(mta.negotiate(OFFER).await.protocol, 0x1c_f3c0);
    greet(&mut mta).await;
    for _ in 0..2 {
        let refused = send(&mut mta, &["bob@example.test", "carol@example.test"]).await;
        assert_eq!(refused.reply.text(), FORBIDDEN);
    }
    mta.quit().await;
    drop(server);
}

#[tokio::test]
async fn a_body_is_declined_where_no_recipient_has_it_scanned() {
    let server = Server::tcp(driver(policy(&[], SCANNED)), options()).await;
    let (mut mta, agreed) = session(&server).await;
    assert_eq!(agreed.protocol, 0x14_f5c0);
    for (recipients, skipped, reply) in [
        (&["bob@example.test"][..], true, ""),
        (&["bob@scanned.test"], false, FORBIDDEN),
        (&["bob@example.test", "carol@scanned.test"], false, FORBIDDEN),
        (&["bob@example.test"], true, ""),
    ] {
        assert_eq!(send(&mut mta, recipients).await.reply.text(), reply, "{recipients:?}");
        mta.mail("<a@b.test>").await;
        for recipient in recipients {
            mta.rcpt(&format!("<{recipient}>")).await;
        }
        mta.data().await;
        let expected = if skipped { Reply::Skip } else { Reply::Continue };
        for _ in 0..2 {
            assert_eq!(mta.body(b"Hello\r\n").await, expected, "{recipients:?}");
        }
        mta.abort().await;
    }
    mta.quit().await;
}

#[tokio::test]
async fn a_session_that_was_told_too_little_keeps_its_policy() {
    let driver = driver(policy(&[Check::Greylist], FREE));
    let server = Server::tcp(Arc::clone(&driver), options()).await;
    let (mut old, _) = session(&server).await;
    driver.set_policy(policy(&[Check::Attachments], ""));
    let (mut new, agreed) = session(&server).await;
    assert_eq!(agreed.protocol, 0x1c_f1c0);
    assert_eq!(send(&mut new, &["bob@example.test"]).await.reply.text(), FORBIDDEN);
    // Neither header nor body comes on the old connection, mail after mail, and it goes on greylisting.
    for _ in 0..2 {
        assert_eq!(send(&mut old, &["postmaster@example.test"]).await, EndOfMessage::unchanged());
        assert_eq!(old.mail("<a@b.test>").await, Reply::Continue);
        assert!(old.rcpt("<bob@example.test>").await.text().starts_with("451 4.7.1 "));
        old.abort().await;
    }
    // A policy that needs no more than was agreed is taken with the next mail.
    driver.set_policy(policy(&[], ""));
    assert_eq!(old.mail("<a@b.test>").await, Reply::Continue);
    assert_eq!(old.rcpt("<bob@example.test>").await, Reply::Continue);
    old.quit().await;
    new.quit().await;
}

#[tokio::test]
async fn a_session_that_is_told_enough_takes_a_new_policy_with_its_next_mail() {
    let driver = driver(policy(&[Check::Recipients, Check::Attachments], ""));
    let server = Server::tcp(Arc::clone(&driver), options()).await;
    let (mut mta, agreed) = session(&server).await;
    assert_eq!(agreed.protocol, 0x1c_31c0);
    assert_eq!(mta.mail("<a@b.test>").await, Reply::Continue);
    driver.set_policy(policy(&[Check::Address], ""));
    assert_eq!(mta.rcpt("<-@example.test>").await, Reply::Continue, "by the policy the mail began with");
    mta.abort().await;
    assert_eq!(mta.mail("<a@b.test>").await, Reply::Continue);
    assert!(mta.rcpt("<-@example.test>").await.text().starts_with("550 5.1.3 "));
    mta.quit().await;
}

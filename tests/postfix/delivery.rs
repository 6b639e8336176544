//! What is accepted is delivered as it was sent, however the session went before.

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::{CLIENT, NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

#[test]
fn clean_mail_is_delivered_byte_for_byte() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let message = mail::plain("clean");
    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &message));

    let delivered = site.sink.next();
    assert_eq!(delivered.sender, SENDER);
    assert_eq!(delivered.recipients, [RECIPIENT]);
    let added = delivered.data.strip_suffix(message.as_slice()).expect("the message as it was sent");
    let added = String::from_utf8_lossy(added);
    let names: Vec<&str> = added
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        ["Authentication-Results", "Received"],
        "headers added above the message sent by {CLIENT}"
    );
}

#[test]
fn a_session_carries_several_messages_and_what_was_reset_is_forgotten() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("first")));
    assert_queued(&smtp.send("dave@sender.example", "carol@example.test", &mail::plain("second")));

    assert_eq!(smtp.mail("reset@sender.example"), "250 2.1.0 Ok");
    assert_eq!(smtp.rcpt("reset@example.test"), "250 2.1.5 Ok");
    assert_eq!(smtp.rset(), "250 2.0.0 Ok");
    assert_eq!(smtp.data(b""), "503 5.5.1 Error: need RCPT command");
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("third")));
    assert_eq!(smtp.quit(), "221 2.0.0 Bye");

    let mut delivered: Vec<_> = (0..3).map(|_| site.sink.next()).collect();
    delivered.sort_by_key(|mail| subject(&mail.data));
    let envelopes: Vec<_> =
        delivered.iter().map(|mail| (mail.sender.as_str(), mail.recipients.join(","))).collect();
    assert_eq!(
        envelopes,
        [
            (SENDER, RECIPIENT.to_owned()),
            ("dave@sender.example", "carol@example.test".to_owned()),
            (SENDER, RECIPIENT.to_owned()),
        ]
    );
    site.sink.assert_empty();
}

fn subject(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    text.lines().find(|line| line.starts_with("Subject: ")).unwrap_or_default().to_owned()
}

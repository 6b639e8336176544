//! Bogus HELO names, and which name of a session counts.

use crate::support::dns::HELO;
use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{CLIENT, NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

/// HELO name and the number of its cause in the documentation.
const BOGUS: [(&str, u8); 6] = [
    ("127.0.0.1", 2),
    ("[192.168.1.1]", 3),
    ("mon-serveur", 4),
    ("localhost", 5),
    ("fakedomain.xyz", 7),
    ("does-not-exist.example", 9),
];

#[test]
fn the_milter_refuses_each_recipient_of_a_client_with_a_bogus_name() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    for (name, number) in BOGUS {
        let mut smtp = Smtp::connect(site.postfix.port());
        smtp.xclient(CLIENT, "[UNAVAILABLE]");
        assert_eq!(smtp.helo(name), "250 mx.example.test", "HELO {name}");
        assert_eq!(smtp.mail(SENDER), "250 2.1.0 Ok", "HELO {name}");
        assert_eq!(
            smtp.rcpt(RECIPIENT),
            format!("550 5.7.1 <bob@example.test>... Access denied - bogus HELO [{number}]"),
            "HELO {name}"
        );
        assert_eq!(
            smtp.rcpt("carol@example.test"),
            format!("550 5.7.1 <carol@example.test>... Access denied - bogus HELO [{number}]"),
            "HELO {name}"
        );
        assert_eq!(
            smtp.rcpt("postmaster@example.test"),
            "250 2.1.5 Ok",
            "HELO {name}: postmaster is reached"
        );
    }
}

#[test]
fn the_policy_service_refuses_them_too() {
    let site = Site::start(HookUp::Policy, &[NO_GREYLIST]);
    for (name, number) in BOGUS {
        let mut smtp = Smtp::connect(site.postfix.port());
        smtp.xclient(CLIENT, "[UNAVAILABLE]");
        assert_eq!(smtp.helo(name), "250 mx.example.test", "HELO {name}");
        assert_eq!(
            smtp.send(SENDER, RECIPIENT, b""),
            format!(
                "550 5.7.1 <bob@example.test>: Recipient address rejected: Access denied - bogus HELO [{number}]"
            ),
            "HELO {name}"
        );
    }
}

#[test]
fn the_name_in_force_at_mail_counts() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let refused = "550 5.7.1 <bob@example.test>... Access denied - bogus HELO [5]";
    let mut smtp = site.connect();

    // A good name, then a bogus one.
    smtp.ehlo("localhost");
    assert_eq!(smtp.send(SENDER, RECIPIENT, b""), refused);

    // Back to a good one: nothing of the bogus name is left.
    smtp.ehlo(HELO);
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("good-name")));
    assert_eq!(site.sink.next().recipients, [RECIPIENT]);

    // A new name in the middle of a transaction ends the transaction (RFC 5321 §4.1.4).
    smtp.mail(SENDER);
    smtp.rcpt(RECIPIENT);
    smtp.ehlo("localhost");
    assert_eq!(smtp.send(SENDER, RECIPIENT, b""), refused);
}

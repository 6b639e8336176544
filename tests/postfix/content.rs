//! Rules about what a message says, at its end.

use crate::support::postfix::HookUp;
use crate::tags::tags;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

const REJECTING: &str = r#"
[[rule]]
name = "header"
in = ["header:Subject"]
words = ["lottery"]
action = "reject"

[[rule]]
name = "body"
in = ["body"]
regex = ['you have won \$\d+']
action = "reject"

[[rule]]
name = "link"
in = ["links"]
words = ["evil.test"]
action = "reject"

[[rule]]
name = "name"
in = ["attachment_names"]
regex = ['^invoice.*\.pdf$']
action = "reject"
"#;

/// A message of that header and body.
fn message(header: &str, body: &str) -> Vec<u8> {
    // With all that Postfix would add.
    let text = format!(
        "From: {SENDER}\nTo: {RECIPIENT}\nDate: Mon, 23 Nov 2026 10:00:00 +0100\nMessage-Id: <1@sender.example>\n\
         MIME-Version: 1.0\n{header}\n\n{body}\n"
    );
    text.replace('\n', "\r\n").into_bytes()
}

/// A mail that each of the rules matches, by its reason, in a disguise; and one that only has a malformed link.
fn mails() -> [(&'static str, Vec<u8>); 5] {
    let html = "Subject: x\nContent-Type: text/html; charset=utf-8";
    let quoted =
        "Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable";
    let pdf = "Subject: x\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''invoice%20%2012.pdf";
    [
        ("header", message("Subject: =?utf-8?B?TG90?=\n =?utf-8?B?dGVyeQ==?= today", "x")),
        ("body", message(quoted, "You have w=\nON $100, you have w=\non =24100")),
        ("link", message(html, "<a href='http://bank.test@ev&#105;l.test/'>your bank</a>")),
        ("attachment_name", message(pdf, "x")),
        ("malformed_link", message("Subject: x", "see http//bank.test/login")),
    ]
}

#[test]
fn each_rule_refuses_with_its_reply_and_a_malformed_link_is_only_tagged() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST, ("content.toml", REJECTING)]);
    let mut smtp = site.connect();
    for (what, mail) in mails() {
        let reply = smtp.send(SENDER, RECIPIENT, &mail);
        match what {
            "header" => assert_eq!(reply, "554 5.7.0 AV: Message is rejected by headers rule filter"),
            "malformed_link" => assert_queued(&reply),
            _ => assert_eq!(reply, "554 5.7.1 Spam Message Rejected", "{what}"),
        }
    }
    assert_eq!(tags(&site.sink.next().data), ["tag; reason=content.malformed_link"]);
    site.sink.assert_empty();
    for (reason, rule) in [
        ("header_rule", "rule \\\"header\\\""),
        ("body_rule", "rule \\\"body\\\""),
        ("link_rule", "rule \\\"link\\\""),
        ("attachment_name_rule", "rule \\\"name\\\""),
    ] {
        let lines = site.greylag.log_lines(&[&format!("action=reject reason=content.{reason} "), rule]);
        assert_eq!(lines.len(), 1, "{reason}");
    }
}

#[test]
fn each_rule_may_tag_instead_and_ordinary_mail_is_not_touched() {
    let tagging = REJECTING.replace("\"reject\"", "\"tag\"");
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST, ("content.toml", &tagging)]);
    let mut smtp = site.connect();
    for (what, mail) in mails() {
        assert_queued(&smtp.send(SENDER, RECIPIENT, &mail));
        let delivered = site.sink.next().data;
        assert!(delivered.ends_with(&mail), "nothing else is changed");
        let rule = if what == "malformed_link" { "" } else { "_rule" };
        assert_eq!(tags(&delivered), [format!("tag; reason=content.{what}{rule}")]);
    }
    let ordinary = message("Subject: x", "see http://example.com/ and write to me");
    assert_queued(&smtp.send(SENDER, RECIPIENT, &ordinary));
    assert_eq!(tags(&site.sink.next().data), [""; 0]);
}

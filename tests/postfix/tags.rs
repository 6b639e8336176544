//! The header of tagged mail.

use crate::support::dns::HELO;
use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

/// Each of these only tags.
const TAGGING: [(&str, &str); 3] = [
    NO_GREYLIST,
    ("address.toml", "mode = \"enforce\"\naction = \"tag\"\n"),
    ("attachments.toml", "forbidden_extension = \"tag\"\n"),
];
const ODD: &str = "o'brien@example.test";

/// What each `X-Greylag` field of a message says, unfolded.
pub(crate) fn tags(message: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(message).replace("\r\n ", " ").replace("\r\n\t", " ");
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    header.lines().filter_map(|line| line.strip_prefix("X-Greylag: ")).map(str::to_owned).collect()
}

#[test]
fn the_milter_names_the_reasons_of_all_stages_in_one_header() {
    let site = Site::start(HookUp::Milter, &TAGGING);
    let program = mail::with_attachment("tagged", "evil.exe", b"MZ not really");
    let mut smtp = site.connect();
    smtp.ehlo("no-address.example");
    smtp.mail(SENDER);
    for recipient in [RECIPIENT, ODD] {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok");
    }
    assert_queued(&smtp.data(&program));
    let delivered = site.sink.next().data;
    assert!(delivered.ends_with(&program), "nothing else is changed");
    assert_eq!(
        tags(&delivered),
        ["tag; reason=attachment.forbidden_extension; reason=helo.no_address; \
             reason=address.invalid_local_part"]
    );

    // The next message has its own reasons.
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("second")));
    assert_eq!(tags(&site.sink.next().data), ["tag; reason=helo.no_address"]);
    // What was reset, or refused, leaves none behind.
    smtp.mail(SENDER);
    smtp.rcpt(ODD);
    smtp.rset();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("third")));
    assert_eq!(tags(&site.sink.next().data), ["tag; reason=helo.no_address"]);
}

#[test]
fn the_policy_service_prepends_one_header_a_message() {
    let site = Site::start(HookUp::Policy, &TAGGING);
    let mut smtp = site.connect();
    smtp.ehlo("no-address.example");
    smtp.mail(SENDER);
    for recipient in [ODD, RECIPIENT, "carol@example.test"] {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok");
    }
    assert_queued(&smtp.data(&mail::plain("first")));
    assert_eq!(
        tags(&site.sink.next().data),
        ["tag; reason=address.invalid_local_part; reason=helo.no_address"]
    );
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("second")));
    assert_eq!(tags(&site.sink.next().data), ["tag; reason=helo.no_address"]);
}

#[test]
fn with_both_hooks_there_is_one_header_with_the_reasons_of_both() {
    let site = Site::start(HookUp::Both, &TAGGING);
    let program = mail::with_attachment("tagged", "evil.exe", b"MZ not really");
    let mut smtp = site.connect();
    smtp.ehlo("no-address.example");
    smtp.mail(SENDER);
    for recipient in [RECIPIENT, ODD] {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok");
    }
    assert_queued(&smtp.data(&program));
    assert_eq!(
        tags(&site.sink.next().data),
        ["tag; reason=attachment.forbidden_extension; reason=helo.no_address; \
             reason=address.invalid_local_part"]
    );
    // Found by the policy service alone.
    assert_queued(&smtp.send(SENDER, RECIPIENT, &mail::plain("second")));
    assert_eq!(tags(&site.sink.next().data), ["tag; reason=helo.no_address"]);
}

#[test]
fn with_both_hooks_there_is_one_header_on_mail_from_this_host_too() {
    let site = Site::start(HookUp::Both, &TAGGING);
    let mut smtp = Smtp::connect(site.postfix.port());
    smtp.ehlo(HELO);
    assert_queued(&smtp.send(SENDER, ODD, &mail::with_attachment("tagged", "evil.exe", b"MZ not really")));
    assert_eq!(
        tags(&site.sink.next().data),
        ["tag; reason=attachment.forbidden_extension; reason=address.invalid_local_part"]
    );
    // What was said when it came in the first time stays.
    let judged = [&b"X-Greylag: tag; reason=auth.spf_none\r\n"[..], &mail::plain("again")].concat();
    assert_queued(&smtp.send(SENDER, ODD, &judged));
    let tags = tags(&site.sink.next().data);
    assert_eq!(tags, ["tag; reason=address.invalid_local_part", "tag; reason=auth.spf_none"]);
}

#[test]
fn a_header_that_pretends_to_be_ours_is_removed() {
    let site = Site::start(HookUp::Milter, &TAGGING);
    let forged = |subject| {
        let header = b"X-Greylag: tag; reason=forged\r\nx-greylag: clean\r\n X-Greylag: folded\r\n";
        [&header[..], &mail::plain(subject)].concat()
    };
    let mut smtp = site.connect();
    assert_queued(&smtp.send(SENDER, RECIPIENT, &forged("clean")));
    let delivered = String::from_utf8_lossy(&site.sink.next().data).to_lowercase();
    assert!(!delivered.contains("x-greylag"), "{delivered}");

    smtp.ehlo("no-address.example");
    assert_queued(&smtp.send(SENDER, RECIPIENT, &forged("tagged")));
    let delivered = site.sink.next().data;
    assert_eq!(tags(&delivered), ["tag; reason=helo.no_address"]);
    assert_eq!(String::from_utf8_lossy(&delivered).to_lowercase().matches("x-greylag").count(), 1);
}

/// Postfix looks through the whole header for each field that is removed.
#[test]
fn a_message_with_more_such_headers_than_any_honest_one_is_refused() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let message = |tags: usize, results: usize| {
        let header =
            "X-Greylag:a\r\n".repeat(tags) + &"Authentication-Results: mx.example.test\r\n".repeat(results);
        [header.as_bytes(), &mail::plain("forged")].concat()
    };
    let mut smtp = site.connect();
    for (tags, results) in [(101, 0), (1, 100), (8000, 0)] {
        assert_eq!(
            smtp.send(SENDER, RECIPIENT, &message(tags, results)),
            "554 5.6.0 Too many X-Greylag or Authentication-Results header fields, remove them and send again",
            "{tags} tags, {results} results"
        );
    }
    assert_eq!(site.greylag.log_lines(&["stage=end_of_message", "reason=content.forged_fields"]).len(), 3);
    assert_queued(&smtp.send(SENDER, RECIPIENT, &message(50, 50)));
    let delivered = site.sink.next().data;
    assert_eq!(tags(&delivered), [""; 0]);
    let text = String::from_utf8_lossy(&delivered);
    assert_eq!(text.matches("Authentication-Results: mx.example.test").count(), 1, "ours alone: {text}");
}

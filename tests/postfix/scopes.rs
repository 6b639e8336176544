//! Scopes by everything Postfix tells of a session. What only a handshake would show (TLS) is tested beside the code.

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::support::smtp::Smtp;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

/// Each lets a bogus HELO name pass.
const SCOPES: &str = "
[[scope]]
name = \"sender\"
sender = [\"@partner.example\", \"<>\"]
set.helo.mode = \"off\"
[[scope]]
name = \"recipient suffix\"
recipient = [\"@example.net\", \"@*.example.org\"]
set.helo.mode = \"off\"
[[scope]]
name = \"client network\"
client = [\"203.0.113.0/24\"]
set.helo.mode = \"off\"
[[scope]]
name = \"helo\"
helo = [\"scanner\"]
set.helo.mode = \"off\"
[[scope]]
name = \"verified name\"
client_name = [\"*.partner.example\"]
set.helo.mode = \"off\"
[[scope]]
name = \"login\"
authenticated = true
set.helo.mode = \"off\"
";

const STRANGER: &str = "ADDR=198.51.100.10 NAME=[UNAVAILABLE]";

/// XCLIENT attributes, HELO name, sender, recipient, and whether a scope holds.
const SESSIONS: [(&str, &str, &str, &str, bool); 14] = [
    (STRANGER, "bogus", SENDER, RECIPIENT, false),
    (STRANGER, "bogus", "news@partner.example", RECIPIENT, true),
    (STRANGER, "bogus", "news@sub.partner.example", RECIPIENT, false),
    (STRANGER, "bogus", "", RECIPIENT, true),
    (STRANGER, "bogus", SENDER, "carol@example.net", true),
    (STRANGER, "bogus", SENDER, "carol@EXAMPLE.net", true),
    (STRANGER, "bogus", SENDER, "dave@sub.example.org", true),
    (STRANGER, "bogus", SENDER, "dave@example.org", false),
    ("ADDR=203.0.113.9 NAME=[UNAVAILABLE]", "bogus", SENDER, RECIPIENT, true),
    ("ADDR=203.0.112.9 NAME=[UNAVAILABLE]", "bogus", SENDER, RECIPIENT, false),
    (STRANGER, "Scanner", SENDER, RECIPIENT, true),
    ("ADDR=198.51.100.10 NAME=mail.partner.example", "bogus", SENDER, RECIPIENT, true),
    ("ADDR=198.51.100.10 NAME=mail.partner.test", "bogus", SENDER, RECIPIENT, false),
    ("ADDR=198.51.100.10 NAME=[UNAVAILABLE] LOGIN=joe", "bogus", SENDER, RECIPIENT, true),
];

#[test]
fn each_condition_holds_for_the_sessions_it_names_and_no_others() {
    for hook_up in [HookUp::Milter, HookUp::Policy] {
        let no_auth = ("auth.toml", "mode = \"off\"\n");
        let site = Site::start(hook_up, &[NO_GREYLIST, no_auth, ("scopes.toml", SCOPES)]);
        for (client, helo, sender, recipient, passes) in SESSIONS {
            let mut smtp = Smtp::connect(site.postfix.port());
            smtp.xclient_with(client);
            smtp.ehlo(helo);
            assert_eq!(smtp.mail(sender), "250 2.1.0 Ok");
            let reply = smtp.rcpt(recipient);
            let refused = match hook_up {
                HookUp::Policy => {
                    format!(
                        "550 5.7.1 <{recipient}>: Recipient address rejected: Access denied - bogus HELO [4]"
                    )
                }
                _ => format!("550 5.7.1 <{recipient}>... Access denied - bogus HELO [4]"),
            };
            let expected = if passes { "250 2.1.5 Ok".to_owned() } else { refused };
            assert_eq!(reply, expected, "{hook_up:?}: {client} {helo} {sender} {recipient}");
        }
    }
}

#[test]
fn a_scope_may_name_the_listener() {
    let scope = "[[scope]]\nname = \"x\"\nlistener = [\"$POLICY\"]\nset.helo.mode = \"off\"\n";
    for (hook_up, expected) in [
        (HookUp::Policy, "250 2.1.5 Ok"),
        (HookUp::Milter, "550 5.7.1 <bob@example.test>... Access denied - bogus HELO [4]"),
    ] {
        let site = Site::start(hook_up, &[NO_GREYLIST, ("scopes.toml", scope)]);
        let mut smtp = site.connect();
        smtp.ehlo("bogus");
        smtp.mail(SENDER);
        assert_eq!(smtp.rcpt(RECIPIENT), expected, "{hook_up:?}");
    }
}

#[test]
fn the_address_rule_is_enforced_where_a_scope_says_so() {
    let scope =
        "[[scope]]\nname = \"ours\"\nrecipient = [\"@example.net\"]\nset.address.mode = \"enforce\"\n";
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST, ("scopes.toml", scope)]);
    let mut smtp = site.connect();
    smtp.mail(SENDER);
    let text = "Bad recipient address: only letters, digits and -_.+ before the @, - neither first nor last, \
                . neither first nor last nor doubled";
    assert_eq!(smtp.rcpt("bob-@example.net"), format!("550 5.1.3 <bob-@example.net>... {text}"));
    assert_eq!(smtp.rcpt("o'brien@example.net"), format!("550 5.1.3 <o'brien@example.net>... {text}"));
    let passing = ["bob+tag@example.net", "srs0=hhh=tt=orig.example=al@example.net", "o'brien@example.org"];
    for recipient in passing {
        assert_eq!(smtp.rcpt(recipient), "250 2.1.5 Ok", "{recipient}");
    }
    assert_queued(&smtp.data(&mail::plain("names")));
    assert_eq!(site.sink.next().recipients.len(), passing.len());
    // The postmaster has other rules for content.
    assert_queued(&smtp.send(SENDER, "postmaster@example.net", &mail::plain("to-postmaster")));
    let would = [("reason", "address.invalid_local_part"), ("action", "reject")];
    assert_eq!(site.greylag.metrics().sum("greylag_would_total", &would), 1.0);
}

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::facts::{Recipient, ReversePath};
use crate::policy::{Mode, Policy};

fn policy(scopes: &str) -> Policy {
    let files = BTreeMap::from([("scopes.toml".to_owned(), scopes.to_owned())]);
    Policy::load(&files).map(|(policy, _)| policy).unwrap()
}

fn scope(name: &str, rest: &str) -> String {
    format!("[[scope]]\nname = {name:?}\n{rest}\n")
}

fn to(recipient: &str) -> Facts {
    Facts { recipient: Some(Recipient::parse(recipient)), ..Facts::default() }
}

fn some_facts() -> Facts {
    let mut facts = to("Bob@Dest.test");
    facts.connection.client = Client::parse("192.0.2.7");
    facts.connection.client_name = Some("mail.partner.test".into());
    facts.connection.listener = "127.0.0.1:10034".into();
    facts.helo = Some("MAIL.Partner.test.".into());
    facts.sender = Some(ReversePath::parse("<News@Partner.test>"));
    facts.tls = Some("TLSv1.3".into());
    facts.policy_context = Some("inbound".into());
    facts
}

#[test]
fn each_condition_is_compared_with_its_fact() {
    for (condition, holds) in [
        ("client = [\"192.0.2.0/24\"]", true),
        ("client = [\"198.51.100.0/24\", \"192.0.2.7\"]", true),
        ("client = [\"198.51.100.0/24\"]", false),
        ("client_name = [\"*.partner.test\"]", true),
        ("client_name = [\"partner.test\"]", false),
        ("helo = [\"mail.partner.test\"]", true),
        ("helo = [\"other.test\"]", false),
        ("sender = [\"news@partner.test\"]", true),
        ("sender = [\"<>\"]", false),
        ("recipient = [\"@dest.test\"]", true),
        ("recipient = [\"bob@\"]", true),
        ("recipient = [\"alice@dest.test\"]", false),
        ("authenticated = false", true),
        ("authenticated = true", false),
        ("login = [\"joe\"]", false),
        ("policy_context = [\"submission\", \"inbound\"]", true),
        ("policy_context = [\"Inbound\"]", false),
        ("tls = true", true),
        ("tls = false", false),
        ("listener = [\"127.0.0.1:10034\"]", true),
        ("listener = [\"unix:/run/x\"]", false),
        ("client = [\"192.0.2.7\"]\nrecipient = [\"bob@\"]\ntls = true", true),
        ("client = [\"192.0.2.7\"]\nrecipient = [\"bob@\"]\ntls = false", false),
        ("sender = [\"@partner.test\"]\nrecipient = [\"alice@\"]", false),
    ] {
        let policy = policy(&scope("x", &format!("{condition}\nset.helo.mode = \"off\"")));
        let expected = if holds { Mode::Off } else { Mode::Enforce };
        assert_eq!(policy.settings(&some_facts()).helo.mode, expected, "{condition}");
        assert_eq!(policy.scope_names(&some_facts()).len(), usize::from(holds), "{condition}");
    }
}

#[test]
fn what_is_not_known_matches_no_list() {
    for condition in [
        "client = [\"0.0.0.0/0\", \"::/0\"]",
        "client_name = [\"*.test\"]",
        "helo = [\"*.test\"]",
        "sender = [\"<>\"]",
        "recipient = [\"bob@\"]",
        "login = [\"*@x.test\"]",
        "policy_context = [\"x\"]",
    ] {
        let policy = policy(&scope("x", &format!("{condition}\nset.helo.mode = \"off\"")));
        assert_eq!(policy.scope_names(&Facts::default()), Vec::<&str>::new(), "{condition}");
    }
}

#[test]
fn a_scope_of_a_recipient_holds_for_its_extensions_however_it_is_found() {
    let many: String = (0..INDEXED).map(|number| format!(", \"r{number}@x.test\"")).collect();
    for more in ["", &many] {
        let policy = policy(
            &(scope("bob", &format!("recipient = [\"bob@x.test\"{more}]\nset.helo.mode = \"off\""))
                + &scope("shop", "recipient = [\"bob+shop@x.test\"]\nset.helo.mode = \"monitor\"")),
        );
        for (recipient, holding, mode) in [
            ("<bob@x.test>", &["bob"][..], Mode::Off),
            ("<Bob+news@x.test>", &["bob"], Mode::Off),
            ("<bob+shop@x.test>", &["bob", "shop"], Mode::Monitor),
            ("<bobby@x.test>", &[], Mode::Enforce),
        ] {
            assert_eq!(policy.scope_names(&to(recipient)), holding, "{recipient}");
            assert_eq!(policy.settings(&to(recipient)).helo.mode, mode, "{recipient}");
        }
    }
}

#[test]
fn logins_are_named_or_taken_by_their_domain() {
    let policy = policy(&scope("x", "login = [\"joe\", \"*@x.test\"]\nset.helo.mode = \"off\""));
    for (login, holds) in [("Joe", true), ("ann@X.test", true), ("ann", false)] {
        let facts = Facts { login: Some(login.into()), ..Facts::default() };
        assert_eq!(policy.scope_names(&facts).contains(&"x"), holds, "{login}");
    }
}

#[test]
fn the_null_reverse_path_and_local_submission_can_be_named() {
    let policy = policy(
        &(scope("bounces", "sender = [\"<>\"]\nset.helo.mode = \"off\"")
            + &scope("here", "client = [\"127.0.0.0/8\"]\nset.helo.mode = \"off\"")),
    );
    let mut facts = Facts { sender: Some(ReversePath::Null), ..Facts::default() };
    assert_eq!(policy.scope_names(&facts), ["bounces"]);
    facts.connection.client = Client::Local;
    assert_eq!(policy.scope_names(&facts), ["bounces", "here"]);
}

#[test]
fn the_later_scope_wins_for_what_both_set_and_only_for_that() {
    let policy = policy(
        &(scope("a", "recipient = [\"@x.test\"]\nset.helo.mode = \"monitor\"\nset.greylist.mode = \"off\"")
            + &scope("b", "recipient = [\"bob@\"]\nset.helo.mode = \"off\"")
            + &scope("c", "tls = true\nset.helo.missing = \"tag\"")),
    );
    let mode = |facts: &Facts| policy.settings(facts).helo.mode;
    assert_eq!(mode(&to("alice@x.test")), Mode::Monitor);
    assert_eq!(mode(&to("bob@x.test")), Mode::Off);
    assert_eq!(mode(&to("bob@y.test")), Mode::Off);
    assert_eq!(policy.settings(&to("bob@x.test")).greylist.mode, Mode::Off);
    let facts = Facts { tls: Some(String::new()), ..to("alice@x.test") };
    assert_eq!(policy.settings(&facts).helo.mode, Mode::Monitor);
    assert_eq!(policy.settings(&facts).helo.missing.action(), crate::verdict::Action::Tag);
}

#[test]
fn equal_settings_are_one_and_untouched_ones_stay() {
    let policy = policy(
        &(scope("a", "recipient = [\"@a.test\"]\nset.attachments.mode = \"off\"")
            + &scope("b", "recipient = [\"@b.test\"]\nset.attachments.mode = \"off\"")
            + &scope("bob", "recipient = [\"bob@\"]\nset.helo.mode = \"off\"")),
    );
    let [base, a, b, bob_a] =
        ["x@x.test", "x@a.test", "x@b.test", "bob@a.test"].map(|to_| policy.settings(&to(to_)));
    assert!(Arc::ptr_eq(&base, policy.base()));
    assert!(Arc::ptr_eq(&a, &policy.settings(&to("y@a.test"))));
    assert!(!Arc::ptr_eq(&a.attachments, &base.attachments));
    assert!(Arc::ptr_eq(&a.attachments, &b.attachments), "two scopes that set the same");
    assert!(Arc::ptr_eq(&a.attachments, &bob_a.attachments), "with another scope beside it");
    assert!(Arc::ptr_eq(&a.helo, &base.helo), "not touched");
    assert!(!Arc::ptr_eq(&bob_a.helo, &base.helo));
}

#[test]
fn a_scope_that_sets_what_holds_anyway_changes_nothing() {
    let policy = policy(&scope("x", "tls = false\nset.helo.mode = \"enforce\""));
    assert!(Arc::ptr_eq(&policy.settings(&Facts::default()).helo, &policy.base().helo));
}

#[test]
fn the_shipped_scopes_exempt_ourselves_our_users_and_the_role_addresses() {
    let policy = Policy::default();
    let exempt = |facts: &Facts| {
        let settings = policy.settings(facts);
        assert_eq!(settings.attachments.mode, Mode::Enforce);
        (settings.helo.mode, settings.greylist.mode) == (Mode::Off, Mode::Off)
    };
    for client in ["127.0.0.1", "::1", "127.255.0.1"] {
        let mut facts = to("bob@x.test");
        facts.connection.client = Client::parse(client);
        assert!(exempt(&facts), "{client}");
    }
    assert!(exempt(&Facts { login: Some("bob".into()), ..to("bob@x.test") }));
    assert!(exempt(&to("PostMaster@x.test")));
    assert!(exempt(&to("abuse")));
    for (client, recipient) in [("10.0.0.1", "bob@x.test"), ("172.17.0.1", "postmaster2@x.test")] {
        let mut facts = to(recipient);
        facts.connection.client = Client::parse(client);
        assert!(!exempt(&facts), "{client} {recipient}");
    }
}

#[test]
fn ten_thousand_domains_with_a_scope_each_are_found_by_index() {
    let text: String = (0..10_000)
        .map(|n| scope(&format!("d{n}"), &format!("recipient = [\"@d{n}.test\"]\nset.helo.mode = \"off\"")))
        .collect();
    let policy = policy(&text);
    assert!(policy.scopes.others.is_empty());
    assert_eq!(policy.scope_names(&to("x@d7777.test")), ["d7777"]);
    assert_eq!(policy.scope_names(&to("x@d10000.test")), Vec::<&str>::new());
}

#[test]
fn a_scope_with_a_long_list_is_tested_by_its_own() {
    let list: Vec<String> = (0..=INDEXED).map(|n| format!("@d{n}.test")).collect();
    let policy = policy(&scope("long", &format!("recipient = {list:?}\nset.helo.mode = \"off\"")));
    assert_eq!(policy.scopes.others, [0]);
    assert_eq!(policy.scope_names(&to("x@d100.test")), ["long"]);
    assert_eq!(policy.scope_names(&Facts::default()), Vec::<&str>::new());
}

#[test]
fn postmaster_and_abuse_are_tagged_at_most_whatever_the_scopes_are() {
    let strict = "set.auth.spf_fail = \"reject\"\nset.auth.spf_none = \"defer\"\nset.auth.dmarc_reject = true\n\
                  set.auth.spf_neutral = \"accept\"";
    let policy = policy(&scope("strict", &format!("client = [\"0.0.0.0/0\"]\n{strict}")));
    let found = |recipient: &str, client: &str| {
        let mut facts = to(recipient);
        facts.connection.client = Client::parse(client);
        let auth = Arc::clone(&policy.settings(&facts).auth);
        let actions = [auth.spf_fail, auth.spf_none, auth.spf_neutral].map(|it| it.action().name());
        (actions, auth.dmarc_reject)
    };
    assert_eq!(found("joe@x.test", "192.0.2.1"), (["reject", "defer", "accept"], true));
    for role in ["postmaster@x.test", "Abuse@y.test"] {
        assert_eq!(found(role, "192.0.2.1"), (["tag", "tag", "accept"], false), "{role}");
        // Where no scope holds.
        assert_eq!(found(role, "2001:db8::1"), (["tag", "tag", "tag"], false), "{role}");
    }
    assert_eq!(found("joe@x.test", "2001:db8::1"), (["reject", "tag", "tag"], false));
}

use super::*;
use crate::content::text::{Texts, visible};

fn places(fields: &[&str], others: &[Location]) -> Locations {
    Locations {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        all_fields: false,
        others: others.iter().copied().collect(),
    }
}

fn body() -> Locations {
    places(&[], &[Location::Body])
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn read(bodies: &[&str]) -> Texts {
    Texts { bodies: bodies.iter().map(|text| visible(text)).collect(), ..Texts::default() }
}

fn matching(set: &RuleSet, texts: &Texts) -> Vec<usize> {
    set.matches(texts, |_| true, &Cancel::default()).into_iter().map(|found| found.rule).collect()
}

#[test]
fn words_are_whole_and_texts_are_not() {
    let set = RuleSet::new(vec![
        Rule { places: body(), words: texts(&["free gift", "win", "$$$"]), ..Rule::default() },
        Rule { places: body(), contains: texts(&["pill"]), ..Rule::default() },
    ])
    .unwrap();
    for (text, rules) in [
        ("a FREE\n  gift!", &[0][..]),
        ("carefree gift", &[]),
        ("free gifts", &[]),
        ("window winner", &[]),
        ("you win.", &[0]),
        ("pay$$$now", &[0]),
        ("caterpillar", &[1]),
        ("Pillars win", &[0, 1]),
        ("", &[]),
    ] {
        assert_eq!(matching(&set, &read(&[text])), rules, "{text}");
    }
}

#[test]
fn expressions_ignore_case_unless_they_say_otherwise() {
    let pattern = |text| Pattern::parse(text).unwrap();
    let set = RuleSet::new(vec![
        Rule { places: body(), patterns: vec![pattern(r"you have won \d+")], ..Rule::default() },
        Rule {
            places: body(),
            patterns: vec![pattern(r"^\d{4}$"), pattern("(?-i:ACT now)")],
            ..Rule::default()
        },
    ])
    .unwrap();
    assert_eq!(set.always, [(1, 0)]);
    for (text, rules) in [
        ("YOU HAVE\nWON 100", &[0][..]),
        ("you have won nothing", &[]),
        ("1234", &[1]),
        ("12345", &[]),
        ("act NOW", &[]),
        ("please ACT now", &[1]),
    ] {
        assert_eq!(matching(&set, &read(&[text])), rules, "{text}");
    }
}

#[test]
fn a_rule_looks_only_where_it_says() {
    let word = |places| Rule { places, words: texts(&["x1"]), ..Rule::default() };
    let set = RuleSet::new(vec![
        word(places(&["subject"], &[])),
        word(Locations { all_fields: true, ..Locations::default() }),
        word(places(&[], &[Location::Link])),
        word(places(&[], &[Location::AttachmentName])),
    ])
    .unwrap();
    let mut found = Texts { fields: vec![("from".into(), "x1".into())], ..read(&["x1"]) };
    assert_eq!(matching(&set, &found), [1]);
    found.fields.push(("subject".into(), "x1".into()));
    found.attachment_names.push("x1.pdf".into());
    assert_eq!(matching(&set, &found), [0, 1, 3]);
    let first = &set.matches(&found, |rule| rule == 0, &Cancel::default())[0];
    assert_eq!((first.field.as_str(), first.excerpt.as_str()), ("subject", "x1"));
}

#[test]
fn an_excuse_holds_for_the_whole_message() {
    let rule =
        Rule { places: body(), words: texts(&["invoice"]), unless: texts(&["acme ltd"]), ..Rule::default() };
    let set = RuleSet::new(vec![rule]).unwrap();
    assert_eq!(matching(&set, &read(&["invoice"])), [0]);
    assert_eq!(matching(&set, &read(&["invoice", "from ACME Ltd."])), [0; 0]);
    assert_eq!(matching(&set, &read(&["invoice of acme ltda"])), [0]);
}

#[test]
fn expressions_have_a_bounded_size_and_a_reason_when_refused() {
    assert_eq!(Pattern::parse(r"\w{1000}").err(), Some(Fault::TooLarge));
    assert_eq!(Pattern::parse("").err(), Some(Fault::Empty));
    assert_eq!(Pattern::parse("ab(c").err(), Some(Fault::Syntax("unclosed group".into(), 3)));
    let pattern = |text| Pattern::parse(text).unwrap();
    assert!(pattern(r"a\nb").never_matches() && pattern("a  b").never_matches());
    assert!(pattern(r"[^\s\S]").never_matches());
    assert!(!pattern(r"a\s+b|x").never_matches() && !pattern(r"a(\n)?").never_matches());
    assert!(pattern("a*").matches_everything() && !pattern("^$").matches_everything());
}

#[test]
fn no_rules_match_nothing() {
    let set = RuleSet::new(Vec::new()).unwrap();
    assert_eq!(matching(&set, &read(&["anything"])), [0; 0]);
}

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::content::text::{Texts, visible};

fn places(fields: &[&str], others: &[Location]) -> Locations {
    Locations {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        all_fields: false,
        others: others.to_vec(),
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

/// The expressions that no text leads to.
fn always(set: &RuleSet) -> Vec<usize> {
    set.always.iter().flat_map(|together| together.expressions.clone()).collect()
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
    assert_eq!(always(&set), [1]);
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
    for (written, never) in [
        (r"a\nb", true),
        ("a  b", true),
        (r"[^\s\S]", true),
        (r"a\s{2}b", true),
        (r"a\s+b|x", false),
        (r"a(\n)?", false),
        (r"a\nb|c", false),
    ] {
        assert_eq!(Pattern::never_matches(written), never, "{written}");
    }
    assert!(pattern("a*").matches_everything() && !pattern("^$").matches_everything());
}

#[test]
fn expressions_are_tried_wherever_what_they_need_stands() {
    let patterns = [
        r"win\s+\$?\d{2,}",
        r"[a-z]{0,5}lottery\b",
        "dear.*prize draw",
        r"\w+@evil\.test",
        r"İstanbul|\bstraße \d",
        "(?-i:ACT) now!*$",
        r"\bпр[ие]вет\b",
        r"\d{4}-\d{4}",
    ];
    let rule = |text: &str| Rule {
        places: body(),
        patterns: vec![Pattern::parse(text).unwrap()],
        ..Rule::default()
    };
    let set = RuleSet::new(patterns.iter().map(|text| rule(text)).collect()).unwrap();
    assert_eq!(always(&set), [7]);
    let long = format!("dear {}friend, a PRIZE draw", "dear win $1 lotteryx act now ".repeat(2_000));
    for (text, rules, excerpt) in [
        ("win $7 and Win\n$77", &[0][..], "Win $77"),
        ("win $, win $x, win 7", &[], ""),
        ("xxxxxxxxLottery", &[1], "xxxxxLottery"),
        ("lotteries", &[], ""),
        ("Dear all: the prize draw", &[2], "Dear all: the prize draw"),
        ("the prize draw, dear", &[], ""),
        ("mail me@EVIL.test", &[3], "me@EVIL.test"),
        ("@evil.test", &[], ""),
        // Small letters of other lengths before it.
        ("İİİ in Strasse 1, STRAẞE 2", &[4], "STRAẞE 2"),
        ("in Strasse 1", &[], ""),
        ("İẞİ in Straße 2", &[4], "Straße 2"),
        ("in İstanbul", &[4], "İstanbul"),
        ("please ACT NOW!!", &[5], "ACT NOW!!"),
        ("please act now!!", &[], ""),
        ("ACT NOW, please", &[], ""),
        ("скажи ПРИВЕТ миру", &[6], "ПРИВЕТ"),
        ("приветы", &[], ""),
        ("приветы, но не привет", &[6], "привет"),
        ("1234-56789", &[7], "1234-5678"),
        (&long, &[2], &long[..80]),
    ] {
        let texts = read(&[text]);
        let found = set.matches(&texts, |_| true, &Cancel::default());
        assert_eq!(found.iter().map(|found| found.rule).collect::<Vec<_>>(), rules, "{text:.100}");
        assert_eq!(found.first().map_or("", |found| found.excerpt.as_str()), excerpt, "{text:.100}");
    }
}

#[test]
fn a_text_that_tries_an_expression_everywhere_costs_no_more_than_reading_it() {
    let patterns = [r"lottery.*\d{9}", r"\blottery\W*(?:\w+\W+)*prize\b", r"[a-z]{0,20}lottery.*x{9}"];
    let rule = |text: &&str| Rule {
        places: body(),
        patterns: vec![Pattern::parse(text).unwrap()],
        ..Rule::default()
    };
    let set = RuleSet::new(patterns.iter().map(rule).collect()).unwrap();
    let reads = |times: usize, word: &str| {
        let texts = read(&[&word.repeat(times)]);
        let processor_time = || clock_gettime(ClockId::ThreadCPUTime);
        let began = processor_time();
        assert_eq!(matching(&set, &texts), [0; 0]);
        let ended = processor_time();
        (ended.tv_sec - began.tv_sec) * 1_000_000 + (ended.tv_nsec - began.tv_nsec) / 1_000
    };
    for word in ["lottery ", "lottery \u{e9} "] {
        // Tried from each place to the end of the text, the second would take a hundred times as long as the first.
        let (little, much) = (reads(200, word), reads(2_000, word));
        assert!(much < little * 40, "{word}: {little} µs, {much} µs");
    }
}

#[test]
fn expressions_without_fixed_texts_are_found_together_as_each_alone() {
    // More than two groups of them.
    let written: Vec<String> = (0..80)
        .map(|number| match number % 5 {
            0 => format!(r"\d{{{}}}", number / 5 + 3),
            1 => format!(r"\b[a-f]{{{}}}\b", number / 5 + 2),
            2 => format!(r"^\W*\w{{{}}}\W", number / 5 + 1),
            3 => format!(r"[0-9]\s[a-z]{{{}}}$", number / 5 + 1),
            _ => format!(r"(?-i)[A-Z]{{{}}}", number / 5 + 2),
        })
        .collect();
    let rule = |text: &String| Rule {
        places: body(),
        patterns: vec![Pattern::parse(text).unwrap()],
        ..Rule::default()
    };
    let set = RuleSet::new(written.iter().map(rule).collect()).unwrap();
    assert_eq!(set.always.iter().map(|it| it.expressions.len()).collect::<Vec<_>>(), [32, 32, 16]);
    assert!(set.always.iter().all(|it| it.group.is_some()));
    for text in [
        "call 0123456789",
        "deface the cafe, faded",
        "\u{e9}abc",
        "ABCDEFG",
        "in 7 days",
        "call 12345 7 x",
        "...",
        "",
    ] {
        let alone: Vec<usize> = (0..written.len())
            .filter(|number| {
                let set = RuleSet::new(vec![rule(&written[*number])]).unwrap();
                matching(&set, &read(&[text])) == [0]
            })
            .collect();
        assert_eq!(matching(&set, &read(&[text])), alone, "{text}");
    }
}

#[test]
fn no_rules_match_nothing() {
    let set = RuleSet::new(Vec::new()).unwrap();
    assert_eq!(matching(&set, &read(&["anything"])), [0; 0]);
}

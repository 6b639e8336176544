//! What content rules cost, and how that grows: with the text, not with the number of rules.
//!
//! `cargo bench --ignore-rust-version --bench content` prints microseconds a mail and the ratios that matter. The time is that of the
//! processor, so that what else runs on the machine counts little.
#![allow(clippy::panic, reason = "a bench fails by panicking")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use greylag::content::{Cancel, inspect};
use greylag::facts::Message;
use greylag::policy::Policy;
use rustix::time::{ClockId, clock_gettime};

const SIZES: [usize; 2] = [100_000, 1_000_000];
const RULES: [usize; 5] = [0, 10, 100, 1_000, 10_000];

fn main() {
    let mut words = Words(88_172_645_463_325_252);
    let vocabulary: Vec<String> = (0..5_000).map(|_| words.word()).collect();
    let mails = SIZES.map(|size| mail(&mut words, &vocabulary, size));
    println!("{:>8} {:>10} {:>12} {:>12} {:>12}", "rules", "text kB", "median µs", "least µs", "ns a byte");
    let mut medians = BTreeMap::new();
    for rules in RULES {
        let policy = policy(&mut words, &vocabulary, rules);
        for (size, mail) in SIZES.iter().zip(&mails) {
            let times = measure(&policy, mail);
            let (median, least) = (times[times.len() / 2], times[0]);
            let a_byte = median.as_nanos() as f64 / *size as f64;
            println!(
                "{rules:>8} {:>10} {:>12} {:>12} {a_byte:>12.1}",
                size / 1_000,
                median.as_micros(),
                least.as_micros()
            );
            medians.insert((*size, rules), median.as_secs_f64());
        }
    }
    let ratio = |one, other| medians[&one] / medians[&other];
    println!("10 × the text, 1,000 rules:   {:5.1} × the time", ratio((1_000_000, 1_000), (100_000, 1_000)));
    println!(
        "10 × the text, 10,000 rules:  {:5.1} × the time",
        ratio((1_000_000, 10_000), (100_000, 10_000))
    );
    println!("100 × the rules, 100 kB:      {:5.1} × the time", ratio((100_000, 1_000), (100_000, 10)));
    println!("1,000 × the rules, 100 kB:    {:5.1} × the time", ratio((100_000, 10_000), (100_000, 10)));
    println!("1,000 × the rules, 1 MB:      {:5.1} × the time", ratio((1_000_000, 10_000), (1_000_000, 10)));
    bare(&mails[0]);
    println!("1,000 rules on 100 kB:        {:5.2} ms (wanted: under 5)", medians[&(100_000, 1_000)] * 1e3);
}

/// Expressions in which no text is fixed, so that they cannot be told from afar: they are looked for together.
fn bare(mail: &Message) {
    for rules in [1, 10, 100, 1_000] {
        let rule = |number: usize| {
            let (digits, letters) = (number % 37 + 3, number / 37 + 2);
            format!(
                "[[rule]]\nname = \"{number}\"\nin = [\"body\"]\nregex = ['\\d{{{digits}}}[^a-z][a-f]{{{letters}}}']\naction = \"tag\"\n"
            )
        };
        let times = measure(&load((0..rules).map(rule).collect()), mail);
        let median = times[times.len() / 2];
        println!("{rules:>8} expressions without fixed texts, 100 kB: {:>8} µs", median.as_micros());
    }
}

/// Times of one mail, in their order; after some that warm up.
fn measure(policy: &Policy, mail: &Message) -> Vec<Duration> {
    let settings = &policy.base().content;
    let inspect = || black_box(inspect(black_box(mail), settings, &Cancel::default()));
    (0..3).for_each(|_| drop(inspect()));
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let began = processor_time();
            inspect();
            processor_time() - began
        })
        .collect();
    times.sort();
    times
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Of ten rules, six have words, two texts and two regular expressions, as administrators write them.
fn policy(words: &mut Words, vocabulary: &[String], rules: usize) -> Policy {
    let rule = |number: usize| {
        let [a, b, c] = std::array::from_fn(|_| words.pick(vocabulary).to_owned());
        let patterns = match number % 10 {
            0..6 => format!("words = [\"{a} {b}\", \"{}\"]", words.word()),
            6 | 7 => format!("contains = [\"{a}{b}\"]"),
            8 => format!("regex = ['\\b{a}\\W+(?:\\w+\\W+){{0,3}}{b}\\b']"),
            _ => format!("regex = ['{a}\\s+\\d{{1,3}}\\s*(?:{b}|{c})']"),
        };
        format!(
            "[[rule]]\nname = \"{number}\"\nin = [\"header:Subject\", \"body\", \"links\"]\n{patterns}\naction = \"tag\"\n"
        )
    };
    load((0..rules).map(rule).collect())
}

fn load(rules: String) -> Policy {
    let text = format!("max_text = \"8MiB\"\n{rules}");
    let files = BTreeMap::from([("content.toml".to_owned(), text)]);
    match Policy::load(&files) {
        Ok((policy, _)) => policy,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// Half of it plain text, half HTML, with a link every fifty words.
fn mail(words: &mut Words, vocabulary: &[String], size: usize) -> Message {
    let mut text = |size: usize, link: &dyn Fn(&str) -> String| {
        let mut out = String::with_capacity(size + 100);
        let mut count = 0;
        while out.len() < size {
            let word = words.pick(vocabulary);
            count += 1;
            out += &if count % 50 == 0 { link(word) } else { word.to_owned() };
            out.push(if count % 12 == 0 { '\n' } else { ' ' });
        }
        out
    };
    let plain = text(size / 2, &|word| format!("http://www.{word}.test/{word}"));
    let html = text(size / 2, &|word| format!("<p><a href=\"http://{word}.test/?a=1&amp;b=2\">{word}</a>"));
    let mail = format!(
        "Subject: a mail\nContent-Type: multipart/alternative; boundary=B\n\n--B\nContent-Type: text/plain\n\n{plain}\n\
         --B\nContent-Type: text/html\n\n{html}\n--B--\n"
    );
    Message::from_bytes(mail.as_bytes())
}

/// Numbers without meaning, the same in every run (xorshift).
struct Words(u64);

impl Words {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> String {
        let letters = 3 + self.next() % 8;
        (0..letters).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect()
    }

    fn pick<'v>(&mut self, vocabulary: &'v [String]) -> &'v str {
        &vocabulary[(self.next() % vocabulary.len() as u64) as usize]
    }
}

use proptest::prelude::*;

use super::*;

/// Address, name, and whether it is generic. Real shapes; addresses and company names are changed where that does not matter.
const NAMES: &str = include_str!("names.txt");

#[test]
fn names_of_lines_and_rented_machines_are_told_from_those_of_mail_servers() {
    let (mut generic, mut others) = (0, 0);
    let mut wrong = Vec::new();
    for line in NAMES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [kind, address, name] = fields[..] else { panic!("{line}") };
        let expected = match kind {
            "generic" => true,
            "mail" => false,
            kind => panic!("{kind}"),
        };
        *(if expected { &mut generic } else { &mut others }) += 1;
        let address = address.parse().unwrap_or_else(|_| panic!("{line}"));
        if owner(name, Some(address)).is_none() != expected {
            wrong.push(line);
        }
    }
    assert_eq!(wrong, Vec::<&str>::new());
    assert!(generic >= 60 && others >= 30, "{generic} {others}");
}

#[test]
fn without_an_address_the_words_tell() {
    for (name, expected) in [
        ("mx.sender.example", false),
        ("pool12.isp.example", true),
        ("203-0-113-7.isp.example", true),
        ("sender.example", false),
        ("example", true),
        ("co.uk", true),
        ("", true),
        ("smtp-pool-3.sender.example", false),
    ] {
        assert_eq!(owner(name, None).is_none(), expected, "{name}");
    }
}

#[test]
fn what_is_registrable_is_what_the_list_says() {
    for name in [
        "a.b.example",
        "b.example",
        "example",
        "",
        ".",
        "b.example.",
        ".example",
        "a.b.co.uk",
        "\u{fc}.b\u{fc}.test",
    ] {
        assert_eq!(registrable(name), psl::domain_str(name), "{name}");
    }
}

#[test]
fn the_lists_are_sorted_for_searching() {
    assert!(LINES.is_sorted() && MACHINES.is_sorted() && MAIL.is_sorted() && HOSTERS.is_sorted());
}

/// The same rules word for word, each by itself and on copies of the name.
mod plainly {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::{HOSTERS, LINES, MACHINES, MAIL, has_v6};

    pub(super) fn owner(name: &str, address: Option<IpAddr>) -> Option<&str> {
        psl::domain_str(name).filter(|registrable| !is_generic(name, registrable, address))
    }

    fn is_generic(name: &str, registrable: &str, address: Option<IpAddr>) -> bool {
        let hosts = name.strip_suffix(registrable).unwrap_or_default();
        let has_word = |known: &[&str]| {
            hosts.split(|c: char| !c.is_ascii_alphabetic()).any(|word| known.contains(&word))
        };
        let is_mail = has_word(&MAIL);
        has_quad(name)
            || match address {
                Some(IpAddr::V4(address)) => has_v4(name, address, is_mail),
                Some(IpAddr::V6(address)) => has_v6(name, address),
                None => false,
            }
            || !is_mail
                && (has_word(&LINES)
                    || has_word(&MACHINES)
                    || HOSTERS.iter().any(|hoster| name.ends_with(&format!(".{hoster}"))))
    }

    fn has_v4(name: &str, address: Ipv4Addr, is_mail: bool) -> bool {
        let squeezed: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let octets = address.octets();
        let backwards = [octets[3], octets[2], octets[1], octets[0]];
        let numbers: Vec<u8> = numbers(name).map(|(_, number)| number).collect();
        let needed = if is_mail { 4 } else { 3 };
        let has_text = |[a, b, c, d]: [u8; 4]| {
            squeezed.contains(&format!("{a:02x}{b:02x}{c:02x}{d:02x}"))
                || squeezed.contains(&format!("{a:03}{b:03}{c:03}{d:03}"))
        };
        let is_part =
            |run: &[u8]| [octets, backwards].iter().any(|all| all.windows(needed).any(|part| part == run));
        numbers.windows(needed).any(is_part)
            || has_text(octets)
            || has_text(backwards)
            || digit_runs(name).any(|(_, run)| run.parse() == Ok(address.to_bits()))
    }

    fn has_quad(name: &str) -> bool {
        let numbers: Vec<_> = numbers(name).map(|(bounds, _)| bounds).collect();
        let is_single = |gap: &str| matches!(gap, "." | "-" | "_" | "x");
        numbers.windows(4).any(|four| four.windows(2).all(|two| is_single(&name[two[0].end..two[1].start])))
    }

    fn numbers(name: &str) -> impl Iterator<Item = (std::ops::Range<usize>, u8)> + '_ {
        digit_runs(name).filter_map(|(at, run)| Some((at..at + run.len(), run.parse().ok()?)))
    }

    fn digit_runs(name: &str) -> impl Iterator<Item = (usize, &str)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = from + name[from..].find(|c: char| c.is_ascii_digit())?;
            let length = name[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len() - start);
            from = start + length;
            Some((start, &name[start..from]))
        })
    }
}

/// A piece of a name, perhaps one made of the address.
fn piece() -> impl Strategy<Value = String> {
    let words = [&LINES[..], &MACHINES, &MAIL].concat();
    prop_oneof![
        4 => proptest::sample::select(vec![
            "{a}", "{b}", "{c}", "{d}", "{a3}", "{b3}", "{c3}", "{d3}", "{ax}", "{bx}", "{cx}", "{dx}", "{n}", "{n6}",
        ]).prop_map(str::to_owned),
        1 => proptest::sample::select(vec![
            "{a}.{b}.{c}", "{d}-{c}-{b}", "{a3}{b3}{c3}{d3}", "{d3}{c3}{b3}{a3}", "{ax}{bx}{cx}{dx}", "{dx}{cx}-{bx}{ax}",
        ]).prop_map(str::to_owned),
        2 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => "[0-9]{1,4}",
        1 => "[0-9]{1,24}",
        1 => "[a-z0-9]{1,5}",
        1 => "\\PC{0,3}",
    ]
}

fn name_of(pieces: &[(String, &str)], domain: &str, address: Ipv4Addr) -> String {
    let text: String = pieces.iter().flat_map(|(piece, gap)| [piece.as_str(), gap]).collect();
    let mut text = text + domain;
    for (octet, letter) in address.octets().into_iter().zip(["a", "b", "c", "d"]) {
        text = text
            .replace(&format!("{{{letter}}}"), &octet.to_string())
            .replace(&format!("{{{letter}3}}"), &format!("{octet:03}"))
            .replace(&format!("{{{letter}x}}"), &format!("{octet:02x}"));
    }
    text.replace("{n}", &address.to_bits().to_string()).replace("{n6}", &format!("{:012}", address.to_bits()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn reading_once_and_reading_plainly_tell_the_same(
        pieces in proptest::collection::vec(
            (piece(), proptest::sample::select(vec!["", ".", "-", "_", "x", "--", ".", "-", "\u{e9}"])), 0..8,
        ),
        domain in proptest::sample::select(vec![
            ".sender.example", "sender.example", ".ovh.net", "ovh.net", ".bc.googleusercontent.com", ".co.uk", "",
            ".ip.secureserver.net", ".amazonaws.com", ".x12.sender.example",
        ]),
        address in prop_oneof![any::<u32>(), proptest::sample::select(vec![0, 0x0102_0304, 0xabcd_efab, 0xffff_ffff, 0x0101_0101])],
        kind in 0..4,
    ) {
        let v4 = Ipv4Addr::from_bits(address);
        let name = name_of(&pieces, domain, v4);
        let address = match kind {
            0 => None,
            1 => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            _ => Some(IpAddr::V4(v4)),
        };
        prop_assert_eq!(owner(&name, address), plainly::owner(&name, address), "{} {:?}", name, address);
    }
}

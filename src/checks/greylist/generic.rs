//! Names that say nothing of whose host it is: given by an access provider or a hoster to whatever address they assigned.
//!
//! The registrable domain of such a name is the provider's, and shared by thousands of hosts that have nothing to do with each
//! other; it cannot stand for a client. Words are looked for in front of the registrable domain only, and whole, so that a company
//! may be called `dynamic.example` or `poolside.example`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memmem;

/// Words of names for lines and assigned addresses. Digits around them do not count: `pool12`.
const LINES: [&str; 62] = [
    "abo",
    "access",
    "adsl",
    "broadband",
    "cable",
    "cablemodem",
    "catv",
    "cgnat",
    "client",
    "clients",
    "cpe",
    "cust",
    "customer",
    "customers",
    "dhcp",
    "dial",
    "dialin",
    "dialup",
    "dip",
    "docsis",
    "dsl",
    "dslam",
    "dyn",
    "dynamic",
    "dynamicip",
    "dynip",
    "fiber",
    "fibre",
    "flets",
    "ftth",
    "gpon",
    "gprs",
    "hfc",
    "home",
    "hosted",
    "hsd",
    "hsia",
    "ip",
    "ipngn",
    "ipoe",
    "isdn",
    "kabel",
    "lte",
    "mobile",
    "modem",
    "nat",
    "pool",
    "pools",
    "ppp",
    "pppoe",
    "residential",
    "rev",
    "reverse",
    "sdsl",
    "static",
    "staticip",
    "subscriber",
    "umts",
    "vdsl",
    "wifi",
    "wireless",
    "xdsl",
];

/// Words of names for rented machines.
const MACHINES: [&str; 7] = ["dedicated", "hwsrv", "kvm", "vds", "vmi", "vps", "vserver"];

/// Domains below which a name is that of a rented machine.
const HOSTERS: [&str; 24] = [
    "amazonaws.com",
    "bc.googleusercontent.com",
    "cloudapp.azure.com",
    "cloudapp.net",
    "contaboserver.net",
    "hostwindsdns.com",
    "hstgr.cloud",
    "instances.scw.cloud",
    "ip.secureserver.net",
    "kimsufi.com",
    "linodeusercontent.com",
    "members.linode.com",
    "onlinehome-server.com",
    "onlinehome-server.info",
    "ovh.ca",
    "ovh.net",
    "poneytelecom.eu",
    "servdiscount-customer.com",
    "startdedicated.com",
    "stratoserver.net",
    "ultrasrv.de",
    "vultrusercontent.com",
    "your-server.de",
    "yourvserver.net",
];

/// Words by which a host calls itself a mail server. Beside them only the address in the name counts.
const MAIL: [&str; 22] = [
    "bounce", "email", "inbound", "mail", "mailer", "mailgw", "mailin", "mailout", "mout", "mta", "mx",
    "mxin", "mxout", "out", "outbound", "outgoing", "postfix", "relay", "sender", "smtp", "smtpin",
    "smtpout",
];

/// Whether `name` (in lower case, without final dot) is of this kind. `address`, where it is known, is what the name belongs to:
/// providers write it into the name, in many ways.
pub(super) fn is_generic(name: &str, address: Option<IpAddr>) -> bool {
    let Some(registrable) = psl::domain_str(name) else { return true };
    let hosts = name.strip_suffix(registrable).unwrap_or_default();
    let has_word = |known: &[&str]| {
        hosts.split(|c: char| !c.is_ascii_alphabetic()).any(|word| known.binary_search(&word).is_ok())
    };
    let is_mail = has_word(&MAIL);
    if has_quad(name) || address.is_some_and(|address| has_address(name, address, is_mail)) {
        return true;
    }
    !is_mail
        && (has_word(&LINES) || has_word(&MACHINES) || HOSTERS.iter().any(|hoster| is_below(name, hoster)))
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn has_address(name: &str, address: IpAddr, is_mail: bool) -> bool {
    let squeezed: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
    match address {
        IpAddr::V4(address) => has_v4(name, &squeezed, address, is_mail),
        IpAddr::V6(address) => has_v6(name, &squeezed, address),
    }
}

/// Decimal forwards and backwards, padded or not; hexadecimal; one number. Three octets of four suffice, but for a mail server:
/// large senders number theirs so.
fn has_v4(name: &str, squeezed: &[u8], address: Ipv4Addr, is_mail: bool) -> bool {
    let octets = address.octets();
    let mut backwards = octets;
    backwards.reverse();
    let numbers: Vec<u8> = numbers(name).map(|(_, number)| number).collect();
    let needed = if is_mail { 4 } else { 3 };
    let has_run = || {
        let parts = || octets.windows(needed).chain(backwards.windows(needed));
        numbers.windows(needed).any(|run| parts().any(|part| run == part))
    };
    let has_text = |octets| {
        memmem::find(squeezed, &hexadecimal(octets)).is_some()
            || memmem::find(squeezed, &padded(octets)).is_some()
    };
    has_run()
        || has_text(octets)
        || has_text(backwards)
        || digit_runs(name).any(|(_, run)| run.parse() == Ok(address.to_bits()))
}

/// `c0000207`
fn hexadecimal(octets: [u8; 4]) -> [u8; 8] {
    std::array::from_fn(|place| {
        let octet = octets[place / 2];
        let nibble = if place % 2 == 0 { octet >> 4 } else { octet & 0xf };
        b"0123456789abcdef"[usize::from(nibble)]
    })
}

/// `192000002007`
fn padded(octets: [u8; 4]) -> [u8; 12] {
    std::array::from_fn(|place| b'0' + octets[place / 3] / [100, 10, 1][place % 3] % 10)
}

/// Half of the nibbles, forwards or backwards, or four of the eight groups.
fn has_v6(name: &str, squeezed: &[u8], address: Ipv6Addr) -> bool {
    let nibbles = format!("{:032x}", address.to_bits());
    let backwards: String = nibbles.chars().rev().collect();
    let groups: Vec<u16> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| u16::from_str_radix(word, 16).unwrap_or_default())
        .collect();
    [&nibbles[..16], &nibbles[16..], &backwards[..16], &backwards[16..]]
        .iter()
        .any(|half| memmem::find(squeezed, half.as_bytes()).is_some())
        || address
            .segments()
            .windows(4)
            .any(|part| part != [0; 4] && groups.windows(4).any(|run| run == part))
}

/// Four numbers like those of an address, whosever, with one character between each.
fn has_quad(name: &str) -> bool {
    let numbers: Vec<_> = numbers(name).map(|(bounds, _)| bounds).collect();
    let is_single = |gap: &str| matches!(gap, "." | "-" | "_" | "x");
    numbers.windows(4).any(|four| {
        four.windows(2).all(|two| matches!(two, [one, next] if is_single(&name[one.end..next.start])))
    })
}

/// The runs of digits that may be an octet.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, name, and whether it is generic. Real shapes; addresses and company names are changed where that does not matter.
    const NAMES: &str = include_str!("generic/names.txt");

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
            if is_generic(name, Some(address)) != expected {
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
            assert_eq!(is_generic(name, None), expected, "{name}");
        }
    }

    #[test]
    fn the_lists_are_sorted_for_searching() {
        assert!(LINES.is_sorted() && MACHINES.is_sorted() && MAIL.is_sorted() && HOSTERS.is_sorted());
    }
}

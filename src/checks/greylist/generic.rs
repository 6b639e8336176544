//! Names that say nothing of whose host it is: given by an access provider or a hoster to whatever address they assigned.
//!
//! The registrable domain of such a name is the provider's, and shared by thousands of hosts that have nothing to do with each
//! other; it cannot stand for a client. Words are looked for in front of the registrable domain only, and whole, so that a company
//! may be called `dynamic.example` or `poolside.example`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

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

/// The registrable domain of a host that has this name (in lower case, without final dot) by its owner's will; `None` for a name of
/// the kind this file is about. `address`, where it is known, is what the name belongs to: providers write it into the name, in many
/// ways.
pub(super) fn owner(name: &str, address: Option<IpAddr>) -> Option<&str> {
    let registrable = registrable(name)?;
    let hosts = name.strip_suffix(registrable).unwrap_or_default();
    let has_word = |known: &[&str]| {
        let words = hosts.as_bytes().split(|byte| !byte.is_ascii_alphabetic());
        let mut words = words.filter(|word| !word.is_empty());
        words.any(|word| known.binary_search_by(|known| known.as_bytes().cmp(word)).is_ok())
    };
    let is_mail = has_word(&MAIL);
    let has_address = match address {
        None => has_numbers(name, None, is_mail),
        Some(IpAddr::V4(v4)) => has_numbers(name, Some(v4), is_mail) || has_run_together(name, v4),
        Some(IpAddr::V6(v6)) => has_numbers(name, None, is_mail) || has_v6(name, v6),
    };
    let is_generic =
        has_address || (!is_mail && (has_word(&LINES) || has_word(&MACHINES) || is_of_hoster(name)));
    (!is_generic).then_some(registrable)
}

/// The registrable domain of `name`: as `psl::domain_str`, which validates anew that a part of a text is one.
pub(super) fn registrable(name: &str) -> Option<&str> {
    let domain = psl::domain(name.as_bytes())?;
    let start = name.len().checked_sub(domain.as_bytes().len())?;
    name.get(start..start + domain.trim().as_bytes().len())
}

fn is_of_hoster(name: &str) -> bool {
    let mut below = name;
    while let Some((_, domain)) = below.split_once('.') {
        if HOSTERS.binary_search(&domain).is_ok() {
            return true;
        }
        below = domain;
    }
    false
}

/// Whether the numbers in `name` show an address: four that may be octets, whosever, with one character between each; the octets
/// of `address` side by side, forwards or backwards, padded or not; or all of it as one number. Three octets of four suffice, but
/// for a mail server: large senders number theirs so.
fn has_numbers(name: &str, address: Option<Ipv4Addr>, is_mail: bool) -> bool {
    let is_single = |gap: &[u8]| matches!(gap, [b'.' | b'-' | b'_' | b'x']);
    // The octets last read, one a byte as in an address; how many were read, and how many of these one character apart.
    let (mut recent, mut count, mut apart, mut end) = (0_u32, 0, 0, 0);
    for (bounds, number) in numbers(name.as_bytes()) {
        if address.is_some_and(|address| number == u64::from(address.to_bits())) {
            return true;
        }
        let Ok(octet) = u8::try_from(number) else { continue };
        let follows = count > 0 && name.as_bytes().get(end..bounds.start).is_some_and(is_single);
        apart = if follows { apart + 1 } else { 1 };
        (recent, count, end) = (recent << 8 | u32::from(octet), count + 1, bounds.end);
        if apart >= 4 || address.is_some_and(|address| ends_with_octets(recent, count, address, is_mail)) {
            return true;
        }
    }
    false
}

/// Whether the last of `count` octets, in `recent`, are those of `address`.
fn ends_with_octets(recent: u32, count: usize, address: Ipv4Addr, is_mail: bool) -> bool {
    let address = address.to_bits();
    [address, address.swap_bytes()].into_iter().any(|octets| match count {
        4.. if recent == octets => true,
        3.. if !is_mail => [octets >> 8, octets & 0xff_ffff].contains(&(recent & 0xff_ffff)),
        _ => false,
    })
}

/// The runs of digits, where they are and what they say; nobody asks for what is beyond the largest number.
fn numbers(name: &[u8]) -> impl Iterator<Item = (Range<usize>, u64)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = name.get(from..)?;
        let start = from + rest.iter().position(u8::is_ascii_digit)?;
        let digits = name.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit());
        let (mut length, mut number) = (0, 0_u64);
        for digit in digits {
            length += 1;
            number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        }
        from = start + length;
        Some((start..from, number))
    })
}

/// Whether `name` has all of `address` run together, forwards or backwards: hexadecimal (`c0000207`) or padded (`192000002007`).
/// Only letters and digits count, not what stands between them.
fn has_run_together(name: &str, address: Ipv4Addr) -> bool {
    const PADDED: u64 = 10_u64.pow(12);
    let padded =
        |octets: u32| octets.to_be_bytes().iter().fold(0, |number, octet| number * 1000 + u64::from(*octet));
    let forwards = address.to_bits();
    let backwards = forwards.swap_bytes();
    // What the last eight hexadecimal digits say and the last twelve decimal ones, and how many of them are side by side.
    let (mut hexadecimal, mut nibbles, mut decimal, mut digits) = (0_u32, 0, 0_u64, 0);
    for byte in name.bytes() {
        let (nibble, is_digit) = match byte {
            b'0'..=b'9' => (byte - b'0', true),
            b'a'..=b'f' => (byte - b'a' + 10, false),
            byte if byte.is_ascii_alphabetic() => {
                (nibbles, digits) = (0, 0);
                continue;
            }
            _ => continue,
        };
        (hexadecimal, nibbles) = (hexadecimal << 4 | u32::from(nibble), nibbles + 1);
        if nibbles >= 8 && [forwards, backwards].contains(&hexadecimal) {
            return true;
        }
        if !is_digit {
            digits = 0;
            continue;
        }
        (decimal, digits) = ((decimal * 10 + u64::from(nibble)) % PADDED, digits + 1);
        if digits >= 12 && [forwards, backwards].map(padded).contains(&decimal) {
            return true;
        }
    }
    false
}

/// Half of the nibbles, forwards or backwards, or four of the eight groups.
fn has_v6(name: &str, address: Ipv6Addr) -> bool {
    let squeezed: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let nibbles = format!("{:032x}", address.to_bits());
    let backwards: String = nibbles.chars().rev().collect();
    let groups: Vec<u16> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|word| u16::from_str_radix(word, 16).unwrap_or_default())
        .collect();
    [&nibbles[..16], &nibbles[16..], &backwards[..16], &backwards[16..]]
        .iter()
        .any(|half| memmem::find(&squeezed, half.as_bytes()).is_some())
        || address
            .segments()
            .windows(4)
            .any(|part| part != [0; 4] && groups.windows(4).any(|run| run == part))
}

#[cfg(test)]
mod tests;

//! The Authentication-Results field (RFC 8601): writing ours, and knowing one that claims to be ours.

use super::{DkimSignature, DmarcOutcome, MessageAuth, SpfIdentity, SpfOutcome};
use crate::facts::host_name;

/// The value of our field: what was checked, one method a line. `authserv_id` is the name we are known by.
pub fn authentication_results(
    authserv_id: &str,
    spf: Option<&SpfOutcome>,
    message: Option<&MessageAuth>,
) -> String {
    let mut results: Vec<String> = spf.map(spf_result).into_iter().collect();
    if let Some(MessageAuth { signatures, ignored_signatures, dmarc }) = message {
        results.extend(signatures.iter().map(dkim_result));
        if signatures.is_empty() {
            let result = if *ignored_signatures { "dkim=neutral" } else { "dkim=none" };
            results.push(result.to_owned());
        }
        results.push(dmarc_result(dmarc));
    }
    if results.is_empty() {
        results.push("none".to_owned());
    }
    format!("{};\n\t{}", plain(authserv_id), results.join(";\n\t"))
}

/// RFC 8601 §2.7.2
fn spf_result(spf: &SpfOutcome) -> String {
    let property = match spf.identity {
        SpfIdentity::MailFrom => "smtp.mailfrom",
        SpfIdentity::Helo => "smtp.helo",
    };
    format!("spf={}{}", spf.result.name(), named(property, &spf.domain))
}

/// RFC 8601 §2.7.1
fn dkim_result(signature: &DkimSignature) -> String {
    let DkimSignature { domain, selector, result, .. } = signature;
    format!("dkim={}{}{}", result.name(), named("header.d", domain), named("header.s", selector))
}

/// RFC 9989 §4.10 with the policy as a comment, as is usual.
fn dmarc_result(dmarc: &DmarcOutcome) -> String {
    let DmarcOutcome { result, policy, domain } = dmarc;
    format!("dmarc={} (p={}){}", result.name(), policy.name(), named("header.from", domain))
}

fn named(property: &str, value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!(" {property}={}", plain(value)),
    }
}

/// The value with nothing left in it that could end it: senders choose what stands here.
fn plain(value: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    value.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// Whether a field with this value claims to come from us (RFC 8601 §5), in whatever case, with comments and quotes; an older form
/// of the field has a version after the name.
pub fn claims_to_be_from(value: &[u8], authserv_id: &str) -> bool {
    let claimed = text_before_results(&String::from_utf8_lossy(value));
    let first = claimed.split(|c: char| c.is_whitespace() || c == '/').find(|word| !word.is_empty());
    let joined: String = claimed.split_whitespace().collect();
    let ours = host_name(authserv_id);
    ours.is_some() && (first.and_then(host_name) == ours || host_name(&joined) == ours)
}

/// What stands before the first semicolon, without comments (RFC 5322 §3.2.2), which nest, and without quotes.
fn text_before_results(value: &str) -> String {
    let mut text = String::new();
    let (mut comments, mut quoted) = (0_usize, false);
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().filter(|_| comments == 0)),
            '"' if comments == 0 => quoted = !quoted,
            '(' if !quoted => comments += 1,
            ')' if !quoted => comments = comments.saturating_sub(1),
            ';' if !quoted && comments == 0 => break,
            c if comments == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{DkimResult, DmarcPolicy, DmarcResult, SpfResult};

    #[test]
    fn results_stand_one_on_a_line() {
        let spf = SpfOutcome {
            result: SpfResult::Pass,
            identity: SpfIdentity::MailFrom,
            domain: "example.org".into(),
            passes_anyone: false,
        };
        let message = MessageAuth {
            signatures: vec![DkimSignature {
                domain: "example.org".into(),
                selector: "s1".into(),
                result: DkimResult::Fail,
                aligned: true,
            }],
            ignored_signatures: true,
            dmarc: DmarcOutcome {
                result: DmarcResult::Pass,
                policy: DmarcPolicy::Reject,
                domain: "example.org".into(),
            },
        };
        assert_eq!(
            authentication_results("mx.example.test", Some(&spf), Some(&message)),
            "mx.example.test;\n\tspf=pass smtp.mailfrom=example.org;\n\tdkim=fail header.d=example.org header.s=s1;\
             \n\tdmarc=pass (p=reject) header.from=example.org"
        );
        assert_eq!(
            authentication_results("mx.test", Some(&SpfOutcome::none()), Some(&MessageAuth::default())),
            "mx.test;\n\tspf=none;\n\tdkim=none;\n\tdmarc=none (p=none)"
        );
        let ignored = MessageAuth { ignored_signatures: true, ..MessageAuth::default() };
        assert_eq!(
            authentication_results("mx.test", None, Some(&ignored)),
            "mx.test;\n\tdkim=neutral;\n\tdmarc=none (p=none)"
        );
        assert_eq!(authentication_results("mx.test", None, None), "mx.test;\n\tnone");
    }

    #[test]
    fn what_senders_choose_cannot_end_the_value() {
        let spf = SpfOutcome { domain: "[x];\r\n dkim=pass (".into(), ..SpfOutcome::none() };
        assert_eq!(
            authentication_results("mx.test", Some(&spf), None),
            "mx.test;\n\tspf=none smtp.helo=_x_____dkim_pass__"
        );
    }

    #[test]
    fn a_claim_to_be_us_is_seen_in_every_spelling() {
        for (value, claimed) in [
            ("mx.example.test; spf=pass", true),
            (" MX.Example.TEST.;\n\tdkim=pass", true),
            ("\n (not (really)) \"mx.example.test\" (\\) ;) 1; spf=pass", true),
            ("mx.example.test", true),
            ("mx.example.test 1; none", true),
            ("mx.example.test/1; none", true),
            ("mx(;).example.(x)test; none", true),
            ("mx .example. test; none", true),
            ("m\\x.example.test; none", true),
            ("\"mx.example.te\\st\"; none", true),
            ("mx.example.test.evil.test; spf=pass", false),
            ("other.test; spf=pass smtp.mailfrom=mx.example.test", false),
            ("(mx.example.test); spf=pass", false),
            ("(mx.example.test; spf=pass", false),
            ("", false),
            (";", false),
        ] {
            assert_eq!(claims_to_be_from(value.as_bytes(), "mx.example.test"), claimed, "{value:?}");
        }
        assert!(claims_to_be_from("b\u{fc}cher.test; none".as_bytes(), "xn--bcher-kva.test"));
        assert!(!claims_to_be_from(b"; none", ""));
    }
}

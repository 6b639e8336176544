//! The Authentication-Results field (RFC 8601): writing ours, and knowing one that claims to be ours.

use super::{DkimSignature, DmarcOutcome, MessageAuth, SpfIdentity, SpfOutcome};
use crate::facts::host_name;

/// The value of our field: what was checked, one method a line. `authserv_id` is the name we are known by.
pub fn authentication_results(
    authserv_id: &str,
    spf: Option<&SpfOutcome>,
    message: Option<&MessageAuth>,
) -> String {
    let mut value = Value(String::with_capacity(256));
    value.push_plain(authserv_id);
    if let Some(spf) = spf {
        value.push_spf(spf);
    }
    if let Some(MessageAuth { signatures, ignored_signatures, dmarc }) = message {
        signatures.iter().for_each(|signature| value.push_dkim(signature));
        if signatures.is_empty() {
            value.push_result("dkim", if *ignored_signatures { "neutral" } else { "none" });
        }
        value.push_dmarc(dmarc);
    }
    if spf.is_none() && message.is_none() {
        value.push(&[BETWEEN, "none"]);
    }
    value.0
}

/// Each result stands on a line of its own.
const BETWEEN: &str = ";\n\t";

/// The value, as far as it is written.
struct Value(String);

impl Value {
    /// RFC 8601 §2.7.2
    fn push_spf(&mut self, spf: &SpfOutcome) {
        let property = match spf.identity {
            SpfIdentity::MailFrom => "smtp.mailfrom",
            SpfIdentity::Helo => "smtp.helo",
        };
        self.push_result("spf", spf.result.name());
        self.push_property(property, &spf.domain);
    }

    /// RFC 8601 §2.7.1
    fn push_dkim(&mut self, signature: &DkimSignature) {
        let DkimSignature { domain, selector, result, .. } = signature;
        self.push_result("dkim", result.name());
        self.push_property("header.d", domain);
        self.push_property("header.s", selector);
    }

    /// RFC 9989 §4.10 with the policy as a comment, as is usual.
    fn push_dmarc(&mut self, dmarc: &DmarcOutcome) {
        let DmarcOutcome { result, policy, domain } = dmarc;
        self.push_result("dmarc", result.name());
        self.push(&[" (p=", policy.name(), ")"]);
        self.push_property("header.from", domain);
    }

    fn push_result(&mut self, method: &str, result: &str) {
        self.push(&[BETWEEN, method, "=", result]);
    }

    fn push_property(&mut self, property: &str, value: &str) {
        if !value.is_empty() {
            self.push(&[" ", property, "="]);
            self.push_plain(value);
        }
    }

    /// The value with nothing left in it that could end it: senders choose what stands here.
    fn push_plain(&mut self, value: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if value.chars().all(fits) {
            self.0.push_str(value);
        } else {
            self.0.extend(value.chars().map(|c| if fits(c) { c } else { '_' }));
        }
    }

    fn push(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.0.push_str(text));
    }
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

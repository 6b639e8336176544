//! The `X-Greylag` fields that a message brings along.

use std::num::NonZeroU32;

use crate::facts::{Client, Facts, Message};
use crate::verdict::{HeaderEdit, HeaderName, Outcome, Verdict};

/// Removes them from a message with this `verdict`, the tags of all stages in it: a message has one such field, ours, which says all
/// there is to say. One that came from outside is forged, and one that our policy service had Postfix prepend says what the milter
/// says again.
///
/// Mail from this host keeps what ours does not say: it may have been judged when it came in, and come again from a content filter.
pub fn tag_removals(facts: &Facts, verdict: &Verdict) -> Vec<HeaderEdit> {
    const NAME: HeaderName = HeaderName::XGreylag;
    let is_from_here = match facts.connection.client {
        Client::Local => true,
        Client::Ip(address) => address.to_canonical().is_loopback(),
        Client::Unknown => false,
    };
    let headers = facts.message.as_ref().map_or(&[][..], Message::headers);
    let fields = headers.iter().filter(|field| field.name.eq_ignore_ascii_case(NAME.as_str().as_bytes()));
    let removed = fields.zip(1..).filter(|(field, _)| !is_from_here || says_no_more(&field.value, verdict));
    let occurrences: Vec<NonZeroU32> = removed.filter_map(|(_, at)| NonZeroU32::new(at)).collect();
    occurrences.into_iter().rev().map(|occurrence| HeaderEdit::Remove { name: NAME, occurrence }).collect()
}

/// Whether a field gives no reason that the verdict's tags do not give, and gives one.
fn says_no_more(value: &[u8], verdict: &Verdict) -> bool {
    let tags = || verdict.findings.iter().filter(|finding| finding.outcome == Outcome::Tag);
    let is_said = |reason: &[u8]| tags().any(|tag| tag.reason.code().as_bytes() == reason);
    let mut items = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    items.next() == Some(b"tag")
        && tags().next().is_some()
        && items.all(|item| item.strip_prefix(b"reason=").is_some_and(is_said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HeaderField;
    use crate::reason::Reason;
    use crate::verdict::Finding;

    fn removed(client: &str, values: &[&str], verdict: &Verdict) -> Vec<u32> {
        let field =
            |value: &&str| HeaderField { name: "x-greylag".into(), value: (*value).to_owned().into() };
        let other = |name: &str| HeaderField { name: name.to_owned().into(), value: "tag".into() };
        let headers = [other("Subject")].into_iter().chain(values.iter().map(field));
        let headers = headers.chain([other("X-Greylag-Other")]).collect();
        let message = Message::new(headers, b"", false);
        let mut facts = Facts { message: Some(message), ..Facts::default() };
        facts.connection.client = Client::parse(client);
        let number = |edit| match edit {
            HeaderEdit::Remove { name: HeaderName::XGreylag, occurrence } => occurrence.get(),
            other => panic!("{other:?}"),
        };
        tag_removals(&facts, verdict).into_iter().map(number).collect()
    }

    #[test]
    fn every_field_of_the_name_goes_the_last_first_unless_it_is_from_here() {
        let values = ["tag", "tag; reason=helo.no_address"];
        assert_eq!(removed("198.51.100.10", &values, &Verdict::default()), [2, 1]);
        assert_eq!(removed("::ffff:127.0.0.1", &values, &Verdict::default()), [0; 0]);
        assert_eq!(tag_removals(&Facts::default(), &Verdict::default()), []);
    }

    #[test]
    fn however_many_fields_there_are_each_goes_once() {
        let found = removed("198.51.100.10", &["tag"; 65_537], &Verdict::default());
        assert!(found.iter().copied().eq((1..=65_537).rev()), "{} fields", found.len());
    }

    #[test]
    fn of_mail_from_here_goes_what_ours_says_again() {
        let tag = |reason| Finding { reason, outcome: Outcome::Tag, detail: String::new() };
        let findings = vec![tag(Reason::HeloNoAddress), tag(Reason::AddressInvalidLocalPart)];
        let tagged = Verdict { findings, ..Verdict::default() };
        let values = [
            " tag; reason=address.invalid_local_part",
            "tag; reason=auth.spf_none",
            "tag; reason=helo.no_address;\n reason=address.invalid_local_part",
            "tag; reason=helo.no_address; reason=auth.spf_none",
            "clean",
        ];
        assert_eq!(removed("127.0.0.1", &values, &tagged), [3, 1]);
    }
}

//! The `X-Greylag` fields that a message brings along.

use std::num::NonZeroU16;

use crate::facts::{Client, Facts, Message};
use crate::verdict::{HeaderEdit, HeaderName};

/// Removes them: a message has one such field, ours, which says all there is to say. One that came from outside is forged, and one
/// that our policy service had Postfix prepend says what the milter says again.
///
/// Mail from this host keeps them: it may have been judged when it came in, and come again from a content filter.
pub(super) fn removals(facts: &Facts) -> Vec<HeaderEdit> {
    const NAME: HeaderName = HeaderName::XGreylag;
    let is_from_here = match facts.connection.client {
        Client::Local => true,
        Client::Ip(address) => address.to_canonical().is_loopback(),
        Client::Unknown => false,
    };
    let headers =
        facts.message.as_ref().filter(|_| !is_from_here).map_or(&[][..], Message::headers);
    let fields = headers.iter().filter(|field| field.name.eq_ignore_ascii_case(NAME.as_str().as_bytes()));
    let occurrences: Vec<NonZeroU16> = fields.zip(1..).filter_map(|(_, at)| NonZeroU16::new(at)).collect();
    occurrences.into_iter().rev().map(|occurrence| HeaderEdit::Remove { name: NAME, occurrence }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::HeaderField;

    #[test]
    fn every_field_of_the_name_goes_the_last_first_unless_it_is_from_here() {
        let names = ["Subject", "X-Greylag", "x-greylag", "X-Greylag-Other"];
        let field = |name: &str| HeaderField { name: name.to_owned().into(), value: "tag".into() };
        let message = Message::new(names.map(field).into(), Vec::new(), false);
        let of = |client: &str| {
            let mut facts = Facts { message: Some(message.clone()), ..Facts::default() };
            facts.connection.client = Client::parse(client);
            let number = |edit| match edit {
                HeaderEdit::Remove { name: HeaderName::XGreylag, occurrence } => occurrence.get(),
                other => panic!("{other:?}"),
            };
            removals(&facts).into_iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(of("198.51.100.10"), [2, 1]);
        assert_eq!(of("::ffff:127.0.0.1"), [0; 0]);
        assert_eq!(removals(&Facts::default()), []);
    }
}

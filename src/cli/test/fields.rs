//! The types of a transcript's settings.

use std::net::IpAddr;

use toml::Spanned;
use toml::de::DeValue;

use crate::policy::{Reading, Setting};
use crate::reason::Reason;

/// Most recipients a case may name.
const MAX_RECIPIENTS: usize = 10_000;

/// Any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Setting for Text {
    const EXPECTED: &'static str = "text in quotes";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let text = value.get_ref().as_str().map(|text| Self(text.to_owned()));
        text.or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        toml::Value::from(self.0.as_str()).to_string()
    }
}

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl Setting for ClientAddress {
    const EXPECTED: &'static str = "an address, such as \"198.51.100.10\" or \"2001:db8::1\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let address = value.get_ref().as_str().and_then(|text| text.parse::<IpAddr>().ok());
        address.map(|address| Self(address.to_canonical())).or_else(|| reading.wrong(value))
    }

    fn show(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

/// One recipient or several. `"user{1..130}@example.net"` stands for 130 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipients(pub(crate) Vec<String>);

impl Setting for Recipients {
    const EXPECTED: &'static str =
        "an address or a list of addresses; \"user{1..130}@example.net\" stands for 130 of them";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let written: Option<Vec<&str>> = match value.get_ref() {
            DeValue::String(one) => Some(vec![one.as_ref()]),
            DeValue::Array(several) if !several.is_empty() => {
                several.iter().map(|entry| entry.get_ref().as_str()).collect()
            }
            _ => None,
        };
        let recipients = written.and_then(|written| {
            written.into_iter().map(expanded).collect::<Option<Vec<_>>>().map(|all| all.concat())
        });
        match recipients.filter(|all| all.len() <= MAX_RECIPIENTS) {
            Some(recipients) => Some(Self(recipients)),
            None => reading.wrong(value),
        }
    }

    fn show(&self) -> String {
        toml::Value::from(self.0.clone()).to_string()
    }
}

fn expanded(text: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = text.split_once('{') else { return Some(vec![text.to_owned()]) };
    let (range, after) = rest.split_once('}')?;
    let (first, last) = range.split_once("..")?;
    let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
    let is_sane = first <= last && last - first < MAX_RECIPIENTS;
    is_sane.then(|| (first..=last).map(|number| format!("{before}{number}{after}")).collect())
}

/// A reason code, or `-` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected(pub(crate) Option<Reason>);

impl Expected {
    /// The code, or `-`.
    pub(super) fn code(self) -> &'static str {
        self.0.map_or("-", Reason::code)
    }
}

impl Setting for Expected {
    const EXPECTED: &'static str =
        "a reason code, such as \"helo.localhost\", or \"-\" where nothing is found";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        let text = value.get_ref().as_str().unwrap_or_default();
        match (text, Reason::from_code(text)) {
            ("-", _) => Some(Self(None)),
            (_, Some(reason)) => Some(Self(Some(reason))),
            _ => {
                let codes = Reason::ALL.iter().map(|reason| reason.code());
                let help = || Some("`policies/README.md` lists them".to_owned());
                reading.unexpected::<Self>(value).did_you_mean(text, codes, help);
                None
            }
        }
    }

    fn show(&self) -> String {
        format!("{:?}", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_may_stand_for_many_recipients() {
        assert_eq!(expanded("a@x.test"), Some(vec!["a@x.test".to_owned()]));
        let three = ["u9@x.test", "u10@x.test", "u11@x.test"].map(str::to_owned).to_vec();
        assert_eq!(expanded("u{9..11}@x.test"), Some(three));
        for bad in ["u{1..}@x.test", "u{2..1}@x.test", "u{1@x.test", "u{1..99999}@x.test"] {
            assert_eq!(expanded(bad), None, "{bad}");
        }
    }
}

//! Settings that carry a unit: durations and sizes.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::reading::Reading;
use super::settings::Setting;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl Setting for ByteSize {
    const EXPECTED: &'static str =
        "a size with its unit, such as \"512B\", \"100KiB\", \"64MiB\" or \"1GiB\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        quantity::<Self>(value, reading, &SIZES).map(Self)
    }

    fn show(&self) -> String {
        show(self.0, &SIZES)
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration with its unit, such as \"120s\", \"5m\", \"48h\" or \"36d\"";

    fn read(value: &Spanned<DeValue<'_>>, reading: &mut Reading<'_>) -> Option<Self> {
        quantity::<Self>(value, reading, &TIMES).map(Self::from_millis)
    }

    fn show(&self) -> String {
        show(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &TIMES)
    }
}

/// The units of a quantity, smallest first, and the most that may be written: far beyond any use, and far from overflow.
struct Scale {
    units: &'static [(&'static str, u64)],
    /// The unit a bare number is most likely meant in.
    usual: &'static str,
    max: u64,
}

const TIMES: Scale = Scale {
    units: &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
    usual: "s",
    max: 36_500 * 86_400_000,
};

const SIZES: Scale = Scale {
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
    usual: "MiB",
    max: 1 << 50,
};

fn quantity<T: Setting>(
    value: &Spanned<DeValue<'_>>,
    reading: &mut Reading<'_>,
    scale: &Scale,
) -> Option<u64> {
    let help = match value.get_ref() {
        DeValue::String(text) => match parse(text, scale) {
            Ok(quantity) => return Some(quantity),
            Err(help) => help,
        },
        DeValue::Integer(number) if number.as_str().bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(format!("a number needs a unit: \"{number}{}\"", scale.usual))
        }
        _ => None,
    };
    reading.unexpected::<T>(value).help = help;
    None
}

/// Reads a duration as it is written in settings, for the command line.
///
/// # Errors
/// What is expected, where the text is something else.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = parse(text, &TIMES);
    millis
        .map(Duration::from_millis)
        .map_err(|help| help.unwrap_or_else(|| format!("expected {}", Duration::EXPECTED)))
}

/// On failure, what to do about it, where there is more to say than what is expected.
fn parse(text: &str, scale: &Scale) -> Result<u64, Option<String>> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    if number.is_empty() {
        return Err(None);
    }
    if unit.is_empty() {
        return Err(Some(format!("a number needs a unit: \"{number}{}\"", scale.usual)));
    }
    let Some((_, size)) = scale.units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<&str> = scale.units.iter().map(|(name, _)| *name).collect();
        return Err(Some(format!("units are {}", names.join(", "))));
    };
    let quantity = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*size));
    match quantity.filter(|quantity| *quantity <= scale.max) {
        Some(quantity) => Ok(quantity),
        None => Err(Some(format!("the most that may be written is {}", show(scale.max, scale)))),
    }
}

/// In the largest unit that divides it.
fn show(quantity: u64, scale: &Scale) -> String {
    if quantity == 0 {
        return format!("\"0{}\"", scale.usual);
    }
    let unit = scale.units.iter().rev().find(|(_, size)| quantity.is_multiple_of(*size));
    unit.map_or_else(String::new, |(name, size)| format!("\"{}{name}\"", quantity / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_from_the_command_line_too() {
        assert_eq!(parse_duration("48h"), Ok(Duration::from_secs(172_800)));
        assert_eq!(parse_duration("48").unwrap_err(), "a number needs a unit: \"48s\"");
        assert_eq!(parse_duration("").unwrap_err(), format!("expected {}", Duration::EXPECTED));
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, millis) in
            [("120s", 120_000), ("36d", 3_110_400_000), ("500ms", 500), ("48h", 172_800_000), ("0s", 0)]
        {
            assert_eq!(parse(text, &TIMES), Ok(millis), "{text}");
        }
        for (text, help) in [
            ("120", Some("a number needs a unit: \"120s\"")),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", Some("units are ms, s, m, h, d")),
            ("1w", Some("units are ms, s, m, h, d")),
            ("1 s", Some("units are ms, s, m, h, d")),
            ("99999999999999999999s", Some("the most that may be written is \"36500d\"")),
            ("18446744073709551615d", Some("the most that may be written is \"36500d\"")),
            ("36501d", Some("the most that may be written is \"36500d\"")),
        ] {
            assert_eq!(parse(text, &TIMES), Err(help.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn sizes_carry_their_unit() {
        assert_eq!(parse("64MiB", &SIZES), Ok(64 << 20));
        assert_eq!(parse("64MB", &SIZES), Err(Some("units are B, KiB, MiB, GiB".into())));
        assert_eq!(parse("64", &SIZES), Err(Some("a number needs a unit: \"64MiB\"".into())));
    }

    #[test]
    fn values_are_shown_in_the_largest_unit_that_fits() {
        assert_eq!(Duration::from_secs(120).show(), "\"2m\"");
        assert_eq!(Duration::from_millis(1500).show(), "\"1500ms\"");
        assert_eq!(Duration::ZERO.show(), "\"0s\"");
        assert_eq!(ByteSize::mib(1024).show(), "\"1GiB\"");
    }
}

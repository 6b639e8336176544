//! Writes the policy file of a check from the declaration of its settings, so that documentation, defaults and shipped files
//! are one text.

use toml::de::DeValue;

use super::effective::Settings;
use super::settings::{CheckSettings, KeyDoc};
use crate::reason::Check;

/// Lists longer than this are written over several lines.
const WIDTH: usize = 110;

/// The shipped file of `check`: every setting with its default, its documentation above it.
pub fn render(check: Check) -> String {
    write(Settings::about(check), Settings::keys(check), Settings::default().entries(check))
}

/// The same for settings that are none of a check.
pub fn render_settings<S: CheckSettings>() -> String {
    write(S::ABOUT, S::KEYS, S::default().entries())
}

fn write(about: &str, keys: &[KeyDoc], defaults: Vec<(&str, String)>) -> String {
    let mut out = comment(about);
    out.push_str(
        "#\n# Every setting stands here with its default, which holds as well where the line is missing.\n",
    );
    let mut last = "";
    for (KeyDoc { key, doc, expected, example }, (_, value)) in keys.iter().zip(defaults) {
        out.push('\n');
        out.push_str(&comment(doc));
        // Said once for neighbours of one type.
        if last != *expected {
            out.push_str(&format!("# Expected: {expected}.\n"));
            last = expected;
        }
        match *example {
            "" => out.push_str(&format!("{key} = {}\n", wrap(key, value))),
            tables => out.push_str(&format!("#\n{}", comment(tables))),
        }
    }
    out
}

fn comment(doc: &str) -> String {
    doc.lines().map(|line| format!("# {}", line.trim()).trim_end().to_owned() + "\n").collect()
}

fn wrap(key: &str, value: String) -> String {
    if key.len() + " = ".len() + value.len() <= WIDTH {
        return value;
    }
    let parsed = DeValue::parse(&value).ok();
    let Some(array) = parsed.as_ref().and_then(|parsed| parsed.get_ref().as_array()) else {
        return value.clone();
    };
    let mut out = "[\n   ".to_owned();
    let mut column = 3;
    for entry in array.iter() {
        let entry = &value[entry.span()];
        if column > 3 && column + entry.len() + 2 > WIDTH {
            out.push_str("\n   ");
            column = 3;
        }
        out.push_str(&format!(" {entry},"));
        column += entry.len() + 2;
    }
    out + "\n]"
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    crate::settings! {
        /// Settings of a test.
        /// They do nothing.
        struct Switches {
            /// The first.
            first: bool = false,
            /// The second.
            second: bool = true,
            /// How many.
            number: NonZeroU32 = NonZeroU32::MIN,
        }
    }

    #[test]
    fn each_setting_has_its_documentation_above_it() {
        let expected = "# Settings of a test.
# They do nothing.
#
# Every setting stands here with its default, which holds as well where the line is missing.

# The first.
# Expected: true or false.
first = false

# The second.
second = true

# How many.
# Expected: a whole number from 1 to 4294967295, such as 100.
number = 1
";
        assert_eq!(render_settings::<Switches>(), expected);
    }

    #[test]
    fn long_lists_are_filled_into_lines() {
        let entries: Vec<String> = (10..40).map(|number| format!("\"ext{number}\"")).collect();
        let wrapped = wrap("extensions", format!("[{}]", entries.join(", ")));
        assert_eq!(wrapped.lines().count(), 5);
        assert!(wrapped.lines().all(|line| line.len() <= WIDTH));
        assert!(wrapped.starts_with("[\n    \"ext10\", \"ext11\","), "{wrapped}");
        assert!(wrapped.ends_with("\"ext39\",\n]"), "{wrapped}");
        let read: toml::Table = format!("extensions = {wrapped}").parse().unwrap();
        assert_eq!(read["extensions"].as_array().map(Vec::len), Some(30));
        assert_eq!(wrap("mode", "\"off\"".into()), "\"off\"");
    }
}

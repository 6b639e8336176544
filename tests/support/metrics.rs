//! Reads the Prometheus text format, as much of it as the tests ask for.

use std::collections::BTreeMap;

/// One sample: a name, labels, a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, `_total`, `_bucket` and the like included.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// What `/metrics` said at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads every sample line; comments are left out.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(|line| parse_sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect())
    }

    /// The sum over all samples of `name` that carry every one of `labels`; 0 when there is none, as a counter not yet counted.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| {
                labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
            })
            .map(|sample| sample.value)
            .sum()
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let (value, rest) = rest.split_once('"')?;
        labels.insert(key.to_owned(), value.to_owned());
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

//! The recorded counts, `benches/counts.toml`.

use std::fmt::Write;
use std::fs;

use crate::counting::Cost;
use crate::paths::Path;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts.toml");

const HEAD: &str = "\
# What the hottest paths cost, per request, mail or scan: instructions and heap allocations of the thread that answers.
# Written by `cargo counts --record`; .ci/run compares with it.
";

/// What the file says.
pub(crate) struct Recorded(toml::Table);

impl Recorded {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(FILE).unwrap_or_default();
        Self(text.parse().expect("benches/counts.toml is TOML"))
    }

    pub(crate) fn of(costs: &[(Path, Cost)]) -> Self {
        let mut text = String::new();
        for (path, cost) in costs {
            let Cost { instructions, allocations, beside } = cost;
            println!(
                "{}: {instructions:.0} instructions, {allocations:.1} allocations, {beside:.0} beside",
                path.name()
            );
            let _ = writeln!(
                text,
                "[{}]\ninstructions = {instructions:.0}\nallocations = {allocations:.1}\n",
                path.name()
            );
        }
        Self(text.parse().expect("what was written is TOML"))
    }

    pub(crate) fn write(&self) {
        fs::write(FILE, format!("{HEAD}\n{}", self.0)).expect("benches/counts.toml is writable");
    }

    /// Infinite where nothing is recorded.
    pub(crate) fn instructions(&self, path: Path) -> f64 {
        self.number(path, "instructions")
    }

    pub(crate) fn allocations(&self, path: Path) -> f64 {
        // Of 0.2 allocations a request 5 % are nothing.
        self.number(path, "allocations") + 0.5
    }

    fn number(&self, path: Path, key: &str) -> f64 {
        let value = self.0.get(path.name()).and_then(|of| of.get(key));
        value
            .and_then(|value| value.as_float().or_else(|| value.as_integer().map(|it| it as f64)))
            .unwrap_or(f64::INFINITY)
    }
}

//! What is printed.

use serde_json::json;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The case.
    pub(crate) case: &'static str,
    /// What Greylag did.
    pub(crate) greylag: f64,
    /// What the server that does nothing did, where there is one to compare with.
    pub(crate) nothing: Option<f64>,
    /// What both are counted in.
    pub(crate) unit: &'static str,
    /// What is wanted: of the ratio where there is one, else of the figure.
    pub(crate) target: Target,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Row {
    /// Greylag's figure over the other; the figure itself where there is no other.
    fn measured(&self) -> f64 {
        self.nothing.map_or(self.greylag, |nothing| self.greylag / nothing)
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(target) => Some(self.measured() >= target),
            Target::AtMost(target) => Some(self.measured() <= target),
            Target::None => None,
        }
    }
}

pub(crate) fn table(rows: &[Row]) {
    println!("| case | Greylag | nothing | unit | ratio | target | |\n|---|---:|---:|---|---:|---|---|");
    for row in rows {
        let nothing = row.nothing.map_or_else(|| "-".to_owned(), number);
        let ratio = row.nothing.map_or_else(|| "-".to_owned(), |_| format!("{:.2}", row.measured()));
        let target = match row.target {
            Target::AtLeast(target) => format!(">= {target}"),
            Target::AtMost(target) => format!("<= {target}"),
            Target::None => String::new(),
        };
        let met = row.is_met().map_or("", |met| if met { "met" } else { "missed" });
        println!(
            "| {} | {} | {nothing} | {} | {ratio} | {target} | {met} |",
            row.case,
            number(row.greylag),
            row.unit
        );
    }
}

pub(crate) fn json(rows: &[Row]) {
    for row in rows {
        let (case, unit, ratio, met) = (row.case, row.unit, row.measured(), row.is_met());
        println!(
            "{}",
            json!({ "case": case, "unit": unit, "greylag": row.greylag, "nothing": row.nothing, "measured": ratio, "met": met })
        );
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

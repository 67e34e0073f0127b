//! What was found: lines for people as it is found, or one JSON object at the end.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::figures::Spread;
use crate::options::Options;

/// What a figure must not miss.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::AtMost(bound) => format!("at most {bound}"),
        }
    }
}

/// Collects the figures of one run.
pub struct Report {
    json: bool,
    figures: Map<String, Value>,
    missed: u32,
}

impl Report {
    /// With `--json`, silent until the end.
    pub fn new(benchmark: &str, options: &Options) -> Self {
        let mut figures = Map::new();
        figures.insert("benchmark".into(), benchmark.into());
        Self {
            json: options.has("--json"),
            figures,
            missed: 0,
        }
    }

    /// A line for people only.
    pub fn say(&self, line: &str) {
        if !self.json {
            println!("{line}");
        }
    }

    /// A figure that is only told.
    pub fn figure(&mut self, name: &str, unit: &str, spread: Spread) {
        self.say(&format!("{name:<44} {spread} {unit}"));
        let Spread { median, low, high } = spread;
        let value = json!({ "unit": unit, "median": median, "low": low, "high": high });
        self.figures.insert(name.into(), value);
    }

    /// A figure that has a bar to take.
    pub fn bar(&mut self, name: &str, unit: &str, spread: Spread, bound: Bound) {
        let met = bound.holds(spread.median);
        self.missed += u32::from(!met);
        let verdict = if met { "met" } else { "MISSED" };
        let bound = bound.text();
        self.say(&format!(
            "{name:<44} {spread} {unit}, bar {bound}: {verdict}"
        ));
        let Spread { median, low, high } = spread;
        let value = json!({
            "unit": unit, "median": median, "low": low, "high": high, "bar": bound, "met": met
        });
        self.figures.insert(name.into(), value);
    }

    /// Prints what is owed; fails if a bar was missed.
    pub fn finish(self) -> ExitCode {
        if self.json {
            println!("{}", Value::Object(self.figures));
        }
        ExitCode::from(u8::from(self.missed > 0))
    }
}

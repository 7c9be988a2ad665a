//! What the comparisons with others share: how many events, ratios of pairs, and how busy the machine is.
//!
//! Rates drift with the machine; what two contenders reach right after each other does so together. So every time is
//! taken beside one of the reference, and it is the median of those ratios that is worth quoting.

use std::error::Error;
use std::time::Duration;

/// Why a comparison could not be made.
pub type Failure = Box<dyn Error>;

/// How many times each contender has its turn.
pub const ROUNDS: usize = 7;

/// Returns the number of events to measure with: `DRILLFOLD_BENCH_EVENTS`, or `otherwise`.
///
/// # Errors
/// The variable holds no number above 0.
pub fn event_count(otherwise: usize) -> Result<usize, Failure> {
    let Ok(text) = std::env::var("DRILLFOLD_BENCH_EVENTS") else { return Ok(otherwise) };
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("DRILLFOLD_BENCH_EVENTS is {text:?}; give a number of events above 0").into())
}

/// Prints the share of time in which something waited for a processor, where the system tells: how much to believe.
pub fn print_cpu_pressure(when: &str) {
    if let Ok(text) = std::fs::read_to_string("/proc/pressure/cpu") {
        println!("CPU pressure {when}: {}", text.lines().next().unwrap_or_default());
    }
}

/// Prints the head of the table whose rows [`Pairs::print`] prints.
pub fn print_head(reference: &str) {
    println!("| contender | thousand events/s | ratio to {reference} | range |");
    println!("|---|---|---|---|");
}

/// Times of one contender, each beside one of the reference.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    own_s: Vec<f64>,
    ratios: Vec<f64>,
}

impl Pairs {
    /// Takes in what the reference and the contender needed in one round, for the same work.
    pub fn push(&mut self, reference: Duration, own: Duration) {
        self.own_s.push(own.as_secs_f64());
        self.ratios.push(reference.as_secs_f64() / own.as_secs_f64());
    }

    /// Prints a row: median events a second, median and range of the ratios. A ratio above 1 is faster than the reference.
    pub fn print(&self, name: &str, event_count: usize) {
        let rate = event_count as f64 / median(&self.own_s) / 1e3;
        let least = self.ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.ratios.iter().copied().fold(0.0, f64::max);
        println!("| {name} | {rate:.0} | {:.2} | {least:.2} to {most:.2} |", median(&self.ratios));
    }
}

/// Returns the middle value, 0 where there is none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

//! Histograms of times. Each thread that answers mail counts in cells of its own, and they are added up when somebody looks.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::per_thread::PerThread;

/// Most buckets of one histogram.
const MOST_BUCKETS: usize = 17;

/// How long something took, for one value of the labels.
#[derive(Debug)]
pub(super) struct Histogram {
    /// `key="value",…`, each with a comma behind it.
    labels: String,
    /// Upper bounds of the buckets, in seconds, in ascending order.
    bounds: &'static [f64],
    cells: PerThread<Cells>,
}

#[derive(Debug, Default)]
struct Cells {
    /// How many times were up to each bound and above the one before.
    buckets: [AtomicU64; MOST_BUCKETS],
    /// How many were above all.
    above: AtomicU64,
    /// The whole seconds of all together, and the nanoseconds beside these: both are large enough for all times there will be.
    seconds: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// One without samples. Keys and values are names of ours, which need no escapes.
    pub(super) fn new(bounds: &'static [f64], labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| format!("{key}=\"{value}\",")).collect();
        Self { labels, bounds, cells: PerThread::default() }
    }

    /// Counts a time.
    pub(super) fn record(&self, took: Duration) {
        let Some(cells) = self.cells.own() else { return };
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        let count = bucket.and_then(|bucket| cells.buckets.get(bucket)).unwrap_or(&cells.above);
        count.fetch_add(1, Ordering::Relaxed);
        cells.nanoseconds.fetch_add(took.subsec_nanos().into(), Ordering::Relaxed);
        if took.as_secs() > 0 {
            cells.seconds.fetch_add(took.as_secs(), Ordering::Relaxed);
        }
    }

    /// Appends its lines in the text format of Prometheus.
    pub(super) fn render(&self, name: &str, out: &mut String) {
        let all = |cell: &dyn Fn(&Cells) -> &AtomicU64| -> u64 {
            self.cells.each().map(|cells| cell(cells).load(Ordering::Relaxed)).sum()
        };
        let labels = &self.labels;
        let mut up_to = 0;
        // Writing to a string does not fail.
        for (bucket, bound) in self.bounds.iter().enumerate().take(MOST_BUCKETS) {
            up_to += all(&|cells| &cells.buckets[bucket]);
            let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {up_to}");
        }
        let count = up_to + all(&|cells| &cells.above);
        let (seconds, nanoseconds) = (all(&|cells| &cells.seconds), all(&|cells| &cells.nanoseconds));
        let sum = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds));
        let _ = writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}");
        let of = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => String::new(),
        };
        let _ = writeln!(out, "{name}_sum{of} {}", sum.as_secs_f64());
        let _ = writeln!(out, "{name}_count{of} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(histogram: &Histogram) -> String {
        let mut out = String::new();
        histogram.render("took_seconds", &mut out);
        out
    }

    #[test]
    fn times_are_counted_in_their_bucket_and_all_above() {
        let histogram = Histogram::new(&[0.000_05, 0.5, 10.0], &[("a", "b"), ("c", "d")]);
        std::thread::scope(|scope| {
            for micros in [0, 50, 51, 500_000, 10_000_001] {
                let histogram = &histogram;
                scope.spawn(move || histogram.record(Duration::from_micros(micros)));
            }
        });
        assert_eq!(
            rendered(&histogram),
            "took_seconds_bucket{a=\"b\",c=\"d\",le=\"0.00005\"} 2\n\
             took_seconds_bucket{a=\"b\",c=\"d\",le=\"0.5\"} 4\n\
             took_seconds_bucket{a=\"b\",c=\"d\",le=\"10\"} 4\n\
             took_seconds_bucket{a=\"b\",c=\"d\",le=\"+Inf\"} 5\n\
             took_seconds_sum{a=\"b\",c=\"d\"} 10.500102\n\
             took_seconds_count{a=\"b\",c=\"d\"} 5\n"
        );
    }

    #[test]
    fn one_without_labels_has_no_braces() {
        let histogram = Histogram::new(&[1.0], &[]);
        assert_eq!(
            rendered(&histogram),
            "took_seconds_bucket{le=\"1\"} 0\ntook_seconds_bucket{le=\"+Inf\"} 0\ntook_seconds_sum 0\n\
             took_seconds_count 0\n"
        );
    }
}

//! Histograms of times. Each thread that answers mail counts in cells of its own, and they are added up when somebody looks.

use std::fmt::Write;
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

#[derive(Clone, Copy, Debug, Default)]
struct Cells {
    /// Times up to each bound and above the one before.
    buckets: [u64; MOST_BUCKETS],
    count: u64,
    sum: Duration,
}

impl Histogram {
    /// One without samples. Keys and values are names of ours, which need no escapes.
    pub(super) fn new(bounds: &'static [f64], labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(key, value)| format!("{key}=\"{value}\",")).collect();
        Self { labels, bounds, cells: PerThread::default() }
    }

    /// Counts a time.
    pub(super) fn record(&self, took: Duration) {
        let Some(mut cells) = self.cells.own() else { return };
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(count) = bucket.and_then(|bucket| cells.buckets.get_mut(bucket)) {
            *count += 1;
        }
        cells.count += 1;
        cells.sum = cells.sum.saturating_add(took);
    }

    /// Appends its lines in the text format of Prometheus.
    pub(super) fn render(&self, name: &str, out: &mut String) {
        let mut all = Cells::default();
        for cells in self.cells.each() {
            all.buckets.iter_mut().zip(cells.buckets).for_each(|(sum, count)| *sum += count);
            all.count += cells.count;
            all.sum = all.sum.saturating_add(cells.sum);
        }
        let labels = &self.labels;
        let mut up_to = 0;
        // Writing to a string does not fail.
        for (bound, count) in self.bounds.iter().zip(all.buckets) {
            up_to += count;
            let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{bound}\"}} {up_to}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {}", all.count);
        let of = match labels.strip_suffix(',') {
            Some(labels) => format!("{{{labels}}}"),
            None => String::new(),
        };
        let _ = writeln!(out, "{name}_sum{of} {}", all.sum.as_secs_f64());
        let _ = writeln!(out, "{name}_count{of} {}", all.count);
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

//! A distribution as HdrHistogram writes it (`.hgrm`), for its plotters. Values are in milliseconds, as those of wrk2 are.

use std::fmt::Write;

use crate::client::histogram::Histogram;

const MILLISECOND: f64 = 1e6;

/// The text of the file.
pub(super) fn text(times: &Histogram) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for (time, quantile, count) in times.distribution() {
        let _ = write!(text, "{:12.3} {quantile:2.12} {count:10}", time as f64 / MILLISECOND);
        // Infinity has no place in that column.
        let _ = match quantile < 1.0 {
            true => writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text),
        };
    }
    let mean = times.mean().unwrap_or(0.0) / MILLISECOND;
    let deviation = times.deviation().unwrap_or(0.0) / MILLISECOND;
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let longest = times.max().unwrap_or(0) as f64 / MILLISECOND;
    let _ = writeln!(text, "#[Max     = {longest:12.3}, Total count    = {:12}]", times.count());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_hdr_histogram() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|n| times.record(n * 1_000_000));
        let text = text(&times);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert!(lines[2].ends_with("          1           1.00"), "{}", lines[2]);
        let rows: Vec<Vec<f64>> = lines[2..lines.len() - 2]
            .iter()
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0));
        assert_eq!(lines[lines.len() - 2], "#[Mean    =      500.500, StdDeviation   =      288.675]");
        assert_eq!(lines[lines.len() - 1], "#[Max     =     1000.000, Total count    =         1000]");
    }
}

//! What one measurement found in one run, and the line that it becomes over several runs.

use serde::Serialize;

use crate::{
    report::{Goal, Row},
    stats,
};

/// A figure of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// Id of the goal, `-` for a figure that only shows the scale.
    pub(crate) id: &'static str,
    /// What is measured; names the figure among those of a run.
    pub(crate) what: String,
    /// Unit of `measured` and `yardstick`.
    pub(crate) unit: &'static str,
    /// Of the program under test.
    pub(crate) measured: f64,
    /// Of what it is compared with.
    pub(crate) yardstick: Option<f64>,
    /// What has to be reached.
    #[serde(skip)]
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    /// A figure with nothing to compare it with.
    pub(crate) fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self {
            id: "-",
            what: what.into(),
            unit,
            measured,
            yardstick: None,
            goal: None,
        }
    }

    /// The same beside what it is compared with.
    pub(crate) fn beside(self, yardstick: f64) -> Self {
        Self {
            yardstick: Some(yardstick),
            ..self
        }
    }

    /// The same with what it has to be.
    pub(crate) fn wants(self, id: &'static str, goal: Goal) -> Self {
        Self {
            id,
            goal: Some(goal),
            ..self
        }
    }
}

/// A line for each figure that a run has: medians over all runs that have it, of the ratios within them too.
pub(crate) fn rows(runs: &[&[Figure]]) -> Vec<Row> {
    let mut named: Vec<&Figure> = Vec::new();
    for figure in runs.iter().copied().flatten() {
        if named.iter().all(|former| former.what != figure.what) {
            named.push(figure);
        }
    }
    named.into_iter().map(|first| row(first, runs)).collect()
}

fn row(first: &Figure, runs: &[&[Figure]]) -> Row {
    let of = |get: fn(&Figure) -> Option<f64>| {
        let same = |run: &&[Figure]| run.iter().find(|figure| figure.what == first.what).and_then(get);
        stats::median(runs.iter().filter_map(same))
    };
    Row {
        id: first.id,
        what: first.what.clone(),
        unit: first.unit,
        measured: of(|figure| Some(figure.measured)),
        yardstick: of(|figure| figure.yardstick),
        ratio: of(|figure| Some(figure.measured / figure.yardstick?)),
        goal: first.goal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    #[test]
    fn figure_that_the_first_run_lacks_has_a_line() {
        let (first, second) = ([Figure::new("a", 1.0, "/s")], [Figure::new("b", 2.0, "/s")]);
        let rows = rows(&[&first, &second]);
        let whats: Vec<_> = rows.iter().map(|row| (&row.what[..], row.measured)).collect();
        assert_eq!(whats, [("a", Some(1.0)), ("b", Some(2.0))]);
    }

    #[test]
    fn line_has_the_median_of_the_ratios_within_runs() {
        let run = |measured: f64, yardstick: f64| {
            let figure = Figure::new("sends", measured, "/s").beside(yardstick);
            [
                Figure::new("memory", 12.0, "MiB"),
                figure.wants("P1", Goal::RatioAtLeast(0.66)),
            ]
        };
        // The disk was slow in the second run, for both.
        let runs = [run(70.0, 100.0), run(8.0, 10.0), run(60.0, 100.0)];
        let runs: Vec<&[Figure]> = runs.iter().map(|run| &run[..]).collect();
        let rows = rows(&runs);
        let sends = &rows[1];
        assert_eq!(
            (sends.measured, sends.yardstick, sends.ratio),
            (Some(60.0), Some(100.0), Some(0.7))
        );
        assert_eq!((sends.id, sends.verdict()), ("P1", Verdict::Pass));
        let memory = &rows[0];
        assert_eq!((memory.yardstick, memory.ratio), (None, None));
        assert_eq!((memory.id, memory.verdict()), ("-", Verdict::None));
    }
}

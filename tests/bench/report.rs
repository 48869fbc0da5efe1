//! The table on the terminal and the result file.

use std::{
    fmt,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::clock;

/// What a figure has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// The ratio to the yardstick; more is better.
    RatioAtLeast(f64),
    /// The ratio to the yardstick; less is better.
    RatioAtMost(f64),
    /// The figure itself, in the row's unit; more is better.
    AtLeast(f64),
    /// The same; less is better.
    AtMost(f64),
}

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Miss,
    /// There is no goal, or nothing to compare.
    None,
}

/// One line of the report; figures are medians over the runs.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Id of the goal, `-` for a figure that only shows the scale.
    pub(crate) id: &'static str,
    /// What is measured.
    pub(crate) what: String,
    /// Unit of `measured` and `yardstick`.
    pub(crate) unit: &'static str,
    /// Of the program under test.
    pub(crate) measured: Option<f64>,
    /// Of what it is compared with.
    pub(crate) yardstick: Option<f64>,
    /// Median of the ratios of the single runs, which shared the machine's state.
    pub(crate) ratio: Option<f64>,
    /// What has to be reached.
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Pass or miss.
    pub(crate) fn verdict(&self) -> Verdict {
        let reached = match self.goal {
            Some(Goal::RatioAtLeast(least)) => self.ratio.map(|ratio| ratio >= least),
            Some(Goal::RatioAtMost(most)) => self.ratio.map(|ratio| ratio <= most),
            Some(Goal::AtLeast(least)) => self.measured.map(|measured| measured >= least),
            Some(Goal::AtMost(most)) => self.measured.map(|measured| measured <= most),
            None => None,
        };
        match reached {
            Some(true) => Verdict::Pass,
            Some(false) => Verdict::Miss,
            None => Verdict::None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(bound) => write!(f, ">= {} x", ratio(*bound)),
            Self::RatioAtMost(bound) => write!(f, "<= {} x", ratio(*bound)),
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Miss => "MISS",
            Self::None => "",
        })
    }
}

/// Writes the rows as a table.
///
/// # Errors
/// The output is closed.
pub(crate) fn print(rows: &[Row], out: &mut impl Write) -> anyhow::Result<()> {
    let figure = |value: Option<f64>| value.map_or("-".into(), thousands);
    let ratio = |value: Option<f64>| value.map_or("-".into(), ratio);
    let goal = |value: Option<Goal>| value.map_or(String::new(), |value| value.to_string());
    let mut line = |cells: [&str; 8]| {
        let [id, what, unit, measured, yardstick, ratio, goal, verdict] = cells;
        writeln!(
            out,
            "{id:<5} {what:<46} {measured:>9} {yardstick:>9} {unit:<4} {ratio:>6}  {goal:<10} {verdict}"
        )
    };
    line([
        "goal",
        "what",
        "unit",
        "measured",
        "yardstick",
        "ratio",
        "has to be",
        "",
    ])?;
    for row in rows {
        line([
            row.id,
            &row.what,
            row.unit,
            &figure(row.measured),
            &figure(row.yardstick),
            &ratio(row.ratio),
            &goal(row.goal),
            &row.verdict().to_string(),
        ])?;
    }
    Ok(())
}

/// `0.083`, `0.66`, `128`: two digits at least.
fn ratio(value: f64) -> String {
    match value {
        ..0.0995 => format!("{value:.3}"),
        ..99.5 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// `12,345`, `123`, `12.3`, `1.23`: three digits at least.
fn thousands(value: f64) -> String {
    if value < 9.995 {
        return format!("{value:.2}");
    }
    if value < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3);
    let mut text = digits[..head].to_owned();
    for group in groups {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().copied().map(char::from));
    }
    text
}

/// Writes the result to `<Unix seconds>.json` below the folder, and again to `latest.json`.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn save(folder: &Path, result: &impl Serialize) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{}.json", clock::unix_millis() / 1000));
    let mut file = File::create(&path)?;
    serde_json::to_writer_pretty(&mut file, result)?;
    writeln!(file)?;
    fs::copy(&path, folder.join("latest.json"))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: Option<f64>, goal: Goal) -> Row {
        Row {
            id: "P1",
            what: "sends".into(),
            unit: "/s",
            measured: Some(29_500.0),
            yardstick: Some(44_700.4),
            ratio,
            goal: Some(goal),
        }
    }

    #[test]
    fn verdict_follows_the_direction_of_the_bound() {
        assert_eq!(row(Some(0.66), Goal::RatioAtLeast(0.66)).verdict(), Verdict::Pass);
        assert_eq!(row(Some(0.65), Goal::RatioAtLeast(0.66)).verdict(), Verdict::Miss);
        assert_eq!(row(Some(1.31), Goal::RatioAtMost(1.3)).verdict(), Verdict::Miss);
        assert_eq!(row(None, Goal::RatioAtMost(1.3)).verdict(), Verdict::None);
        assert_eq!(row(None, Goal::AtMost(29_500.0)).verdict(), Verdict::Pass);
        assert_eq!(row(None, Goal::AtLeast(29_501.0)).verdict(), Verdict::Miss);
    }

    #[test]
    fn figures_have_three_digits_at_least() {
        let texts: Vec<_> = [0.788, 12.34, 123.4, 999.6, 44_700.4, 1_234_567.0]
            .map(thousands)
            .into();
        assert_eq!(texts, ["0.79", "12.3", "123", "1,000", "44,700", "1,234,567"]);
    }

    #[test]
    fn ratios_have_two_digits_at_least() {
        let texts: Vec<_> = [1.0 / 12.0, 0.0996, 0.66, 12.345, 128.4].map(ratio).into();
        assert_eq!(texts, ["0.083", "0.10", "0.66", "12.35", "128"]);
    }

    #[test]
    fn table_shows_goal_figures_and_verdict() {
        let mut out = Vec::new();
        print(&[row(Some(0.66), Goal::RatioAtLeast(0.66))], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "P1", "sends", "29,500", "44,700", "/s", "0.66", ">=", "0.66", "x", "pass"
            ]
        );
    }
}

//! The table on the terminal and the result file.

use std::{
    fmt,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::clock;

/// What a ratio has to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "goals over latency need a relay beside the yardstick")
    )]
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
    pub(crate) goal: &'static str,
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
    /// What the ratio has to be.
    pub(crate) bound: Option<Bound>,
}

impl Row {
    /// Pass or miss.
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.ratio, self.bound) {
            (Some(ratio), Some(Bound::AtLeast(least))) if ratio >= least => Verdict::Pass,
            (Some(ratio), Some(Bound::AtMost(most))) if ratio <= most => Verdict::Pass,
            (Some(_), Some(_)) => Verdict::Miss,
            _ => Verdict::None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound:.2}"),
            Self::AtMost(bound) => write!(f, "<= {bound:.2}"),
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
    let ratio = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    let bound = |value: Option<Bound>| value.map_or(String::new(), |value| value.to_string());
    let mut line = |cells: [&str; 8]| {
        let [goal, what, unit, measured, yardstick, ratio, bound, verdict] = cells;
        writeln!(
            out,
            "{goal:<5} {what:<48} {measured:>9} {yardstick:>9} {unit:<8} {ratio:>6}  {bound:<8} {verdict}"
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
            row.goal,
            &row.what,
            row.unit,
            &figure(row.measured),
            &figure(row.yardstick),
            &ratio(row.ratio),
            &bound(row.bound),
            &row.verdict().to_string(),
        ])?;
    }
    Ok(())
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

    fn row(ratio: Option<f64>, bound: Option<Bound>) -> Row {
        Row {
            goal: "P1",
            what: "sends".into(),
            unit: "/s",
            measured: Some(29_500.0),
            yardstick: Some(44_700.4),
            ratio,
            bound,
        }
    }

    #[test]
    fn verdict_follows_the_direction_of_the_bound() {
        assert_eq!(
            row(Some(0.66), Some(Bound::AtLeast(0.66))).verdict(),
            Verdict::Pass
        );
        assert_eq!(
            row(Some(0.65), Some(Bound::AtLeast(0.66))).verdict(),
            Verdict::Miss
        );
        assert_eq!(row(Some(1.31), Some(Bound::AtMost(1.3))).verdict(), Verdict::Miss);
        assert_eq!(row(None, Some(Bound::AtMost(1.3))).verdict(), Verdict::None);
    }

    #[test]
    fn figures_have_three_digits_at_least() {
        let texts: Vec<_> = [0.788, 12.34, 123.4, 999.6, 44_700.4, 1_234_567.0]
            .map(thousands)
            .into();
        assert_eq!(texts, ["0.79", "12.3", "123", "1,000", "44,700", "1,234,567"]);
    }

    #[test]
    fn table_shows_goal_figures_and_verdict() {
        let mut out = Vec::new();
        print(&[row(Some(0.66), Some(Bound::AtLeast(0.66)))], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "P1", "sends", "29,500", "44,700", "/s", "0.66", ">=", "0.66", "pass"
            ]
        );
    }
}

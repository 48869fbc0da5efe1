//! Points in time as text: ISO 8601, UTC, milliseconds, `Z`.

use time::{
    OffsetDateTime,
    format_description::{FormatItem, well_known::Rfc3339},
    macros::format_description,
};

use crate::model::UnixMs;

const FORMAT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
/// The last millisecond of the year 9999: what has four digits of year.
const LAST: UnixMs = 253_402_300_799_999;

/// Shows a point in time; those after the year 9999, which only a liar claims, as its end.
pub(crate) fn display(at: UnixMs) -> String {
    let nanos = i128::from(at.min(LAST)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(FORMAT).ok())
        .unwrap_or_default()
}

/// Reads RFC 3339; `None` for other text and for times before 1970.
pub(crate) fn parse(text: &str) -> Option<UnixMs> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    UnixMs::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_milliseconds_and_z() {
        assert_eq!(display(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(display(1_795_369_148_007), "2026-11-22T17:39:08.007Z");
        assert_eq!(display(LAST), "9999-12-31T23:59:59.999Z");
        assert_eq!(display(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn parse_reads_rfc_3339_only() {
        assert_eq!(parse("2026-11-22T17:39:08.0079Z"), Some(1_795_369_148_007));
        assert_eq!(parse("2026-11-22T19:39:08+02:00"), Some(1_795_369_148_000));
        for bad in [
            "",
            "now",
            "1795369148",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

//! Spans of time as people write them: `500ms`, `60s`, `2m`, `1h`.

use std::time::Duration;

/// No span on a command line is longer.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A text that is no span of time; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    /// It is not a number and a unit.
    #[error("write a whole number and a unit: 500ms, 60s, 2m or 1h")]
    Form,
    /// It is longer than anything here lasts.
    #[error("a duration is at most 365 days (8760h)")]
    TooLong,
}

/// Reads digits followed by `ms`, `s`, `m` or `h`; at most 365 days.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).ok_or(BadDuration::Form)?;
    let (digits, unit) = text.split_at(digits_end);
    let unit_millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(BadDuration::Form),
    };
    if digits.is_empty() {
        return Err(BadDuration::Form);
    }
    let millis = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_millis));
    let duration = Duration::from_millis(millis.ok_or(BadDuration::TooLong)?);
    if duration > DURATION_MAX { Err(BadDuration::TooLong) } else { Ok(duration) }
}

/// The shortest text that [`parse_duration`] reads as `duration`, whole milliseconds.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_shows() {
        for (text, millis) in [("500ms", 500), ("60s", 60_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(duration));
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        assert_eq!(show_duration(Duration::from_secs(60)), "1m");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "5", "s", "-5s", "5 s", "5S", "1.5s", "1h30m", "5d", "\u{662}s"] {
            assert_eq!(parse_duration(text), Err(BadDuration::Form), "{text:?}");
        }
        for text in ["8761h", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse_duration(text), Err(BadDuration::TooLong), "{text:?}");
        }
    }
}

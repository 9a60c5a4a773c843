//! Durations as people write them: a whole number and `s`, `m`, `h` or `d`.

use std::time::Duration;

/// Reads `90s`, `15m`, `24h` or `365d`.
///
/// # Errors
/// A sentence that names the forms.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write a number and s, m, h or d, as 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|seconds| (1..=MOST).contains(seconds)).map(Duration::from_secs).ok_or_else(wrong)
}

/// A hundred years.
const MOST: u64 = 36_500 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_explained() {
        assert_eq!(["90s", "15m", "24h", "365d"].map(|text| parse(text).unwrap().as_secs()), [90, 900, 86_400, 31_536_000]);
        for wrong in ["", "h", "24", "1.5h", "-1h", "0s", "24H", "99999999999999999999d", "40000d", "ü"] {
            assert!(parse(wrong).unwrap_err().contains("as 24h"), "{wrong}");
        }
    }
}

//! Kubernetes' times: RFC 3339 text from and to seconds since 1970. Pure, no time zones but the offset that is written.

/// Whole seconds since 1970 of an RFC 3339 text such as `2026-11-23T22:05:00Z`, or `None` if it is none.
pub fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let clock_end = rest.find(['Z', 'z', '+', '-', '.'])?;
    let mut clock = rest[..clock_end].splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let in_range = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let zone = rest[clock_end..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?)
}

/// RFC 3339 text in UTC, with `fraction` digits of the nanoseconds (0 for Time, 6 for MicroTime).
pub fn format(seconds: i64, nanos: u32, fraction: usize) -> String {
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (clock / 3_600, clock % 3_600 / 60, clock % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction > 0 {
        text.push('.');
        text.push_str(&format!("{nanos:09}")[..fraction.min(9)]);
    }
    text.push('Z');
    text
}

fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    Some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

// Howard Hinnant's civil calendar algorithms: years begin in March, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_seconds_are_each_others_inverse() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T22:05:07Z", 1_795_471_507),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(format(seconds, 0, 0), text);
        }
        for day in -200_000..200_000 {
            assert_eq!(parse(&format(day * 86_400, 0, 0)).filter(|_| day > -719_000), (day > -719_000).then_some(day * 86_400));
        }
    }

    #[test]
    fn fractions_and_offsets_are_read() {
        assert_eq!(parse("2026-11-23T22:05:07.123456Z"), Some(1_795_471_507));
        assert_eq!(parse("2026-11-23T23:05:07+01:00"), Some(1_795_471_507));
        assert_eq!(parse("2026-11-23T20:35:07.5-01:30"), Some(1_795_471_507));
        assert_eq!(format(1_795_471_507, 123_456_789, 6), "2026-11-23T22:05:07.123456Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2026-11-23T22:05:07",
            "2026-11-23T25:00:00Z",
            "2026-11-23T22:05Z",
            "é-é-éTé:é:éZ",
            "2026-11-23T22:05:07+9999999999999999:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

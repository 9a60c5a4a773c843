//! Kubernetes quantities: parsed, added, written back in the canonical form.
//!
//! Pure; thousandths in 128 bits, which holds any cluster's sum exactly. Finer parts are rounded up, as Kubernetes does.

use std::fmt;
use std::ops::Add;

/// A non-negative amount in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantity {
    milli: i128,
    binary: bool,
}

const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

impl Quantity {
    /// Parses `1500m`, `2`, `3.5Gi`, `1e3`; `None` for anything else, negative amounts included.
    pub fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (multiplier, divisor) = scale(suffix)?;
        let (units, thousand_places) = decimal(number)?;
        let exact = units.checked_mul(multiplier)?.checked_mul(1000)?;
        let milli = ceil_div(exact, divisor.checked_mul(thousand_places)?);
        Some(Self { milli, binary: suffix.ends_with('i') })
    }
}

impl Add for Quantity {
    type Output = Self;

    /// The form of the first non-zero amount is kept.
    fn add(self, other: Self) -> Self {
        let binary = if self.milli == 0 { other.binary } else { self.binary };
        Self { milli: self.milli.saturating_add(other.milli), binary }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 != 0 {
            return write!(f, "{}m", self.milli);
        }
        let (base, suffixes) = if self.binary { (1024, BINARY) } else { (1000, DECIMAL) };
        let (mut amount, mut at) = (self.milli / 1000, 0);
        while amount != 0 && amount % base == 0 && at + 1 < suffixes.len() {
            (amount, at) = (amount / base, at + 1);
        }
        write!(f, "{amount}{}", suffixes[at])
    }
}

/// A suffix as multiplier and divisor.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    if let Some(power) = BINARY.iter().position(|known| *known == suffix) {
        return Some((1024_i128.pow(power as u32), 1));
    }
    if let Some(power) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((1000_i128.pow(power as u32), 1));
    }
    match suffix {
        "m" => Some((1, 1_000)),
        "u" => Some((1, 1_000_000)),
        "n" => Some((1, 1_000_000_000)),
        _ => exponent(suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

fn exponent(power: i32) -> Option<(i128, i128)> {
    let scale = 10_i128.checked_pow(power.unsigned_abs()).filter(|_| power.abs() <= 18)?;
    Some(if power < 0 { (1, scale) } else { (scale, 1) })
}

/// Digits with at most one point, as an integer and the power of ten that divides it.
fn decimal(number: &str) -> Option<(i128, i128)> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.len() > 9 || whole.len() > 18 {
        return None;
    }
    let units = format!("{whole}{part}").parse().ok()?;
    Some((units, 10_i128.pow(part.len() as u32)))
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value / by + i128::from(value % by != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[&str]) -> String {
        let parse = |text: &&str| Quantity::parse(text).unwrap_or_else(|| panic!("{text} is no quantity"));
        parts.iter().map(parse).fold(Quantity::default(), Quantity::add).to_string()
    }

    #[test]
    fn sums_are_written_as_kubernetes_writes_them() {
        assert_eq!(sum(&["3920m", "80m"]), "4");
        assert_eq!(sum(&["3920m", "4"]), "7920m");
        assert_eq!(sum(&["16Gi", "512Mi"]), "16896Mi");
        assert_eq!(sum(&["1000Ki", "24Ki"]), "1Mi");
        assert_eq!(sum(&["1", "1.5"]), "2500m");
        assert_eq!(sum(&["2k", "1e3"]), "3k");
        assert_eq!(sum(&[]), "0");
    }

    #[test]
    fn fine_amounts_round_up() {
        assert_eq!(sum(&["1n"]), "1m");
        assert_eq!(sum(&["1500u"]), "2m");
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in ["", ".", "-1", "1.2.3", "1Xi", "1e", "1e99", "Gi", "99999999999999999999999", "1Ei9", "999999999999999999Ei"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert_eq!(sum(&["999999999999Ei"]), "999999999999Ei");
    }
}

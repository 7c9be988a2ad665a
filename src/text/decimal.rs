//! Decimal text to scaled integers and back, exactly.
//!
//! A number is read in JSON's form (`-12.5`, `1e-9`) into an integer of 10^-`digits`: with 9 digits `0.5` is 500_000_000.
//! The other way, [`plain`] writes the shortest plain decimal form: no exponent, no zeros at the end of a fraction, no
//! point without a fraction, no sign before zero. So each value has one text, and each text one value.

use thiserror::Error;

/// Digits after the point of a price, an amount or coins: they are kept in 1e-9.
pub const NANO_DIGITS: u32 = 9;

/// Digits after the point of a ratio: it is kept in parts per million.
pub const PPM_DIGITS: u32 = 6;

/// Why a text is no usable decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// The text is not of JSON's number form; the caller names what it is.
    #[error("not a decimal number")]
    NotANumber,
    /// The value has a digit below the scale; the caller rounds it by hand or refuses it.
    #[error("finer than {digits} digits after the point")]
    TooFine {
        /// Digits the scale has.
        digits: u32,
    },
    /// The value does not fit the integer.
    #[error("too large")]
    TooLarge,
}

/// What happens to digits below the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// They are an error.
    Exact,
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
}

/// Reads a decimal into an integer of 10^-`digits`.
///
/// # Errors
/// A text that is no number, digits below the scale, or a value outside `i64`.
pub fn parse(text: &str, digits: u32) -> Result<i64, DecimalError> {
    i64::try_from(parse_wide(text, digits, Rounding::Exact)?).map_err(|_| DecimalError::TooLarge)
}

/// Reads a decimal into an integer of 10^-`digits`, rounding what is below the scale.
///
/// # Errors
/// A text that is no number, or a value outside `i64`; digits below the scale only with [`Rounding::Exact`].
pub fn parse_rounded(text: &str, digits: u32, rounding: Rounding) -> Result<i64, DecimalError> {
    i64::try_from(parse_wide(text, digits, rounding)?).map_err(|_| DecimalError::TooLarge)
}

/// Reads a decimal into a wide integer of 10^-`digits`.
///
/// # Errors
/// As [`parse_rounded`], for `i128`.
pub fn parse_wide(text: &str, digits: u32, rounding: Rounding) -> Result<i128, DecimalError> {
    let parts = Parts::split(text).ok_or(DecimalError::NotANumber)?;
    let whole = parts.whole.trim_start_matches('0');
    let fraction = parts.fraction.trim_end_matches('0');
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        mantissa = mantissa
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit.wrapping_sub(b'0'))))
            .ok_or(DecimalError::TooLarge)?;
    }
    if mantissa == 0 {
        return Ok(0);
    }
    let fraction_digits = i64::try_from(fraction.len()).map_err(|_| DecimalError::TooLarge)?;
    let shift = parts.exponent.saturating_add(i64::from(digits)).saturating_sub(fraction_digits);
    let magnitude = if shift >= 0 {
        power(shift).and_then(|scale| mantissa.checked_mul(scale)).ok_or(DecimalError::TooLarge)?
    } else {
        // A power beyond i128 divides nothing but leaves everything below the scale.
        let (quotient, rest) = match power(shift.saturating_neg()) {
            Some(scale) => (mantissa / scale, mantissa % scale),
            None => (0, mantissa),
        };
        match rounding {
            Rounding::Exact if rest != 0 => return Err(DecimalError::TooFine { digits }),
            Rounding::Up if rest != 0 => quotient.saturating_add(1),
            Rounding::Exact | Rounding::Down | Rounding::Up => quotient,
        }
    };
    Ok(if parts.negative { magnitude.saturating_neg() } else { magnitude })
}

/// Writes an integer of 10^-`digits` in the shortest plain decimal form.
#[must_use]
pub fn plain(value: i128, digits: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let digits = digits as usize;
    let padded = format!("{:0>width$}", value.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = padded.split_at(padded.len() - digits);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// Returns the decimal that a person wrote for this float, or `None` where that can't be told.
///
/// Up to 15 significant digits survive the way through a binary float, so the shortest text that leads to the float is
/// the one that was read. With more digits, or without a finite value, there is no answer.
#[must_use]
pub fn float_text(value: f64) -> Option<String> {
    const DIGITS_MAX: usize = 15;
    if !value.is_finite() {
        return None;
    }
    let text = value.to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (digits.trim_matches('0').len() <= DIGITS_MAX).then_some(text)
}

/// Most characters that [`plain_json`] writes for one number.
pub const PLAIN_LENGTH_MAX: usize = 400;

/// Rewrites a number of JSON's form in the shortest plain decimal form, with as many digits as it has.
///
/// # Errors
/// A text that is no number, or one whose plain form is longer than [`PLAIN_LENGTH_MAX`].
pub fn plain_json(text: &str) -> Result<String, DecimalError> {
    let parts = Parts::split(text).ok_or(DecimalError::NotANumber)?;
    let digits: String = parts.whole.chars().chain(parts.fraction.chars()).collect();
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Ok("0".to_owned());
    }
    // The point stands this many digits right of the first significant one.
    let too_large = DecimalError::TooLarge;
    let whole_digits = i64::try_from(parts.whole.len()).map_err(|_| too_large)?;
    let leading = i64::try_from(leading).map_err(|_| too_large)?;
    let point = whole_digits.saturating_sub(leading).saturating_add(parts.exponent);
    let count = significant.len();
    let length = point.unsigned_abs().saturating_add(count as u64);
    if length > PLAIN_LENGTH_MAX as u64 {
        return Err(too_large);
    }
    let mut out = String::new();
    if parts.negative {
        out.push('-');
    }
    match usize::try_from(point) {
        Ok(point) if point >= count => {
            out.push_str(significant);
            out.extend(std::iter::repeat_n('0', point - count));
        }
        Ok(point) if point > 0 => {
            let (whole, fraction) = significant.split_at(point);
            out.push_str(whole);
            out.push('.');
            out.push_str(fraction);
        }
        Ok(_) | Err(_) => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', usize::try_from(point.unsigned_abs()).unwrap_or(0)));
            out.push_str(significant);
        }
    }
    Ok(out)
}

/// A number of JSON's form, taken apart.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(place) => (text.get(..place)?, exponent(text.get(place + 1..)?)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        (!whole.is_empty() && digits(whole) && digits(fraction)).then_some(Self { negative, whole, fraction, exponent })
    }
}

fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Nothing that fits is further away than this; an exponent beyond it says "too large" or "too fine" all the same.
    let value = digits.parse::<i64>().unwrap_or(i64::MAX).min(1_000_000);
    Some(if negative { value.saturating_neg() } else { value })
}

fn power(exponent: i64) -> Option<i128> {
    u32::try_from(exponent).ok().and_then(|exponent| 10_i128.checked_pow(exponent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        let fine = Err(DecimalError::TooFine { digits: 9 });
        let bad = Err(DecimalError::NotANumber);
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0.000", Ok(0)),
            ("0.7", Ok(700_000_000)),
            ("1e-9", Ok(1)),
            ("1E-9", Ok(1)),
            ("10e-10", Ok(1)),
            ("0.10e1", Ok(1_000_000_000)),
            ("1e+2", Ok(100_000_000_000)),
            ("-12.5", Ok(-12_500_000_000)),
            ("0.5000000000000000000000000000000000000000000000000000", Ok(500_000_000)),
            ("00012", Ok(12_000_000_000)),
            ("0e999999999999999999999", Ok(0)),
            ("9223372036.854775807", Ok(i64::MAX)),
            ("9223372036.854775808", Err(DecimalError::TooLarge)),
            ("-9223372036.854775808", Ok(i64::MIN)),
            ("1e999999999999999999999", Err(DecimalError::TooLarge)),
            ("1e-999999999999999999999", fine),
            ("1e-10", fine),
            ("0.0000000001", fine),
            ("", bad),
            ("-", bad),
            (".5", bad),
            ("5.", bad),
            ("1e", bad),
            ("1e5.5", bad),
            ("1_000", bad),
            ("+1", bad),
            ("0x10", bad),
            ("NaN", bad),
            ("\u{661}", bad),
            ("1 ", bad),
        ] {
            assert_eq!(parse(text, NANO_DIGITS), expected, "{text}");
        }
    }

    #[test]
    fn rounding_goes_where_it_is_told() {
        for (text, down, up) in [("0.0000015", 1, 2), ("-0.0000015", -1, -2), ("1e-50", 0, 1), ("0.000001", 1, 1)] {
            assert_eq!(parse_rounded(text, PPM_DIGITS, Rounding::Down), Ok(down), "{text}");
            assert_eq!(parse_rounded(text, PPM_DIGITS, Rounding::Up), Ok(up), "{text}");
        }
    }

    #[test]
    fn plain_forms_are_shortest() {
        for (value, digits, expected) in
            [(0, 9, "0"), (700_000, 6, "0.7"), (1, 9, "0.000000001"), (-1_500_000, 6, "-1.5"), (42, 0, "42")]
        {
            assert_eq!(plain(value, digits), expected);
        }
        for (text, expected) in [
            ("0.70", "0.7"),
            ("1e-9", "0.000000001"),
            ("-0.0", "0"),
            ("1.50e3", "1500"),
            ("12345678901234567890123.4500", "12345678901234567890123.45"),
            ("100", "100"),
            ("0.001e2", "0.1"),
            ("5E0", "5"),
        ] {
            assert_eq!(plain_json(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(plain_json("1e500"), Err(DecimalError::TooLarge));
        assert_eq!(plain_json("1e-500"), Err(DecimalError::TooLarge));
    }

    #[test]
    fn floats_are_told_by_their_text_or_not_at_all() {
        for (value, expected) in [
            (0.7, Some("0.7")),
            (1e-9, Some("0.000000001")),
            (60_000.5, Some("60000.5")),
            (0.1 + 0.2, None),
            (123_456_789.123_456_79, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(float_text(value).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn prop_plain_and_parse_lead_back(value: i64, digits in 0_u32..=12) {
            let text = plain(i128::from(value), digits);
            prop_assert_eq!(parse(&text, digits), Ok(value));
            prop_assert_eq!(plain_json(&text), Ok(text));
        }

        #[test]
        fn prop_any_text_is_answered(text in "[-+0-9.eE]{0,24}|\\PC{0,12}", digits in 0_u32..=40) {
            let _ = parse(&text, digits);
            let _ = parse_rounded(&text, digits, Rounding::Up);
            let _ = plain_json(&text);
        }
    }
}

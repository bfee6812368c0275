//! Resolves plain words as YAML 1.1, as `PyYAML` does for docker-compose.

use super::node::{Kind, Other, Value};

/// Returns the value of a word without quotes.
pub(super) fn resolve(word: &str) -> Value {
    if matches!(word, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    match boolean(word)
        .or_else(|| float(word))
        .or_else(|| integer(word))
        .or_else(|| date(word))
    {
        Some((kind, text)) => Value::Other(Other { text, kind }),
        None => Value::String(word.to_owned()),
    }
}

fn boolean(word: &str) -> Option<(Kind, String)> {
    let value = match word {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => true,
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => false,
        _ => return None,
    };
    Some((Kind::Bool(value), value.to_string()))
}

/// Splits off the sign.
fn signed(word: &str) -> (bool, &str) {
    match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    }
}

/// Whether a text is not empty and consists of these characters.
fn is_of(text: &str, is_one: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_one)
}

/// Whether all parts of a base-60 number after the first are from 0 to 59.
fn are_sixtieths<'a>(parts: impl Iterator<Item = &'a str>) -> bool {
    let mut parts = parts.peekable();
    parts.peek().is_some()
        && parts.all(|part| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']))
}

fn integer(word: &str) -> Option<(Kind, String)> {
    let (is_negative, digits) = signed(word);
    let bare = digits.replace('_', "");
    let radix = |rest: &str, radix| i128::from_str_radix(rest, radix).ok();
    let is_decimal = |c: char| c.is_ascii_digit() || c == '_';
    let value = if let Some(rest) = digits.strip_prefix("0b")
        && is_of(rest, |c| matches!(c, '0' | '1' | '_'))
    {
        radix(&rest.replace('_', ""), 2)?
    } else if let Some(rest) = digits.strip_prefix("0x")
        && is_of(rest, |c| c.is_ascii_hexdigit() || c == '_')
    {
        radix(&rest.replace('_', ""), 16)?
    } else if digits == "0" {
        0
    } else if let Some(rest) = digits.strip_prefix('0')
        && is_of(rest, |c| matches!(c, '0'..='7' | '_'))
    {
        radix(&bare, 8)?
    } else if digits.starts_with(|c: char| matches!(c, '1'..='9')) && is_of(digits, is_decimal) {
        radix(&bare, 10)?
    } else if digits.starts_with(|c: char| matches!(c, '1'..='9'))
        && let Some((first, rest)) = digits.split_once(':')
        && is_of(first, is_decimal)
        && are_sixtieths(rest.split(':'))
    {
        bare.split(':').try_fold(0_i128, |value, part| {
            value.checked_mul(60)?.checked_add(part.parse().ok()?)
        })?
    } else {
        return None;
    };
    let value = if is_negative { -value } else { value };
    Some((Kind::Int(value), value.to_string()))
}

fn float(word: &str) -> Option<(Kind, String)> {
    let (is_negative, digits) = signed(word);
    let sign = if is_negative { -1.0 } else { 1.0 };
    let found = |value: f64| Some((Kind::Float(sign * value), word.to_owned()));
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return found(f64::INFINITY);
    }
    if matches!(word, ".nan" | ".NaN" | ".NAN") {
        return found(f64::NAN);
    }
    let is_digit = |c: char| c.is_ascii_digit() || c == '_';
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    let fits_exponent = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|digits| is_of(digits, |c| c.is_ascii_digit()))
    });
    let (whole, fraction) = mantissa.split_once('.')?;
    let is_whole = whole.starts_with(|c: char| c.is_ascii_digit()) && whole.chars().all(is_digit);
    let is_fraction = fraction.chars().all(is_digit);
    if fits_exponent && is_fraction && (is_whole || (word.starts_with('.') && !fraction.is_empty()))
    {
        let bare = digits.replace('_', "");
        return found(bare.parse().ok()?);
    }
    // Base 60: `1:30.5`.
    let (first, rest) = whole.split_once(':')?;
    let is_sixties = first.starts_with(|c: char| c.is_ascii_digit())
        && first.chars().all(is_digit)
        && are_sixtieths(rest.split(':'));
    if exponent.is_some() || !is_sixties || !is_fraction {
        return None;
    }
    let bare = mantissa.replace('_', "");
    let value = bare.split(':').try_fold(0.0, |value: f64, part| {
        Some(value * 60.0 + part.parse::<f64>().ok()?)
    })?;
    found(value)
}

/// Parses a date such as `2024-01-02`, with or without a time.
fn date(word: &str) -> Option<(Kind, String)> {
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let end = word.find(['T', 't', ' ', '\t']).unwrap_or(word.len());
    let (day, time) = word.split_at(end);
    let mut parts = day.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let least = if time.is_empty() { 2 } else { 1 };
    if !digits(year, 4..=4) || !digits(month, least..=2) || !digits(day, least..=2) {
        return None;
    }
    if !time.is_empty() {
        let time = time.trim_start_matches(['T', 't', ' ', '\t']);
        let mut parts = time.splitn(3, ':');
        let (hour, minute, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let second = rest.get(..2)?;
        if !digits(hour, 1..=2) || !digits(minute, 2..=2) || !digits(second, 2..=2) {
            return None;
        }
    }
    Some((Kind::Date, word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_resolved_as_yaml_1_1() {
        for (word, text) in [
            ("53:53", "3233"),
            ("2222:22", "133342"),
            ("022", "18"),
            ("0x1F", "31"),
            ("1_000", "1000"),
            ("-5", "-5"),
            ("1:2:3", "3723"),
            ("0b11", "3"),
        ] {
            let Value::Other(other) = resolve(word) else {
                panic!("{word} is a string");
            };
            assert!(matches!(other.kind, Kind::Int(_)), "{word}");
            assert_eq!(other.text, text, "{word}");
        }
        for word in ["yes", "No", "off", "TRUE"] {
            assert!(
                matches!(resolve(word), Value::Other(other) if matches!(other.kind, Kind::Bool(_))),
                "{word}"
            );
        }
        for word in [
            "2.4",
            "1e+3.",
            ".5",
            "1.",
            "6.8523015e+5",
            "-.inf",
            "190:20:30.15",
        ] {
            let is_float = matches!(resolve(word), Value::Other(other) if matches!(other.kind, Kind::Float(_)));
            assert_eq!(is_float, word != "1e+3.", "{word}");
        }
        for word in [
            "2024-01-02",
            "2001-12-14t21:59:43.10-05:00",
            "2001-1-1 1:02:03",
        ] {
            assert!(
                matches!(resolve(word), Value::Other(other) if other.kind == Kind::Date),
                "{word}"
            );
        }
        for word in [
            "8080:80",
            "y",
            "n",
            "1e3",
            "08",
            "0:30",
            "127.0.0.1:80:80",
            "5s",
            "1.2.3",
            "80/udp",
            "2024-1-2",
            "a",
            "12:60",
            "0x",
            "tRue",
        ] {
            assert!(matches!(resolve(word), Value::String(_)), "{word}");
        }
    }
}

//! Formats sizes and durations for people, and reads docker's.

use std::time::Duration;

/// Formats bytes in binary units with three significant digits: `2.00 MiB`, `448 MiB`.
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        // 1023.5 would be shown as 1024.
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let decimals = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.decimals$} {unit}")
}

/// Reads a size as docker writes it, in decimal units with up to four digits: `3.146MB`; `None` for `N/A`.
pub fn parse_docker(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let factor: u32 = match unit {
        "B" => 1,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        // More than a VPU has.
        _ => return None,
    };
    let value = number.parse::<f64>().ok()? * f64::from(factor);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it has no sign, and a part of a byte is nothing"
    )]
    let bytes = value.round() as u64;
    Some(bytes)
}

/// Formats how often something happened: `once`, `5 times`.
pub fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// Formats a duration: `0.4 s`, `12.3 s`, `2 min 05 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else if seconds < 3600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60)
    }
}

/// Formats milliseconds as a duration.
pub fn time(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

/// Formats an age in its two largest units: `45 s`, `3 h 05 min`, `12 d 03 h`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..86_400 => duration(age),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_docker_are_read() {
        for (text, want) in [
            ("0B", Some(0)),
            ("3.146MB", Some(3_146_000)),
            ("12kB", Some(12_000)),
            ("1.5GB", Some(1_500_000_000)),
            ("N/A", None),
            ("12", None),
        ] {
            assert_eq!(parse_docker(text), want, "{text}");
        }
    }

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        for (count, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (2_097_152, "2.00 MiB"),
            (469_762_048, "448 MiB"),
            (1_048_575, "1.00 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(count), want, "{count}");
        }
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(duration(Duration::from_secs(3660)), "1 h 01 min");
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (125, "2 min 05 s"),
            (86_399, "23 h 59 min"),
            (1_047_600, "12 d 03 h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), want);
        }
    }
}

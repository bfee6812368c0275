//! Durations, sizes and file modes.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use super::{NameError, Word, string_form};

/// A length of time: `60s`, `5m`, `1h 30m`, `90 days`.
#[derive(Debug, Clone)]
pub struct Duration {
    text: String,
    value: std::time::Duration,
}

impl Duration {
    /// The length.
    pub fn get(&self) -> std::time::Duration {
        self.value
    }

    /// Creates a duration of whole seconds.
    pub fn from_secs(seconds: u64) -> Self {
        Self {
            text: format!("{seconds}s"),
            value: std::time::Duration::from_secs(seconds),
        }
    }
}

impl Word for Duration {
    const FORMAT: &'static str = "o3r-duration";
    const PATTERN: &'static str = "^[0-9$]";
    const EXPECTED: &'static str = "a duration";
    const HELP: &'static str =
        "write a number with a unit: `500ms`, `60s`, `5m`, `2h`, `90 days`, `1h 30m`";
}

impl FromStr for Duration {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        let mut milliseconds: u64 = 0;
        let mut rest = text.trim_start();
        if rest.is_empty() {
            return Err(refuse("it is empty"));
        }
        while !rest.is_empty() {
            let (number, unit, after) = split_quantity(rest);
            let number: u64 = number.parse().map_err(|_| {
                refuse(if number.is_empty() {
                    "a whole number is missing"
                } else {
                    "it is too long"
                })
            })?;
            let factor = match unit {
                "ms" => 1,
                "s" | "sec" | "second" | "seconds" => 1000,
                "m" | "min" | "minute" | "minutes" => 60_000,
                "h" | "hour" | "hours" => 3_600_000,
                "d" | "day" | "days" => 86_400_000,
                "w" | "week" | "weeks" => 604_800_000,
                "" => return Err(refuse("it has no unit")),
                _ => return Err(refuse("its unit is unknown")),
            };
            milliseconds = number
                .checked_mul(factor)
                .and_then(|part| milliseconds.checked_add(part))
                .ok_or_else(|| refuse("it is too long"))?;
            rest = after;
        }
        let value = std::time::Duration::from_millis(milliseconds);
        Ok(Self {
            text: text.trim().to_owned(),
            value,
        })
    }
}

/// A number of bytes: `500 MB`, `2 GiB`.
#[derive(Debug, Clone)]
pub struct ByteSize {
    text: String,
    value: u64,
}

impl ByteSize {
    /// Returns the number of bytes.
    pub fn get(&self) -> u64 {
        self.value
    }
}

impl Word for ByteSize {
    const FORMAT: &'static str = "byte-size";
    const PATTERN: &'static str = "^[0-9$]";
    const EXPECTED: &'static str = "a size";
    const HELP: &'static str = "write a whole number with a unit: `500 MB`, `2 GB`, `64 MiB`";
}

impl FromStr for ByteSize {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        let (number, unit, after) = split_quantity(text.trim());
        if number.is_empty() || !after.is_empty() {
            return Err(refuse("it is not one whole number with a unit"));
        }
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "b" => 1,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            "" => return Err(refuse("it has no unit")),
            _ => return Err(refuse("its unit is unknown")),
        };
        let value = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .ok_or_else(|| refuse("it is too large"))?;
        Ok(Self {
            text: text.trim().to_owned(),
            value,
        })
    }
}

/// Splits `90 days rest` into `90`, `days` and `rest`.
fn split_quantity(text: &str) -> (&str, &str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let rest = rest.trim_start_matches(' ');
    let end = rest
        .find(|c: char| c.is_ascii_digit() || c == ' ')
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    (number, unit, rest.trim_start_matches(' '))
}

/// Permissions of a file or directory: `0644`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileMode(u32);

impl FileMode {
    /// Creates a mode from its bits; bits above `0o7777` are dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// Returns the permission bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Word for FileMode {
    const FORMAT: &'static str = "file-mode";
    const PATTERN: &'static str = "^[0-7]{3,4}$|[$][{]";
    const EXPECTED: &'static str = "a file mode";
    const HELP: &'static str = "write three or four octal digits in quotes: \"0644\"";
}

impl FromStr for FileMode {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !(3..=4).contains(&text.len()) || !text.bytes().all(|b| matches!(b, b'0'..=b'7')) {
            return Err(NameError::new::<Self>(
                text,
                "it is not three or four octal digits",
            ));
        }
        u32::from_str_radix(text, 8)
            .map(Self)
            .map_err(|error| NameError::new::<Self>(text, error.to_string()))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Quantities with the same value are equal, however they are written.
macro_rules! compared_by_value {
    ($($name:ident),+) => {$(
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.value == other.value
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.value.cmp(&other.value)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.value.hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }
    )+};
}

compared_by_value!(Duration, ByteSize);
string_form!(Duration, ByteSize, FileMode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_or_refused() {
        for (text, seconds) in [
            ("60s", 60),
            ("5m", 300),
            ("90 days", 7_776_000),
            ("1h 30m", 5400),
            ("1h30m", 5400),
        ] {
            assert_eq!(
                text.parse::<Duration>().unwrap().get().as_secs(),
                seconds,
                "{text}"
            );
        }
        assert_eq!("60s".parse::<Duration>().unwrap(), "1 min".parse().unwrap());
        for text in [
            "",
            " ",
            "60",
            "s",
            "-1s",
            "1.5h",
            "1 fortnight",
            "99999999999999999999s",
            "99999999999999w",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_parsed_or_refused() {
        for (text, bytes) in [
            ("500 MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("0 B", 0),
            ("1 kB", 1000),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().get(), bytes, "{text}");
        }
        for text in [
            "",
            "MB",
            "5",
            "-5 MB",
            "1.5 GB",
            "5 parsecs",
            "99999999999 TB",
            "5 MB 3 kB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn modes_are_parsed_or_refused() {
        assert_eq!("0644".parse::<FileMode>().unwrap().bits(), 0o644);
        assert_eq!("755".parse::<FileMode>().unwrap().to_string(), "0755");
        for text in ["", "8", "0o644", "0888", "00644", "+644", "rw-r--r--"] {
            assert!(text.parse::<FileMode>().is_err(), "{text:?}");
        }
    }
}

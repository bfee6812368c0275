//! Firmware versions, and the ranges of them that a manifest accepts.

use std::{fmt, str::FromStr};

use super::{NameError, Word, string_form};

/// A firmware as the device names it: `1.4.30-2453` or `1.4.30.2453`.
///
/// Not a semantic version: the part after the third number is a build, not a pre-release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmwareVersion {
    numbers: [u64; 3],
    text: String,
}

impl FirmwareVersion {
    /// Returns the major, minor and patch number.
    pub fn numbers(&self) -> [u64; 3] {
        self.numbers
    }

    /// Returns the build, if there is one.
    pub fn build(&self) -> Option<&str> {
        split_build(&self.text).1
    }
}

/// Splits `1.4.30-2453` and `1.4.30.2453` after the third number.
fn split_build(text: &str) -> (&str, Option<&str>) {
    let mut dots = 0;
    let is_end = |c: char| {
        dots += usize::from(c == '.');
        c == '-' || dots == 3
    };
    match text.find(is_end) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

impl Word for FirmwareVersion {
    const FORMAT: &'static str = "firmware-version";
    const PATTERN: &'static str = "^[0-9$]";
    const EXPECTED: &'static str = "a firmware version";
    const HELP: &'static str = "write it as the device shows it: `1.4.30-2453`";
}

impl FromStr for FirmwareVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        let (version, build) = split_build(text);
        let numbers: Vec<u64> = version
            .split('.')
            .map(|part| part.parse().ok().filter(|_| !part.starts_with('+')))
            .collect::<Option<_>>()
            .ok_or_else(|| refuse("it does not start with three numbers"))?;
        let numbers: [u64; 3] = numbers
            .try_into()
            .map_err(|_| refuse("it does not start with three numbers"))?;
        let is_build = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
        if build.is_some_and(|build| build.is_empty() || !build.bytes().all(is_build)) {
            return Err(refuse("its build is not letters and digits"));
        }
        Ok(Self {
            numbers,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The firmware that a manifest accepts: comparisons that must all hold, e.g. `>=1.4.30, <2`.
///
/// Cargo's grammar, so that a bare `1.4.30` means "compatible with". Builds are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FirmwareRange {
    requirement: semver::VersionReq,
    text: String,
}

impl FirmwareRange {
    /// Whether a firmware is in the range; its build is ignored.
    pub fn matches(&self, firmware: &FirmwareVersion) -> bool {
        let [major, minor, patch] = firmware.numbers;
        self.requirement
            .matches(&semver::Version::new(major, minor, patch))
    }

    /// Whether every firmware in the range is `least` or newer, according to its lower bounds.
    pub fn is_at_least(&self, least: [u64; 3]) -> bool {
        self.requirement.comparators.iter().any(|comparator| {
            let bound = [
                comparator.major,
                comparator.minor.unwrap_or(0),
                comparator.patch.unwrap_or(0),
            ];
            let bounds_below = !matches!(comparator.op, semver::Op::Less | semver::Op::LessEq);
            bounds_below && bound >= least
        })
    }

    /// Whether the range includes firmware older than `bound`, and whether it includes any other.
    pub fn sides_of(&self, bound: [u64; 3]) -> (bool, bool) {
        // The lowest firmware of the range on either side is one
        // of its bounds, or a bound with one number incremented.
        let bounds = self.requirement.comparators.iter().flat_map(|comparator| {
            let major = comparator.major;
            let minor = comparator.minor.unwrap_or(0);
            let patch = comparator.patch.unwrap_or(0);
            [
                [major, minor, patch],
                [major, minor, patch.saturating_add(1)],
                [major, minor.saturating_add(1), 0],
                [major.saturating_add(1), 0, 0],
            ]
        });
        let candidates = [[0, 0, 0], bound].into_iter().chain(bounds);
        let within = candidates.filter(|[major, minor, patch]| {
            let version = semver::Version::new(*major, *minor, *patch);
            self.requirement.matches(&version)
        });
        let (older, others): (Vec<_>, Vec<_>) = within.partition(|numbers| *numbers < bound);
        (!older.is_empty(), !others.is_empty())
    }
}

impl Word for FirmwareRange {
    const FORMAT: &'static str = "firmware-range";
    const PATTERN: &'static str = "^[0-9<>=~^*$ ]";
    const EXPECTED: &'static str = "a firmware range";
    const HELP: &'static str = "write comparisons that must all hold: `>=1.4.30, <2`";
}

impl FromStr for FirmwareRange {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: String| NameError::new::<Self>(text, problem);
        // Blanks separate comparisons as well, except after an operator.
        let mut comparisons: Vec<String> = Vec::new();
        let is_operator = |word: &str| word.bytes().all(|b| b"<>=~^".contains(&b));
        for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
            match comparisons.last_mut() {
                Some(last) if is_operator(last) => last.push_str(word),
                _ => comparisons.push(word.to_owned()),
            }
        }
        if comparisons.is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        // `>=1,4` would mean ">=1 and 4.x": a comma between numbers is a typo for a dot.
        let is_bare = |word: &&String| word.starts_with(|c: char| c.is_ascii_digit());
        if let Some(bare) = comparisons.iter().skip(1).find(is_bare) {
            return Err(refuse(format!("`{bare}` has no operator")).with_help(
                "separate the numbers of a version by dots, and give every comparison an operator: `>=1.4, <2`",
            ));
        }
        let requirement = semver::VersionReq::parse(&comparisons.join(", "))
            .map_err(|error| refuse(error.to_string()))?;
        if requirement
            .comparators
            .iter()
            .any(|comparator| !comparator.pre.is_empty())
        {
            return Err(refuse("it names a build".to_owned())
                .with_help("builds are not compared: write the first three numbers alone"));
        }
        let range = Self {
            requirement,
            text: text.trim().to_owned(),
        };
        if range.sides_of([0, 0, 0]) == (false, false) {
            return Err(refuse("no version satisfies it".to_owned()));
        }
        Ok(range)
    }
}

impl fmt::Display for FirmwareRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

string_form!(FirmwareVersion, FirmwareRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers_and_a_build() {
        let with_dash: FirmwareVersion = "1.1.18-1657".parse().unwrap();
        assert_eq!(
            (with_dash.numbers(), with_dash.build()),
            ([1, 1, 18], Some("1657"))
        );
        let with_dot: FirmwareVersion = "1.4.30.2453".parse().unwrap();
        assert_eq!(
            (with_dot.numbers(), with_dot.build()),
            ([1, 4, 30], Some("2453"))
        );
        assert_eq!("1.21.16".parse::<FirmwareVersion>().unwrap().build(), None);
        assert!(with_dash < with_dot);
        for text in [
            "",
            "1",
            "1.4",
            "1.4.x",
            "1.4.30-",
            "1.4.30.",
            "v1.4.30",
            "1.+4.3",
            "99999999999999999999.1.1",
        ] {
            assert!(text.parse::<FirmwareVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_range_ignores_the_build() {
        for (range, firmware, matches) in [
            (">=1.4.30, <2", "1.4.30-2453", true),
            (">=1.4.30 <2", "1.21.16.1", true),
            (">= 1.4.30 , < 2", "1.4.29-9999", false),
            ("=1.4.30", "1.4.30.2453", true),
            ("<2", "2.0.0-1", false),
            ("*", "0.13.0", true),
        ] {
            let range: FirmwareRange = range.parse().unwrap();
            assert_eq!(
                range.matches(&firmware.parse().unwrap()),
                matches,
                "{range} {firmware}"
            );
        }
        for text in [
            "",
            ",",
            ">=",
            "1.4.30-2453",
            "new",
            ">=1.4.30 <",
            "99999999999999999999",
            ">=1,4",
            "1,4",
            ">=1.4 2",
            ">=2, <1",
            "<0",
        ] {
            assert!(text.parse::<FirmwareRange>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_comma_for_a_dot_is_refused_by_name() {
        let error = ">=1,4".parse::<FirmwareRange>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`>=1,4` is not a firmware range: `4` has no operator"
        );
        assert!(error.help.contains("by dots"), "{}", error.help);
        let empty = ">=1.4, <1.4".parse::<FirmwareRange>().unwrap_err();
        assert!(empty.to_string().ends_with("no version satisfies it"));
    }

    #[test]
    fn a_range_has_a_lower_bound() {
        let at_least = |range: &str| {
            range
                .parse::<FirmwareRange>()
                .unwrap()
                .is_at_least([1, 4, 30])
        };
        assert!(at_least(">=1.4.30, <2"));
        assert!(at_least("=1.21.16"));
        assert!(!at_least("<2"));
        assert!(!at_least(">=1.1"));
        assert!(!at_least("*"));
    }

    #[test]
    fn a_range_may_include_both_sides_of_a_firmware() {
        let sides = |range: &str| range.parse::<FirmwareRange>().unwrap().sides_of([1, 4, 30]);
        assert_eq!(sides(">=1.4.30, <2"), (false, true));
        assert_eq!(sides(">1.4.29"), (false, true));
        assert_eq!(sides("<=1.1.30"), (true, false));
        assert_eq!(sides("<1.4.30"), (true, false));
        assert_eq!(sides("=1.1.30"), (true, false));
        assert_eq!(sides("~1.1.30"), (true, false));
        assert_eq!(sides("1.1"), (true, true));
        assert_eq!(sides(">=1.4.29, <1.5"), (true, true));
        assert_eq!(sides("*"), (true, true));
        assert_eq!(sides(">1.4"), (false, true));
        assert_eq!(sides(">1"), (false, true));
    }
}

//! Parses the words of a manifest into newtypes, so that the rest of the program never sees an
//! invalid path, image reference or duration.

mod firmware;
mod image;
mod path;
mod quantity;
mod word;

use std::fmt;

pub use firmware::{FirmwareRange, FirmwareVersion};
pub use image::{ImageRef, PinnedImageRef};
pub use path::{LocalPath, RelativePath, RemotePath, USUAL_HOME, absolute, below_home, is_within};
pub use quantity::{ByteSize, Duration, FileMode};
pub use word::{
    DeviceName, EngineRef, HostKey, HostKeys, HostName, NameGlob, ProjectName, RegistryHost,
    ReleaseName, ReleaseVersion, SerialNumber, ServiceName, UserName, VolumeName, is_same_host,
};

/// Why a word is not valid at its place in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}: {problem}")]
pub struct NameError {
    /// The word, with control characters escaped.
    pub value: String,
    /// What was expected, with its article: `an image reference`.
    pub expected: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub help: String,
}

impl NameError {
    fn new<T: Word>(value: &str, problem: impl Into<String>) -> Self {
        Self {
            value: escape(value),
            expected: T::EXPECTED,
            problem: problem.into(),
            help: T::HELP.to_owned(),
        }
    }

    fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// A parsed string of the manifest, as the schema and the diagnostics use it.
pub trait Word: std::str::FromStr<Err = NameError> + fmt::Display {
    /// The schema's `format`, and the key under which [`check`] finds the parser.
    const FORMAT: &'static str;
    /// The pattern that editors match a string against. It only catches slips while typing and lets
    /// `${release.version}` pass; the parser decides.
    const PATTERN: &'static str;
    /// What the word is, with its article.
    const EXPECTED: &'static str;
    /// What to write instead of an invalid word.
    const HELP: &'static str;
}

/// Implements the conversions of a [`Word`]: serde and the schema see it as a string.
macro_rules! string_form {
    ($($name:ident),+ $(,)?) => {$(
        impl TryFrom<String> for $name {
            type Error = $crate::names::NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::names::Word;
                schemars::json_schema!({
                    "type": "string",
                    "format": Self::FORMAT,
                    "pattern": Self::PATTERN,
                })
            }
        }
    )+};
}
use string_form;

/// A parser of a schema `format`, reduced to the error that a diagnostic needs.
pub type Check = fn(&str) -> Result<(), NameError>;

fn parses<T: Word>(text: &str) -> Result<(), NameError> {
    text.parse::<T>().map(drop)
}

macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        /// Every `format` of the schema with its parser.
        pub const CHECKS: &[(&str, Check)] = &[$(($name::FORMAT, parses::<$name>)),+];
    };
}
checks!(
    ByteSize,
    DeviceName,
    Duration,
    EngineRef,
    FileMode,
    FirmwareRange,
    FirmwareVersion,
    HostKey,
    HostName,
    ImageRef,
    LocalPath,
    NameGlob,
    PinnedImageRef,
    ProjectName,
    RegistryHost,
    RelativePath,
    ReleaseName,
    ReleaseVersion,
    RemotePath,
    SerialNumber,
    ServiceName,
    UserName,
    VolumeName,
);

/// Parses `text` as the schema's `format`; a format that is not ours passes.
///
/// # Errors
/// The error of the newtype's parser.
pub fn check(format: &str, text: &str) -> Result<(), NameError> {
    match CHECKS.iter().find(|(name, _)| *name == format) {
        Some((_, parse)) => parse(text),
        None => Ok(()),
    }
}

/// Escapes control characters, so that a hostile name cannot move the cursor.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Escapes control characters in several lines, except line ends and tabs, which are harmless.
pub fn escape_lines(text: &str) -> String {
    let line = |line: &str| line.split('\t').map(escape).collect::<Vec<_>>().join("\t");
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a character is a control character or changes the direction of text.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns the problem of a text that is empty or not printable.
fn printable_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    text.contains(char::is_control)
        .then_some("it contains a control character")
}

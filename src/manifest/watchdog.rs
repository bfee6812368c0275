//! The manifest's `watchdog`: a length of time, or `false`.

use std::{borrow::Cow, fmt, time};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{FindingCode, diagnostics::Diagnostic, loaded::Loaded, names::Duration};

/// The shortest silence after which a VPU may roll back: a busy link delays a sign of life by tens
/// of seconds.
const SHORTEST: time::Duration = time::Duration::from_secs(30);

/// The longest silence; for a longer one, `false` is meant.
const LONGEST: time::Duration = time::Duration::from_secs(3600);

/// The silence of an apply after which the VPU rolls back automatically.
#[derive(Debug, Clone, PartialEq)]
pub enum Watchdog {
    /// After this silence.
    After(Duration),
    /// Never.
    Off,
}

impl Watchdog {
    /// Returns the silence; `None` means never.
    pub fn after(&self) -> Option<time::Duration> {
        match self {
            Self::After(silence) => Some(silence.get()),
            Self::Off => None,
        }
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self::After(Duration::from_secs(120))
    }
}

impl Serialize for Watchdog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::After(silence) => silence.serialize(serializer),
            Self::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Watchdog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Watchdog;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration or a boolean")
            }

            fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<Watchdog, E> {
                Ok(if is_on {
                    Watchdog::default()
                } else {
                    Watchdog::Off
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Watchdog, E> {
                text.parse().map(Watchdog::After).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Watchdog {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Watchdog".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Duration::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "boolean"]));
        schema
    }
}

/// Returns a finding if the time is too short or too long.
pub(super) fn check(loaded: &Loaded) -> Option<Diagnostic> {
    let silence = loaded.manifest.apply.watchdog.after()?;
    if (SHORTEST..=LONGEST).contains(&silence) {
        return None;
    }
    Some(loaded.diagnostic(
        "/apply/watchdog",
        FindingCode::WrongValue,
        "`watchdog` takes 30 seconds to 1 hour".to_owned(),
        "here",
        "write a time in this range, or `false` to turn off the automatic rollback",
    ))
}

//! The manifest's `[device]`: the device's own configuration.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::names::LocalPath;

/// The device's own configuration: ports, applications, clock, network, log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// The settings to make: a JSON file with a part of what `ifm3d dump` writes, or a table. Only the attributes in it are compared and set;
    /// all others stay. Lists are replaced as a whole. Default: none. Example: `o3r.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Whether `config` is a template, as in `[[transfers]]`. Only for a file. Default: `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Whether the settings are saved, so that they outlive a reboot. What others saved stays saved; if that would also save
    /// temporary settings of others, the plan is blocked. Default: `true`.
    #[schemars(default = "yes")]
    pub save: bool,
    /// Allows changing the device's network, after which it may have another address. Default: `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
}

fn yes() -> bool {
    true
}

impl Default for Device {
    fn default() -> Self {
        Self {
            config: None,
            template: false,
            save: true,
            network: false,
        }
    }
}

/// Settings of the device: in a file, or in the manifest itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Config {
    /// The path of a JSON file.
    File(LocalPath),
    /// The settings themselves.
    Table(Map<String, Value>),
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => path.serialize(serializer),
            Self::Table(members) => members.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a JSON file, or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Config, E> {
                text.parse().map(Config::File).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, members: A) -> Result<Config, A::Error> {
                let members = de::value::MapAccessDeserializer::new(members);
                Map::deserialize(members).map(Config::Table)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Config {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Config".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "object"], "minLength": 1 })
    }
}

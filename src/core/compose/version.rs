//! The file format of a compose file.

use serde::{Deserialize, Serialize};

use super::{
    Place,
    node::{Node, Value},
};

/// The file format that a compose file declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// As written, e.g. `2.4`.
    pub text: String,
    /// Whether it is a string; docker-compose refuses a number.
    pub is_string: bool,
    /// Its place.
    pub place: Place,
}

pub(super) fn read(node: &Node) -> Option<Version> {
    let (text, is_string) = match &node.value {
        Value::String(text) => (text.clone(), true),
        Value::Other(other) => (other.text.clone(), false),
        _ => return None,
    };
    Some(Version {
        text,
        is_string,
        place: node.place,
    })
}

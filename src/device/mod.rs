//! Speaks with the device's own API (JSON configuration over XML-RPC), through the host's
//! connection, so that the answer comes from the very box that commands run on.

mod client;
mod error;
mod identity;
mod saved;

use serde_json::{Value, json};

pub use client::call;
pub use error::DeviceError;
pub use identity::observe;

/// The device's name in its JSON configuration.
pub const NAME: &str = "/device/info/name";

/// The JSON fragment that [`call`]'s `set` takes to give the device a name.
pub fn name_fragment(name: &str) -> String {
    json!({"device": {"info": {"name": name}}}).to_string()
}

/// A JSON answer.
fn json(text: &str) -> Result<Value, DeviceError> {
    serde_json::from_str(text).map_err(|_| DeviceError::Garbage { expected: "JSON" })
}

//! Calls the device's own API (JSON configuration over XML-RPC) over the host's connection, so that
//! the device that answers is the one that runs the commands.

mod client;
mod configuration;
mod error;
mod identity;
mod keys;
mod saved;
mod sealed;
mod settings;

use o3r_core::device_words::NAME;
use serde_json::Value;

pub use client::call;
pub use error::DeviceError;
pub use identity::observe;
pub use keys::{add_key, add_key_to_file};
pub use sealed::is_protected;

/// Parses a JSON answer.
fn json(text: &str) -> Result<Value, DeviceError> {
    serde_json::from_str(text).map_err(|_| DeviceError::Garbage { expected: "JSON" })
}

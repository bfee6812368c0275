//! Words of the device's API that commands of plans use.

use serde_json::json;

/// The JSON pointer to the device's name in its configuration.
pub const NAME: &str = "/device/info/name";

/// Returns the JSON fragment by which the API's `set` names the device.
pub fn name_fragment(name: &str) -> String {
    json!({"device": {"info": {"name": name}}}).to_string()
}

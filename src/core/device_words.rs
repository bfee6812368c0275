//! Words of the device's API that occur in the commands of plans.

use serde_json::json;

/// The device's name in its JSON configuration.
pub const NAME: &str = "/device/info/name";

/// The JSON fragment that the API's `set` takes to give the device a name.
pub fn name_fragment(name: &str) -> String {
    json!({"device": {"info": {"name": name}}}).to_string()
}

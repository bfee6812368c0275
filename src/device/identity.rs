//! Queries the device's identity, and what it saved for its next boot.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{DeviceError, call, configuration::Configuration, json, saved, settings};
use crate::host::Host;
use o3r_core::facts::{Device, Probed, Query};

/// Returns name, serial number and firmware; if the query has settings or a name, also what is saved. After a failure, returns the reason and what to do about it.
pub async fn observe<H: Host>(host: &H, query: &Query) -> (Probed<Device>, Option<String>) {
    let mut device = match identify(host, query.api_port).await {
        Ok(device) => device,
        Err(error) => return (Probed::Unknown(error.to_string()), error.help()),
    };
    if query.device_name.is_none() && query.device_settings.is_empty() {
        return (Probed::Known(device), None);
    }
    let configuration = Configuration::new(host, query.api_port);
    let mut wanted = query.device_settings.clone();
    let name = query.device_name.as_ref();
    wanted.extend(name.map(|name| (super::NAME.to_owned(), name.as_str().into())));
    let asked = async {
        let init = configuration.init().await?;
        let saved = saved::saved(&configuration, &init, &wanted).await?;
        let settings = if query.device_settings.is_empty() {
            BTreeMap::new()
        } else {
            settings::observe(&configuration, &init, &query.device_settings).await?
        };
        Ok::<_, DeviceError>((saved, settings))
    };
    let asked = asked.await;
    let help = asked.as_ref().err().and_then(DeviceError::help);
    match asked {
        Ok((saved, settings)) => {
            device.saved = Some(Probed::Known(saved));
            device.settings = settings;
        }
        Err(error) => device.saved = Some(Probed::Unknown(error.to_string())),
    }
    (Probed::Known(device), help)
}

async fn identify<H: Host>(host: &H, port: u16) -> Result<Device, DeviceError> {
    let answer = call(host, port, &["get", "/device/info", "/device/swVersion"]).await?;
    Ok(device(&json(&answer)?))
}

fn device(config: &Value) -> Device {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
    // Firmware 0.13 uses another key.
    let firmware = text("/device/swVersion/firmware").or_else(|| text("/device/swVersion/os"));
    let owned = |text: Option<&str>| text.unwrap_or_default().trim().to_owned();
    Device {
        name: text(super::NAME).unwrap_or_default().to_owned(),
        serial: owned(text("/device/info/serialNumber")),
        firmware: owned(firmware),
        saved: None,
        settings: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn firmware_is_found_under_both_names() {
        for (version, wanted) in [
            (json!({"firmware": "1.4.30-5230"}), "1.4.30-5230"),
            (json!({"os": "0.13.13-1045"}), "0.13.13-1045"),
            (json!({"firmware": "1.0.14", "os": "x"}), "1.0.14"),
            (json!({}), ""),
            (json!({"firmware": 7}), ""),
        ] {
            let config = json!({"device": {"info": {"name": " a "}, "swVersion": version}});
            let device = device(&config);
            assert_eq!(device.firmware, wanted, "{config}");
            assert_eq!(device.name, " a ");
        }
    }
}

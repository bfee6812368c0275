//! Changes settings that a password protects: `device/crypto/sealedbox`, from firmware 1.21.6 on.
//!
//! The device has a key pair. A request with the password is encrypted to its public key (libsodium's `crypto_box_seal`),
//! so that neither crosses the network in the clear, and is set as the attribute `message`. This is what ifm's own client
//! does (`SealedBoxSendCommand` in ifm3d's `o3r_impl.hpp`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_box::{
    PublicKey,
    aead::{OsRng, rand_core::RngCore as _},
};
use serde_json::{Value, json};

use super::{DeviceError, call, json};
use crate::host::Host;

/// Its place in the device's configuration.
const BOX: &str = "/device/crypto/sealedbox";

/// The bytes of a nonce: libsodium's `crypto_box_NONCEBYTES`.
const NONCE: usize = 24;

/// Whether a password protects settings of the device; older firmware has no such thing.
pub async fn is_protected<H: Host>(host: &H, port: u16) -> bool {
    let found = read(host, port).await;
    found.is_ok_and(|found| found["passwordProtected"] == Value::Bool(true))
}

/// Sets protected settings.
///
/// # Errors
/// The API does not answer, or rejects the password.
pub(super) async fn set<H: Host>(
    host: &H,
    port: u16,
    password: &str,
    configuration: &Value,
) -> Result<(), DeviceError> {
    let found = read(host, port).await?;
    let mut nonce = [0; NONCE];
    OsRng.fill_bytes(&mut nonce);
    let request = json!({
        "request": "set_configuration",
        "nonce": STANDARD.encode(nonce),
        "password": password,
        "configuration": configuration,
    });
    let message = sealed(found["public_key"].as_str().unwrap_or_default(), &request)?;
    let fragment = json!({"device": {"crypto": {"sealedbox": {"message": message}}}}).to_string();
    call(host, port, &["set", fragment.as_str()]).await?;
    Ok(())
}

async fn read<H: Host>(host: &H, port: u16) -> Result<Value, DeviceError> {
    let config = json(&call(host, port, &["get", BOX]).await?)?;
    Ok(config.pointer(BOX).cloned().unwrap_or_default())
}

/// Encrypts a request to a public key, both in base64.
fn sealed(public_key: &str, request: &Value) -> Result<String, DeviceError> {
    let garbage = || DeviceError::Garbage {
        expected: "a public key",
    };
    let bytes = STANDARD.decode(public_key).map_err(|_| garbage())?;
    let key = PublicKey::from_slice(&bytes).map_err(|_| garbage())?;
    let message = key.seal(&mut OsRng, request.to_string().as_bytes());
    message
        .map(|message| STANDARD.encode(message))
        .map_err(|_| garbage())
}

#[cfg(test)]
mod tests {
    use crypto_box::SecretKey;

    use super::*;

    #[test]
    fn only_the_device_can_read_a_request() {
        let secret = SecretKey::generate(&mut OsRng);
        let public = STANDARD.encode(secret.public_key().as_bytes());
        let request = json!({"password": "s3cret"});
        let message = sealed(&public, &request).unwrap();
        let bytes = STANDARD.decode(&message).unwrap();
        assert!(!message.contains("s3cret"));
        let opened = secret.unseal(&bytes).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&opened).unwrap(), request);
        for key in ["", "?", "AAAA"] {
            assert!(sealed(key, &request).is_err(), "{key}");
        }
    }
}

//! Reads the device's configuration and its schema, each once.

use serde_json::Value;
use tokio::sync::OnceCell;

use super::{DeviceError, call, json};
use crate::host::Host;

/// The configuration of a device, read when it is first needed.
pub(super) struct Configuration<'a, H> {
    host: &'a H,
    port: u16,
    now: OnceCell<Value>,
    schema: OnceCell<Value>,
}

impl<'a, H: Host> Configuration<'a, H> {
    pub(super) fn new(host: &'a H, port: u16) -> Self {
        Self {
            host,
            port,
            now: OnceCell::new(),
            schema: OnceCell::new(),
        }
    }

    /// Returns what is saved for the next boot; null if nothing ever was.
    pub(super) async fn init(&self) -> Result<Value, DeviceError> {
        let init = call(self.host, self.port, &["getInit"]).await?;
        if init.trim().is_empty() {
            return Ok(Value::Null);
        }
        json(&init)
    }

    /// Returns the whole current configuration: a pointer to a missing value would fail the whole call.
    pub(super) async fn now(&self) -> Result<&Value, DeviceError> {
        let read = async || json(&call(self.host, self.port, &["get"]).await?);
        self.now.get_or_try_init(read).await
    }

    /// Returns the schema of the configuration.
    pub(super) async fn schema(&self) -> Result<&Value, DeviceError> {
        let read = async || json(&call(self.host, self.port, &["getSchema"]).await?);
        self.schema.get_or_try_init(read).await
    }
}

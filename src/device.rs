//! Asks the device's own API (JSON configuration over XML-RPC) who it is, through the host's
//! connection, so that the answer comes from the very box that commands run on.

use std::time::Duration;

use dxr::{TryFromValue as _, TryToParams as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::{
    host::{Host, HostError},
    observe::Device,
};

/// The API's path; the trailing slash is needed.
const PATH: &str = "/api/rpc/v1/com.ifm.efector/";

/// A healthy box answers in a few milliseconds; one that boots or computes may take seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The whole configuration of an O3R with six cameras is some 200 kB.
const ANSWER_LIMIT: usize = 8 << 20;

/// A device API that does not say what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The connection could not be made.
    #[error("the device's API cannot be reached: {0}")]
    Connect(#[from] HostError),
    /// The connection was made and HTTP failed, as with a port where nothing listens.
    #[error("the device's API on port {port} does not answer: {reason}")]
    Http {
        /// The port asked.
        port: u16,
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("the device's API on port {port} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The port asked.
        port: u16,
    },
    /// An HTTP status other than 200.
    #[error("the device's API answered with HTTP status {0}")]
    Status(u16),
    /// Not XML-RPC, or not the JSON that was asked for.
    #[error("the device's API answered with something else than {expected}")]
    Garbage {
        /// What it should have been.
        expected: &'static str,
    },
    /// The API's own refusal.
    #[error("the device's API refused with fault {code}: {text}")]
    Fault {
        /// Such as 104012.
        code: i32,
        /// The API's words.
        text: String,
    },
}

/// Name, serial number and firmware.
pub async fn identify<H: Host>(host: &H, port: u16) -> Result<Device, DeviceError> {
    let pointers = vec!["/device/info", "/device/swVersion"];
    let answer = call(host, port, "get", pointers).await?;
    let garbage = || DeviceError::Garbage { expected: "JSON" };
    let config: Value = serde_json::from_str(&answer).map_err(|_| garbage())?;
    let text = |pointer: &str| {
        config
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Device {
        name: text("/device/info/name"),
        serial: text("/device/info/serialNumber"),
        firmware: text("/device/swVersion/firmware"),
    })
}

/// Calls a method whose one parameter is a list of strings and whose answer is a string.
async fn call<H: Host>(
    host: &H,
    port: u16,
    method: &'static str,
    parameter: Vec<&str>,
) -> Result<String, DeviceError> {
    let params = (parameter,)
        .try_to_params()
        .map_err(|_| DeviceError::Garbage {
            expected: "XML-RPC",
        })?;
    let call = dxr::MethodCall {
        name: method.into(),
        params,
    };
    let body = request_body(&call)?;
    let exchange = async {
        let stream = host.connect(port).await?;
        post(stream, port, body).await
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| DeviceError::Timeout { port })??;
    parse_answer(&answer)
}

fn request_body(call: &dxr::MethodCall<'_>) -> Result<String, DeviceError> {
    let xml = call.to_xml().map_err(|_| DeviceError::Garbage {
        expected: "XML-RPC",
    })?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{xml}"))
}

/// One HTTP exchange on a connection of its own.
async fn post(
    stream: Box<dyn crate::host::ByteStream>,
    port: u16,
    body: String,
) -> Result<Bytes, DeviceError> {
    let http = |error: hyper::Error| DeviceError::Http {
        port,
        reason: error.to_string(),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(PATH)
        .header("Host", "127.0.0.1")
        .header("Content-Type", "text/xml")
        .header("Connection", "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| DeviceError::Http {
            port,
            reason: error.to_string(),
        })?;
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|error| DeviceError::Http {
            port,
            reason: error.to_string(),
        })?
        .to_bytes();
    connection.abort();
    if status.is_success() {
        Ok(answer)
    } else {
        Err(DeviceError::Status(status.as_u16()))
    }
}

/// The string in an XML-RPC answer, or its fault.
fn parse_answer(answer: &[u8]) -> Result<String, DeviceError> {
    let garbage = || DeviceError::Garbage {
        expected: "XML-RPC",
    };
    let text = std::str::from_utf8(answer).map_err(|_| garbage())?;
    if let Ok(dxr::FaultResponse { fault }) = dxr::FaultResponse::from_xml(text) {
        return Err(DeviceError::Fault {
            code: fault.code(),
            text: fault.string().to_owned(),
        });
    }
    let response = dxr::MethodResponse::from_xml(text).map_err(|_| garbage())?;
    String::try_from_value(&response.value).map_err(|_| garbage())
}

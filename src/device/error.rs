//! Describes why the device's API failed, and what to do about it.

use super::client::TIMEOUT;
use crate::host::HostError;

/// Why a call of the device's API failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The host's own connection failed.
    #[error("the device's API cannot be reached: {0}")]
    Connect(#[from] HostError),
    /// The port has no listener.
    #[error("nothing listens on port {port}, where the device's API should be")]
    NotListening {
        /// The port of the API.
        port: u16,
    },
    /// The host forbids connections to its ports.
    #[error("sshd on the VPU forbids the tunnel to port {port}, where the device's API is")]
    Forbidden {
        /// The port of the API.
        port: u16,
    },
    /// The connection ended before an answer.
    #[error("the device's API on port {port} closed the connection without an answer")]
    Cut {
        /// The port of the API.
        port: u16,
    },
    /// The connection ended in the middle of the answer.
    #[error("the answer of the device's API on port {port} is truncated")]
    Truncated {
        /// The port of the API.
        port: u16,
    },
    /// The answer exceeds the limit.
    #[error("the answer of the device's API is too long")]
    TooLong,
    /// No answer in time.
    #[error("the device's API on port {port} did not answer `{method}` within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The port of the API.
        port: u16,
        /// The method that was called.
        method: String,
    },
    /// An HTTP status other than 200.
    #[error("the device's API on port {port} answered with HTTP status {status}")]
    Status {
        /// The port of the API.
        port: u16,
        /// The status, such as 404.
        status: u16,
    },
    /// The answer is not in the API's format.
    #[error("the device's API answered with something other than {expected}")]
    Garbage {
        /// The expected format.
        expected: &'static str,
    },
    /// The API accepted a value that it does not have afterwards.
    #[error("the device's API accepted {pointer} and did not set it")]
    NotSet {
        /// The pointer in the configuration.
        pointer: &'static str,
    },
    /// The API rejected the call.
    #[error("the device's API refused with fault {code}: {text}")]
    Fault {
        /// The fault code, such as 104012.
        code: i32,
        /// The API's message.
        text: String,
    },
    /// A method that no plan of this version calls.
    #[error("refusing to call `{words}` on the device's API")]
    Method {
        /// The method and its parameters.
        words: String,
    },
}

impl DeviceError {
    /// What to do next.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Connect(error) => return error.help(),
            Self::NotListening { port } => format!(
                "wait until the device has booted; if it persists, check whether `api_port` in [vpu] \
                 is right (it is {port}; devices use 80)"
            ),
            Self::Forbidden { port } => format!(
                "allow it on the VPU: `AllowTcpForwarding local` in sshd_config, and in authorized_keys no \
                 `restrict` or `no-port-forwarding` for this key, or `port-forwarding` and \
                 `permitopen=\"127.0.0.1:{port}\"` beside it"
            ),
            Self::Cut { .. } | Self::Truncated { .. } => {
                "try again; if it persists, restart the device".to_owned()
            }
            Self::Timeout { .. } => {
                "the device may still be booting, or too busy: try again in a minute; if it persists, \
                 power-cycle the device"
                    .to_owned()
            }
            Self::Status {
                status: 404 | 405,
                port,
            } => format!(
                "something else than the device's API seems to be on port {port}: check whether `api_port` in [vpu] \
                 is right (devices use 80)"
            ),
            Self::Status { .. } => {
                "the device cannot answer now: try again; if it persists, restart it".to_owned()
            }
            Self::Garbage { .. } | Self::TooLong => {
                "something else than the device's API may be on this port: check whether `api_port` in [vpu] is \
                 right (devices use 80)"
                    .to_owned()
            }
            Self::NotSet { .. } => {
                "try again; if it persists, make the setting with ifm's Vision Assistant".to_owned()
            }
            Self::Fault { code: 104_010, .. } => {
                "the device could not parse the request as JSON: report this as a bug".to_owned()
            }
            Self::Fault { code: 104_011, .. } => {
                "the device's schema does not allow this value: choose a shorter or plainer `name` in [vpu]"
                    .to_owned()
            }
            Self::Fault { code: 104_012, .. } => {
                "this firmware does not support that setting; the manifest's `firmware` can say which \
                 ones do"
                    .to_owned()
            }
            Self::Fault { code: 104_014, .. } => {
                "the device rejects its whole configuration as invalid: check it with ifm3d or the \
                 ifmVisionAssistant, and correct it first"
                    .to_owned()
            }
            Self::Fault { .. } => "look up the fault in ifm's documentation; if the device's settings are sealed, \
                                   remove its password first"
                .to_owned(),
            Self::Method { .. } => "apply a plan that this version of o3r-deploy saved".to_owned(),
        };
        Some(text)
    }
}

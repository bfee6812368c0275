//! Reaches a VPU's own services over the network, without ssh: for a VPU that lets nobody log in yet.

use super::{ByteStream, Held, Host, HostError, Output, Stdin};
use crate::shell::Argv;

/// A VPU that runs no commands.
#[derive(Debug, Clone)]
pub struct DirectHost {
    /// Its host name or address.
    address: String,
}

impl DirectHost {
    /// The VPU at an address; nothing is sent yet.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    fn no_commands(command: &Argv) -> HostError {
        HostError::Transport {
            doing: command.to_display(),
            reason: "there is no login yet".to_owned(),
        }
    }
}

impl Host for DirectHost {
    async fn run(&self, command: &Argv, _: Stdin) -> Result<Output, HostError> {
        Err(Self::no_commands(command))
    }

    async fn hold(
        &self,
        command: &Argv,
        _: &str,
        _: &(dyn Fn(&str) + Sync),
    ) -> Result<Result<Held, Output>, HostError> {
        Err(Self::no_commands(command))
    }

    async fn connect(&self, port: u16) -> Result<Box<dyn ByteStream>, HostError> {
        let stream = tokio::net::TcpStream::connect((self.address.as_str(), port)).await;
        let stream = stream.map_err(|error| HostError::Unreachable {
            host: self.address.clone(),
            reason: error.to_string(),
        })?;
        Ok(Box::new(stream))
    }
}

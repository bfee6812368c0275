//! Defines the state of a container in docker's terms.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a container in docker's terms (`docker container inspect`, `.State.Status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ContainerState {
    /// Never started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Running, with its processes suspended.
    Paused,
    /// Ended; docker starts it again.
    Restarting,
    /// Being removed by docker.
    Removing,
    /// Ended or stopped.
    Exited,
    /// Failed to be removed.
    Dead,
    /// A state of another engine or version.
    Other(String),
}

impl ContainerState {
    /// Docker's name of the state.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Other(word) => word,
        }
    }

    /// Whether it has processes or is about to have some, so that it occupies its ports.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running | Self::Restarting | Self::Paused)
    }
}

impl From<String> for ContainerState {
    fn from(word: String) -> Self {
        match word.as_str() {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            _ => Self::Other(word),
        }
    }
}

impl From<&str> for ContainerState {
    fn from(word: &str) -> Self {
        word.to_owned().into()
    }
}

impl From<ContainerState> for String {
    fn from(state: ContainerState) -> Self {
        state.as_str().to_owned()
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_keeps_its_text() {
        for word in [
            "created",
            "running",
            "paused",
            "restarting",
            "removing",
            "exited",
            "dead",
            "stopping",
            "",
        ] {
            assert_eq!(ContainerState::from(word).as_str(), word);
        }
        assert!(ContainerState::from("paused").is_up() && !ContainerState::Exited.is_up());
    }
}

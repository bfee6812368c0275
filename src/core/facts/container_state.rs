//! The state of a container, in docker's words.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a container, in docker's words (`docker container inspect`, `.State.Status`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ContainerState {
    /// It was never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It runs and is held.
    Paused,
    /// It ended, and docker starts it again.
    Restarting,
    /// Docker removes it.
    Removing,
    /// It ended or was stopped.
    Exited,
    /// It cannot be removed.
    Dead,
    /// Another word, of another engine or version.
    Other(String),
}

impl ContainerState {
    /// Docker's word.
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

    /// Whether it has processes, or will have some at once: it holds its ports.
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
    fn every_word_is_kept() {
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

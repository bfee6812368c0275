//! Restart policies, in the words that docker and compose files have for them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When docker restarts a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never: `no`, docker's default.
    #[default]
    No,
    /// Whenever it exits, and after a boot: `always`.
    Always,
    /// The same, unless somebody stopped it: `unless-stopped`.
    UnlessStopped,
    /// If it failed, while dockerd runs: `on-failure:5`, with
    /// the maximum number of restarts; 0 means no limit.
    OnFailure(u32),
    /// One that this version does not know.
    Other(String),
}

impl RestartPolicy {
    /// Creates a policy from docker's representation: the name, and the maximum number of restarts.
    pub fn new(name: &str, limit: u32) -> Self {
        match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure(limit),
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether dockerd starts a container with this policy again after a boot, if it ran before it.
    pub fn survives_boot(&self) -> bool {
        matches!(self, Self::Always | Self::UnlessStopped)
    }
}

impl From<&str> for RestartPolicy {
    /// Parses the form of compose files: `on-failure:5`, and a limit of 0 with any policy.
    fn from(text: &str) -> Self {
        let (name, limit) = text.split_once(':').unwrap_or((text, "0"));
        match (name, limit.parse()) {
            ("on-failure", Ok(limit)) => Self::OnFailure(limit),
            (name, Ok(0)) => Self::new(name, 0),
            _ => Self::Other(text.to_owned()),
        }
    }
}

impl From<String> for RestartPolicy {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(0) => "on-failure",
            Self::OnFailure(limit) => return write!(f, "on-failure:{limit}"),
            Self::Other(text) => text,
        })
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::RestartPolicy as P;

    #[test]
    fn a_policy_round_trips() {
        for (text, policy) in [
            ("no", P::No),
            ("always", P::Always),
            ("unless-stopped", P::UnlessStopped),
            ("on-failure", P::OnFailure(0)),
            ("on-failure:5", P::OnFailure(5)),
            ("always:3", P::Other("always:3".to_owned())),
            ("sometimes", P::Other("sometimes".to_owned())),
        ] {
            assert_eq!(P::from(text), policy);
            assert_eq!(policy.to_string(), text);
        }
        assert_eq!(P::from(""), P::No);
        assert_eq!(P::from("unless-stopped:0"), P::UnlessStopped);
        assert_eq!(P::new("on-failure", 2), P::OnFailure(2));
        let survive = [P::Always, P::UnlessStopped].map(|policy| policy.survives_boot());
        assert_eq!(survive, [true, true]);
        assert!(!P::OnFailure(0).survives_boot() && !P::No.survives_boot());
    }
}

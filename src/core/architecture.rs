//! Processor architectures, in docker's words and the kernel's.

use serde::{Deserialize, Serialize};

/// The architecture that a processor has or a program is built for, in docker's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Architecture {
    /// `arm64`: that of every VPU.
    Arm64,
    /// `amd64`: that of a twin on a PC.
    Amd64,
    /// Any other, e.g. `arm`, `386`, `riscv64`.
    Other(String),
    /// Not specified: an empty word.
    #[default]
    Unknown,
}

/// The words of `uname -m`, with docker's word for each.
const MACHINES: &[(&str, &str)] = &[
    ("aarch64", "arm64"),
    ("x86_64", "amd64"),
    ("armv7l", "arm"),
    ("armv6l", "arm"),
    ("i686", "386"),
    ("i386", "386"),
];

impl Architecture {
    /// Parses a word of `uname -m`. Docker's own words are
    /// accepted as well, as `docker version` may give either.
    pub fn of_machine(machine: &str) -> Self {
        let known = MACHINES.iter().find(|(name, _)| *name == machine);
        Self::from(known.map_or(machine, |(_, word)| word))
    }

    /// Returns all words that `uname -m` may print for it.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        let known = MACHINES.iter().filter(|(_, word)| *word == self.as_str());
        let known = known.map(|(machine, _)| *machine);
        known.chain((*self != Self::Unknown).then(|| self.as_str()))
    }

    /// Returns docker's word; empty if unknown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Arm64 => "arm64",
            Self::Amd64 => "amd64",
            Self::Other(word) => word,
            Self::Unknown => "",
        }
    }

    /// Whether something built for this architecture runs
    /// on `wanted`; an unknown one counts as compatible.
    pub fn may_run_on(&self, wanted: &Self) -> bool {
        *self == Self::Unknown || self == wanted
    }
}

impl From<&str> for Architecture {
    fn from(word: &str) -> Self {
        match word {
            "arm64" => Self::Arm64,
            "amd64" => Self::Amd64,
            "" => Self::Unknown,
            other => Self::Other(other.to_owned()),
        }
    }
}

text_form!(Architecture);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_uname_become_those_of_docker() {
        for (machine, word) in MACHINES {
            let architecture = Architecture::of_machine(machine);
            assert_eq!(architecture.as_str(), *word);
            assert!(architecture.machines().any(|known| known == *machine));
            assert_eq!(Architecture::of_machine(word), architecture);
        }
        assert_eq!(Architecture::of_machine("aarch64"), Architecture::Arm64);
        assert_eq!(
            Architecture::of_machine("riscv64")
                .machines()
                .collect::<Vec<_>>(),
            ["riscv64"]
        );
        assert_eq!(Architecture::Unknown.machines().count(), 0);
    }

    #[test]
    fn an_image_without_an_architecture_may_run_anywhere() {
        let (arm64, amd64) = (Architecture::Arm64, Architecture::Amd64);
        assert!(arm64.may_run_on(&arm64) && Architecture::Unknown.may_run_on(&arm64));
        assert!(!amd64.may_run_on(&arm64));
        let json = serde_json::to_string(&[arm64, Architecture::Unknown]).unwrap();
        assert_eq!(json, r#"["arm64",""]"#);
    }
}

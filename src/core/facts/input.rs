//! Names the inputs of a project's containers in the notation of the records on a VPU: a word for
//! the kind, then a name (`image app:1`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// An input of containers. Ordered by its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Input {
    /// The service as docker-compose on the VPU resolves it; the value is a digest.
    Resolved(String),
    /// A file in the project's directory, by its relative path; the value is the digest of its
    /// content.
    File(String),
    /// An image by its name in the compose file; the value is the digest of its configuration.
    Image(String),
    /// A mount of a service, by its path in the containers; the value describes its source.
    Mount {
        /// The service.
        service: String,
        /// The path.
        destination: String,
    },
    /// A single file of a transfer that a service mounts, by its path as mounted; the value is the
    /// digest of its content.
    Mounted(String),
    /// The definition of this service in the compose file; the value is a digest.
    Service(String),
    /// A transfer that restarts the project, by the transfer's name; the value is a digest of its
    /// tree.
    Transfer(String),
    /// A volume by docker's name; the value is the directory that it is bound to.
    Volume(String),
    /// An input that another version of this tool recorded.
    Other(String),
}

impl Input {
    /// The service that it defines, as written or as docker-compose resolves it.
    pub fn defines(&self) -> Option<&str> {
        match self {
            Self::Service(service) | Self::Resolved(service) => Some(service),
            _ => None,
        }
    }

    /// Whether docker-compose on a VPU resolved it: such an input depends on the VPU and is not
    /// always known.
    pub fn is_resolved(&self) -> bool {
        matches!(self, Self::Resolved(_))
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        let known = text.split_once(' ').and_then(|(kind, name)| {
            let name = name.to_owned();
            Some(match kind {
                "config" => Self::Resolved(name),
                "file" => Self::File(name),
                "image" => Self::Image(name),
                "mount" => {
                    let (service, destination) = name.split_once(' ')?;
                    Self::Mount {
                        service: service.to_owned(),
                        destination: destination.to_owned(),
                    }
                }
                "mounted" => Self::Mounted(name),
                "service" => Self::Service(name),
                "transfer" => Self::Transfer(name),
                "volume" => Self::Volume(name),
                _ => return None,
            })
        });
        known.unwrap_or(Self::Other(text))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Resolved(service) => ("config", service),
            Self::File(path) => ("file", path),
            Self::Image(name) => ("image", name),
            Self::Mount {
                service,
                destination,
            } => return write!(f, "mount {service} {destination}"),
            Self::Mounted(path) => ("mounted", path),
            Self::Service(service) => ("service", service),
            Self::Transfer(name) => ("transfer", name),
            Self::Volume(name) => ("volume", name),
            Self::Other(text) => return f.write_str(text),
        };
        write!(f, "{kind} {name}")
    }
}

impl From<Input> for String {
    fn from(input: Input) -> Self {
        input.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Input;

    #[test]
    fn inputs_are_parsed_and_sorted_as_text() {
        let texts = [
            "config web",
            "file .env",
            "file docker-compose.yml",
            "image app:1",
            "mount a /x y",
            "mount a-b /x",
            "mounted ~/single file",
            "service web",
            "transfer ~/site",
            "volume share",
        ];
        let inputs = texts.map(|text| Input::from(text.to_owned()));
        assert!(inputs.is_sorted());
        assert_eq!(inputs.each_ref().map(ToString::to_string), texts);
        assert!(!inputs.iter().any(|input| matches!(input, Input::Other(_))));
        for unknown in ["", "image", "mount web", "of a later version"] {
            let input = Input::from(unknown.to_owned());
            assert_eq!(input, Input::Other(unknown.to_owned()));
        }
    }
}

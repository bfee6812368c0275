//! Addresses of resources in plans.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of resource. The variants are in alphabetical
/// order, so that addresses sort as their text does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ResourceKind {
    /// Whether a compose project starts when the VPU boots.
    Autostart,
    /// A compose project.
    Compose,
    /// Containers of a project that were renamed for the ones that replace them.
    Containers,
    /// A directory.
    Directory,
    /// A file of a compose project, by project and path.
    File,
    /// All that the VPU keeps of a release: its record, earlier releases and their images.
    History,
    /// An image, loaded under its staging name.
    Image,
    /// A network of a compose project.
    Network,
    /// The record of a release.
    Release,
    /// A systemd service that starts containers when the VPU boots.
    Service,
    /// The directory that files of transfers are sent to before they are moved in place.
    Staging,
    /// The name of an image.
    Tag,
    /// A transfer, by its target.
    Transfer,
    /// Files that are sent to a staging directory.
    Upload,
    /// A docker volume.
    Volume,
    /// The VPU itself, by the guard or limit that fails.
    Vpu,
}

impl ResourceKind {
    /// All kinds, in order.
    const ALL: [Self; 16] = [
        Self::Autostart,
        Self::Compose,
        Self::Containers,
        Self::Directory,
        Self::File,
        Self::History,
        Self::Image,
        Self::Network,
        Self::Release,
        Self::Service,
        Self::Staging,
        Self::Tag,
        Self::Transfer,
        Self::Upload,
        Self::Volume,
        Self::Vpu,
    ];

    /// Returns the kind's word in addresses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Autostart => "autostart",
            Self::Compose => "compose",
            Self::Containers => "containers",
            Self::Directory => "directory",
            Self::File => "file",
            Self::History => "history",
            Self::Image => "image",
            Self::Network => "network",
            Self::Release => "release",
            Self::Service => "service",
            Self::Staging => "staging",
            Self::Tag => "tag",
            Self::Transfer => "transfer",
            Self::Upload => "upload",
            Self::Volume => "volume",
            Self::Vpu => "vpu",
        }
    }
}

/// A resource's name in plans: its kind, a dot, its name.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Address {
    kind: ResourceKind,
    name: String,
}

/// The text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the address of a resource: its kind is unknown")]
pub struct UnknownAddress(String);

impl Address {
    /// Creates an address: `(Volume, "share")` is shown as `volume.share`.
    pub fn new(kind: ResourceKind, name: impl fmt::Display) -> Self {
        let name = name.to_string();
        Self { kind, name }
    }

    /// Returns the address of what an interrupted apply left of images. It cannot be an image's:
    /// image names have tags.
    pub fn unfinished_images() -> Self {
        Self::new(ResourceKind::Image, "unfinished")
    }

    /// Returns the address of images of ours that a power cut damaged.
    pub fn damaged_images() -> Self {
        Self::new(ResourceKind::Image, "damaged")
    }

    /// Returns the kind.
    pub fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Returns the name within its kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the compose project and the path below its
    /// directory, if this is a file of a project.
    pub fn project_file(&self) -> Option<(&str, &str)> {
        let file = (self.kind == ResourceKind::File).then_some(&self.name)?;
        file.split_once('/')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind.word(), self.name)
    }
}

impl FromStr for Address {
    type Err = UnknownAddress;

    fn from_str(text: &str) -> Result<Self, UnknownAddress> {
        let unknown = || UnknownAddress(text.to_owned());
        let (word, name) = text.split_once('.').ok_or_else(unknown)?;
        let mut kinds = ResourceKind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.word() == word).ok_or_else(unknown)?;
        Ok(Self::new(kind, name))
    }
}

impl TryFrom<String> for Address {
    type Error = UnknownAddress;

    fn try_from(text: String) -> Result<Self, UnknownAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl PartialEq<str> for Address {
    fn eq(&self, other: &str) -> bool {
        other
            .strip_prefix(self.kind.word())
            .and_then(|rest| rest.strip_prefix('.'))
            == Some(&*self.name)
    }
}

impl PartialEq<&str> for Address {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips_and_sorts_as_its_text() {
        let mut all: Vec<Address> = ResourceKind::ALL
            .into_iter()
            .flat_map(|kind| ["a.b", "", "~/c"].map(|name| Address::new(kind, name)))
            .collect();
        for address in &all {
            assert_eq!(address.to_string().parse(), Ok(address.clone()));
            assert_eq!(*address, address.to_string().as_str());
        }
        all.sort();
        assert!(all.iter().map(Address::to_string).is_sorted());
        for text in ["share", "nothing.share", "volume"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}

//! Contents that this machine makes, instead of those of its files.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::digest::Digest;

/// Contents by their sha256: rendered templates, and the environments of compose projects.
pub type Rendered = BTreeMap<Digest, Content>;

/// The content of a file. It may hold secrets, so that only its size is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Arc<[u8]>,
    /// Whether it holds values that must not appear anywhere except on the VPU.
    secret: bool,
    /// Whether what it replaces may hold such values.
    replaces_secrets: bool,
}

impl Content {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Creates a content that must not appear anywhere except on the VPU.
    pub fn secret(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            secret: true,
            replaces_secrets: true,
        }
    }

    /// Notes that what it replaces may have to be kept secret.
    #[must_use]
    pub fn replacing_secrets(mut self) -> Self {
        self.replaces_secrets = true;
        self
    }

    /// Whether a diff with what it replaces may be shown.
    pub fn may_be_compared(&self) -> bool {
        !self.replaces_secrets
    }

    /// Whether it must not appear anywhere except on the VPU.
    pub fn is_secret(&self) -> bool {
        self.secret
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            secret: false,
            replaces_secrets: false,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_not_shown() {
        let content = Content::from(b"PASSWORD=1234".to_vec());
        assert_eq!(format!("{content:?}"), "13 bytes");
        assert_eq!(content.bytes(), b"PASSWORD=1234");
    }
}

//! The commands of a plan: their words and their payloads. Data only.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, shell::Argv};

/// One command on the VPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// What runs it. Default: the VPU's shell.
    #[serde(default, skip_serializing_if = "Transport::is_shell")]
    pub transport: Transport,
    /// The program and its arguments.
    pub argv: Argv,
    /// Its standard input; null for none.
    pub stdin: Option<Payload>,
    /// The command that runs instead if this one fails: it needs nothing on the VPU and sends more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Box<Command>>,
}

/// What runs a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// The VPU's shell.
    #[default]
    Shell,
    /// The device's API: `argv` is a method and its parameters.
    DeviceApi {
        /// Its TCP port, as seen from the VPU itself.
        port: u16,
    },
}

impl Transport {
    /// Whether it is the shell.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn is_shell(&self) -> bool {
        *self == Self::Shell
    }
}

impl Command {
    /// Creates a shell command without standard input.
    pub fn new(argv: Argv) -> Self {
        Self {
            transport: Transport::Shell,
            argv,
            stdin: None,
            fallback: None,
        }
    }

    /// Creates a shell command that reads a payload.
    pub fn with(argv: Argv, stdin: Payload) -> Self {
        Self {
            stdin: Some(stdin),
            ..Self::new(argv)
        }
    }

    /// Creates a call of the device's API.
    pub fn device_api(port: u16, call: Argv) -> Self {
        Self {
            transport: Transport::DeviceApi { port },
            ..Self::new(call)
        }
    }

    /// Returns the text that people read: a script is shown
    /// by name and arguments, without its body.
    pub fn to_display(&self) -> String {
        let words = self.argv.to_display();
        match self.transport {
            Transport::Shell => words,
            Transport::DeviceApi { port } => format!("device-api:{port} {words}"),
        }
    }

    /// Adds a command that runs instead if this one fails.
    #[must_use]
    pub fn or_else(mut self, fallback: Self) -> Self {
        self.fallback = Some(Box::new(fallback));
        self
    }
}

/// A command's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payload {
    /// Where the bytes come from.
    pub source: PayloadSource,
    /// Digest of the bytes; for a payload that is built while it is sent, digest of its inputs.
    pub sha256: Digest,
    /// Bytes to send.
    pub bytes: u64,
    /// Whether the sizes, also of parts, are estimates because layers are compressed while they are sent. Never set
    /// in a plan that `plan` prints or saves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// For an image: bytes that docker stores of it, or of its largest part, before it unpacks them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spool_bytes: u64,
    /// Whether the bytes must not appear anywhere except on the VPU.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

impl Payload {
    /// Creates a payload that is sent whole.
    pub fn new(source: PayloadSource, sha256: Digest, bytes: u64) -> Self {
        Self {
            source,
            sha256,
            bytes,
            estimated: false,
            spool_bytes: 0,
            secret: false,
        }
    }

    /// Creates a payload whose text is in the plan itself.
    pub fn inline(text: String) -> Self {
        let (sha256, bytes) = (Digest::of(&text), text.len() as u64);
        Self::new(PayloadSource::Inline { text }, sha256, bytes)
    }

    /// Returns the parts in which it is sent; none if it is sent in one piece.
    pub fn parts(&self) -> &[Part] {
        match &self.source {
            PayloadSource::ImageParts { parts, .. } => parts,
            _ => &[],
        }
    }

    /// Returns the diff IDs of the layers of an image that are sent; `None` means all.
    pub fn layers(&self) -> Option<&BTreeSet<Digest>> {
        match &self.source {
            PayloadSource::Image { layers, .. } => layers.as_ref(),
            PayloadSource::ImageParts { layers, .. } | PayloadSource::ImageDelta { layers, .. } => {
                Some(layers)
            }
            _ => None,
        }
    }
}

/// Where a payload's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PayloadSource {
    /// A local file.
    File {
        /// Its path.
        path: String,
    },
    /// A text in the plan itself; never a secret.
    Inline {
        /// The text.
        text: String,
    },
    /// The manifest's image of this name, as an archive that is built while it is sent.
    Image {
        /// The name.
        name: String,
        /// Diff IDs of the layers in the archive; absent for all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layers: Option<BTreeSet<Digest>>,
    },
    /// The manifest's image of this name in parts; each part is sent to a command of its own.
    ImageParts {
        /// The name.
        name: String,
        /// Diff IDs of the layers in all parts.
        layers: BTreeSet<Digest>,
        /// The parts, in the order in which they are sent.
        parts: Vec<Part>,
    },
    /// A delta from which the VPU builds the image's archive with the files of an image that it has.
    ImageDelta {
        /// The name.
        name: String,
        /// Diff IDs of the layers in the archive.
        layers: BTreeSet<Digest>,
        /// ID of the image on the VPU whose files it uses.
        base: String,
    },
    /// The list of the image's files with their digests, compressed.
    ImageSums {
        /// The name.
        name: String,
    },
    /// A tar archive of files of one of the image's layers, which are damaged on the VPU.
    ImageFiles {
        /// The name.
        name: String,
        /// The diff ID of the layer.
        layer: Digest,
    },
    /// A tar archive of files of transfers, built while it is sent.
    Files {
        /// The directory on the VPU in which it is unpacked.
        staging: String,
        /// The names in the archive: the transfer's number, from 0, and the path below it.
        members: Vec<String>,
    },
    /// A delta from which the VPU builds a file with its old version: the new bytes and a recipe.
    FilePatch {
        /// The directory on the VPU in which it is built.
        staging: String,
        /// The file: the transfer's number, from 0, and the path below it.
        member: String,
    },
}

/// A part of an image. Loading it gives an image of the lowest layers. It is sent while the part before it
/// is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// Layers of the image on the VPU once this part is loaded.
    pub layer_count: usize,
    /// Diff IDs of the layers in this part.
    pub layers: BTreeSet<Digest>,
    /// Bytes of its archive.
    pub bytes: u64,
    /// Bytes of it that are on the VPU already, from an interrupted apply.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub received_bytes: u64,
    /// The command that stores the remaining bytes in a file, if they are not piped to `load`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive: Option<Argv>,
    /// The command that loads it, from that file or from its standard input.
    pub load: Argv,
}

impl Part {
    /// Bytes still to send.
    pub fn bytes_to_send(&self) -> u64 {
        self.bytes.saturating_sub(self.received_bytes)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

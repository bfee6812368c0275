//! The digest of what a release declares.

use serde::Serialize;

use super::{Contents, Desired, ProjectState};
use crate::{device_words::Settings, digest::Digest};

impl Desired {
    /// Returns the digest of the whole declaration, as a release's record holds it.
    pub fn digest(&self) -> Digest {
        match self.contents {
            Contents::Here => self.canonical_digest(),
            Contents::OnVpu(recorded) => recorded,
        }
    }

    fn canonical_digest(&self) -> Digest {
        #[derive(Serialize)]
        struct CanonicalProject<'a> {
            name: &'a str,
            state: ProjectState,
            files: Vec<(&'a str, Digest, u32)>,
            #[serde(skip_serializing_if = "Option::is_none")]
            autostart: Option<bool>,
        }
        #[derive(Serialize)]
        struct Canonical<'a> {
            version: &'a str,
            directories: Vec<(String, Option<u32>)>,
            volumes: Vec<(&'a str, String)>,
            images: Vec<(&'a str, Option<Digest>)>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            transfers: Vec<(String, bool, Digest)>,
            projects: Vec<CanonicalProject<'a>>,
            // Left out if not declared, so that older records keep their digest.
            #[serde(skip_serializing_if = "Option::is_none")]
            device_name: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            device_settings: Option<(&'a Settings, bool)>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            disabled: Vec<&'a str>,
        }
        let canonical = Canonical {
            version: &self.release.version,
            directories: self
                .directories
                .iter()
                .map(|d| (d.path.resolve("~"), d.mode))
                .collect(),
            volumes: self
                .volumes
                .iter()
                .map(|v| (v.name.as_str(), v.path.resolve("~")))
                .collect(),
            images: self
                .images
                .iter()
                .map(|i| {
                    (
                        i.name.as_str(),
                        i.content
                            .as_ref()
                            .map_or(i.found, |c| Some(c.config_digest)),
                    )
                })
                .collect(),
            transfers: self
                .transfers
                .iter()
                .filter(|transfer| !transfer.is_undeclared())
                .map(|t| (t.name(), t.delete, t.digest()))
                .collect(),
            projects: self
                .projects
                .iter()
                .filter(|project| !project.undeclared)
                .map(|project| CanonicalProject {
                    name: &project.name,
                    state: project.state,
                    files: project
                        .files
                        .iter()
                        .map(|file| (file.relative.as_str(), file.sha256, file.mode))
                        .collect(),
                    autostart: project.autostart,
                })
                .collect(),
            device_name: self.device_name.as_ref().map(|device| device.name.as_str()),
            device_settings: self
                .device_settings
                .as_ref()
                .map(|settings| (&settings.values, settings.save)),
            disabled: self.disabled.iter().map(|d| d.name.as_str()).collect(),
        };
        // Strings, numbers and lists of them always serialise.
        Digest::of(serde_json::to_vec(&canonical).unwrap_or_default())
    }
}

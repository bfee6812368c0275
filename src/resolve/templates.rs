//! Renders templates and the environments of compose projects, and keeps what it makes of them.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use o3r_core::{rendered::Content, units};

use super::Resolver;
use crate::{
    desired::{Entry, ProjectFile},
    digest::Digest,
    manifest::{
        meaning::compose::{ENV_FILE, env_text},
        template, types,
    },
};

/// Fewer bytes, such as a build number, are no secret, and would be found in any file.
const SHORTEST_SECRET: usize = 6;

/// The mode of a file with a secret: only its owner reads it.
pub(super) const SECRET_MODE: u32 = 0o600;

/// Names a file that is rendered, where the path of another one is named.
pub(super) fn rendered_from(local: &Utf8Path) -> Utf8PathBuf {
    let (above, name) = (local.parent(), local.file_name().unwrap_or_default());
    let above = above.filter(|above| !above.as_str().is_empty());
    let above = above.unwrap_or(Utf8Path::new("."));
    format!("rendered from {above}/{name}").into()
}

impl Resolver<'_> {
    /// Renders all files of a transfer; returns whether it could. `has_mode` is whether the manifest says the mode of the
    /// files.
    pub(super) fn render_all(
        &mut self,
        pointer: &str,
        has_mode: bool,
        entries: &mut BTreeMap<String, Entry>,
    ) -> bool {
        let before = self.findings.len();
        for entry in entries.values_mut() {
            if let Entry::File(file) = entry
                && let Some(rendered) = self.render(pointer, &file.local, file.bytes)
            {
                (file.sha256, file.bytes) = rendered;
                if self
                    .rendered
                    .get(&file.sha256)
                    .is_some_and(Content::is_secret)
                {
                    file.secret = true;
                    file.local = rendered_from(&file.local);
                    if !has_mode {
                        file.mode = SECRET_MODE;
                    }
                }
            }
        }
        self.findings.len() == before
    }

    /// Renders a template, and returns the digest and the length of the result.
    pub(super) fn render(
        &mut self,
        pointer: &str,
        local: &Utf8Path,
        bytes: u64,
    ) -> Option<(Digest, u64)> {
        if bytes > template::MAX_BYTES {
            let most = units::bytes(template::MAX_BYTES);
            let message = format!("{local} is a template of more than {most}");
            let help = "place it without `template = true`";
            self.find(pointer, message, "below this", help);
            return None;
        }
        let text = match fs_err::read(local) {
            Ok(text) => text,
            Err(error) => {
                self.find(pointer, error.to_string(), "below this", "make it readable");
                return None;
            }
        };
        match template::render(self.loaded, local, &text) {
            Ok(rendered) if self.uses_secret(&text) || self.has_secret(&rendered) => {
                Some(self.keep(Content::secret(rendered)))
            }
            // An earlier rendering may have had one.
            Ok(rendered) if self.values_of_environment().next().is_some() => {
                Some(self.keep(Content::from(rendered).replacing_secrets()))
            }
            Ok(rendered) => Some(self.keep(rendered.into())),
            Err(finding) => {
                self.findings.push(*finding);
                None
            }
        }
    }

    /// Returns the values of this machine's environment that the manifest may use.
    fn values_of_environment(&self) -> impl Iterator<Item = &str> {
        let values = self.loaded.variables.get("env");
        let values = values.and_then(serde_json::Value::as_object);
        let values = values.into_iter().flatten();
        values.filter_map(|(_, value)| value.as_str())
    }

    /// Whether a template refers to one of them, directly or by a variable of the manifest: a filter may change it.
    fn uses_secret(&self, template: &[u8]) -> bool {
        let names = template::variables_of(template);
        names.iter().any(|name| {
            let pointer = format!("/{}", name.replace('.', "/"));
            let value = self.loaded.variables.pointer(&pointer);
            name == "env"
                || name.starts_with("env.")
                || value.is_some_and(|value| self.has_secret(value.to_string().as_bytes()))
        })
    }

    /// Whether a rendered text has one of them, directly or by a variable of the manifest.
    pub(super) fn has_secret(&self, rendered: &[u8]) -> bool {
        let text = String::from_utf8_lossy(rendered);
        self.values_of_environment()
            .any(|value| value.len() >= SHORTEST_SECRET && text.contains(value))
    }

    fn keep(&mut self, content: Content) -> (Digest, u64) {
        let bytes = content.bytes();
        let (sha256, bytes) = (Digest::of(bytes), bytes.len() as u64);
        self.rendered.insert(sha256, content);
        (sha256, bytes)
    }

    /// Returns the `.env` with the variables of a project.
    pub(super) fn environment(&mut self, number: usize, compose: &types::Compose) -> ProjectFile {
        let (sha256, bytes) = self.keep(Content::secret(env_text(&compose.env).into_bytes()));
        let place = self.loaded.place(&format!("/compose/{number}/env"));
        ProjectFile {
            relative: ENV_FILE.to_owned(),
            local: format!("{place}/{ENV_FILE}").into(),
            sha256,
            bytes,
            mode: SECRET_MODE,
        }
    }
}

//! Reads a manifest and `vpus.toml` beside it: documents to types, all findings at once.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use o3r_core::digest::Digest;
use serde_json::{Map, Value};

use super::{
    FindingCode, Manifest,
    diagnostics::{Diagnostic, Diagnostics, Source},
    document::{self, Read},
    interpolate::Version,
    loaded::{Loaded, Sidecar},
    meaning,
    names::ReleaseVersion,
    schema::Document,
    vpu::{NoVpuSelected, UnknownVpu, VPUS_FILE, Vpus},
};

/// What the command line says beside the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Overrides `release.version`.
    pub release_version: Option<ReleaseVersion>,
    /// The `[vpus.NAME]` whose keys override `[vpu]`. Default: the only one, where `[vpu]` has no `host`.
    pub vpu: Option<String>,
    /// Looks at keys and words only: what the manifest points to may be missing.
    pub words_only: bool,
}

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file was read, and at least one finding is an error.
    #[error(transparent)]
    Invalid(Diagnostics),
    /// The VPU that was asked for is not in it.
    #[error(transparent)]
    UnknownVpu(UnknownVpu),
    /// It declares several VPUs, and none was asked for.
    #[error(transparent)]
    NoVpuSelected(NoVpuSelected),
}

impl LoadError {
    /// The next thing to type.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name the manifest with `-f FILE`, or write one: o3r-deploy init".to_owned())
            }
            Self::UnknownVpu(unknown) => Some(unknown.help()),
            Self::NoVpuSelected(undecided) => Some(undecided.help()),
            Self::Read { .. } | Self::Invalid(_) => None,
        }
    }

    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a manifest and checks its syntax, its keys and its meaning, local files included.
///
/// # Errors
/// The file cannot be read, or there are findings that make it unusable; then all are reported.
pub fn load(path: &Utf8Path) -> Result<Loaded, LoadError> {
    load_with(path, &Options::default())
}

/// Reads a manifest as [`load`] does, with what the command line says beside it.
///
/// # Errors
/// Those of [`load`], and a VPU that is not in it.
pub fn load_with(path: &Utf8Path, options: &Options) -> Result<Loaded, LoadError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the error names the file, and would name it twice"
    )]
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    let loaded =
        check(path.as_str(), &bytes, options, &meaning::Disk).map_err(LoadError::Invalid)?;
    match &options.vpu {
        Some(name) if loaded.chosen.is_none() => {
            let has_vpus = path.with_file_name(VPUS_FILE).exists();
            Err(LoadError::UnknownVpu(UnknownVpu {
                name: name.clone(),
                files: if has_vpus {
                    format!("{path} or {VPUS_FILE}")
                } else {
                    path.to_string()
                },
                known: loaded.manifest.vpus.keys().cloned().collect(),
            }))
        }
        _ => Ok(loaded),
    }
}

/// Checks everything about a manifest, its local files and `vpus.toml` seen through `files`. A VPU
/// that is asked for and not there is passed over.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check(
    name: &str,
    bytes: &[u8],
    options: &Options,
    files: &dyn meaning::LocalFiles,
) -> Result<Loaded, Diagnostics> {
    let (mut loaded, mut findings, version) = read(name, bytes, options);
    let path = Utf8Path::new(name).with_file_name(VPUS_FILE);
    if path != name {
        findings.extend(read_vpus(&path, version, files, loaded.as_mut()));
    }
    if let Some(read) = loaded.as_mut() {
        let name = options.vpu.as_deref().or_else(|| read.only_vpu());
        if let Some(chosen) = name.and_then(|name| read.for_vpu(name)) {
            *read = chosen;
        }
        if !options.words_only {
            findings.extend(meaning::check(read, files));
        }
    }
    finish(loaded, findings)
}

/// Parses a manifest without looking at its meaning or at any other file.
///
/// # Errors
/// All findings in its bytes, its syntax and its keys.
pub fn parse(source_name: &str, text: &[u8]) -> Result<Loaded, Diagnostics> {
    let (loaded, findings, _) = read(source_name, text, &Options::default());
    finish(loaded, findings)
}

fn finish(loaded: Option<Loaded>, findings: Vec<Diagnostic>) -> Result<Loaded, Diagnostics> {
    let diagnostics = Diagnostics::new(findings);
    match loaded {
        Some(loaded) if !diagnostics.has_errors() => Ok(Loaded {
            warnings: diagnostics.into_vec(),
            ..loaded
        }),
        _ => Err(diagnostics),
    }
}

/// The manifest without what the findings are about, as far as it is still one.
fn read(name: &str, bytes: &[u8], options: &Options) -> (Option<Loaded>, Vec<Diagnostic>, Version) {
    let Read {
        value,
        spans,
        source,
        mut findings,
        version,
    } = document::read(Document::Manifest, name, bytes, |value| {
        if let Some(version) = &options.release_version {
            set_version(value, version);
        }
        Version::of(value)
    });
    let manifest: Option<Manifest> = value.and_then(|value| typed(value, &source, &mut findings));
    let loaded = manifest.map(|manifest| Loaded {
        declared_vpu: manifest.vpu.clone(),
        manifest,
        path: name.into(),
        source,
        sha256: Digest::of(bytes).hex(),
        spans,
        vpus_file: None,
        chosen: None,
        warnings: Vec::new(),
    });
    (loaded, findings, version)
}

/// Reads the file with further VPUs, if there is one, and adds them to the manifest.
fn read_vpus(
    path: &Utf8Path,
    version: Version,
    files: &dyn meaning::LocalFiles,
    loaded: Option<&mut Loaded>,
) -> Vec<Diagnostic> {
    let bytes = match files.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let source = Source::new(path.as_str(), String::new());
            let finding = Diagnostic::error(
                FindingCode::MissingFile,
                &source,
                format!("cannot read {path}: {error}"),
            );
            return vec![finding.help("make it readable, or move it away")];
        }
    };
    let Read {
        value,
        spans,
        source,
        mut findings,
        ..
    } = document::read(Document::Vpus, path.as_str(), &bytes, |_| version);
    let vpus: Option<Vpus> = value.and_then(|value| typed(value, &source, &mut findings));
    if let (Some(vpus), Some(loaded)) = (vpus, loaded) {
        findings.extend(loaded.add(vpus, Sidecar { source, spans }));
    }
    findings
}

fn typed<T: serde::de::DeserializeOwned>(
    value: Value,
    source: &Source,
    findings: &mut Vec<Diagnostic>,
) -> Option<T> {
    match serde_json::from_value(value) {
        Ok(typed) => Some(typed),
        Err(error) => {
            // The schema allows nothing that the types refuse; should it, this is better than a panic.
            findings.push(
                Diagnostic::error(FindingCode::WrongValue, source, error.to_string())
                    .help("report this as a bug: the schema let it pass"),
            );
            None
        }
    }
}

fn set_version(value: &mut Value, version: &ReleaseVersion) {
    let Value::Object(root) = value else { return };
    let release = root
        .entry("release")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(release) = release {
        release.insert("version".to_owned(), Value::String(version.to_string()));
    }
}

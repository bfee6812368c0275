//! Loads a manifest and the `vpus.toml` next to it:
//! documents to types, reporting all findings at once.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use o3r_core::digest::Digest;
use serde_json::{Map, Value};

use super::{
    FindingCode, Manifest,
    diagnostics::{Diagnostic, Diagnostics, Source},
    document::{self, Read},
    loaded::{Loaded, Sidecar},
    meaning,
    names::ReleaseVersion,
    schema::Document,
    variables::{Environment, Variables},
    vpu::{NoVpuSelected, UnknownVpu, VPUS_FILE, Vpus},
};

/// Options of the command line that affect the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Overrides `release.version`.
    pub release_version: Option<ReleaseVersion>,
    /// The `[vpus.NAME]` whose keys override `[vpu]`.
    /// Default: the only one, if `[vpu]` has no `host`.
    pub vpu: Option<String>,
    /// Checks keys and words only: the files that the manifest names may be missing.
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
        /// The reason.
        source: io::Error,
    },
    /// The file was read, and at least one finding is an error.
    #[error(transparent)]
    Invalid(Diagnostics),
    /// The selected VPU is not in the manifest.
    #[error(transparent)]
    UnknownVpu(UnknownVpu),
    /// The manifest declares several VPUs, and none is selected.
    #[error(transparent)]
    NoVpuSelected(NoVpuSelected),
}

impl LoadError {
    /// Returns the next thing to type.
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

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a manifest and checks its syntax, its keys and its meaning, local files included.
///
/// # Errors
/// The file cannot be read, or findings make it unusable; all findings are reported.
pub fn load(path: &Utf8Path) -> Result<Loaded, LoadError> {
    load_with(path, &Options::default())
}

/// Reads a manifest like [`load`], with options of the command line.
///
/// # Errors
/// Those of [`load`], and a selected VPU that is not in it.
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

/// Checks everything about a manifest, reading its local files and `vpus.toml` through `files`. A
/// selected VPU that does not exist is ignored.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn check(
    name: &str,
    bytes: &[u8],
    options: &Options,
    files: &dyn meaning::LocalFiles,
) -> Result<Loaded, Diagnostics> {
    let path = Utf8Path::new(name).with_file_name(VPUS_FILE);
    let beside = (path != name).then(|| files.read(&path));
    let environment = |name: &str| files.variable(name);
    let tree = |bytes: &Vec<u8>| document::tree(bytes);
    let vpus = beside.as_ref().and_then(|beside| beside.as_ref().ok());
    let vpus = vpus.map_or(Value::Null, tree);
    let mut variables = variables(bytes, &vpus, options, Some(&environment));
    if options.words_only {
        variables = variables.without_environment();
    }
    let (mut loaded, mut findings) = read(name, bytes, options, &variables);
    if let Some(beside) = beside {
        findings.extend(read_vpus(&path, beside, &variables, loaded.as_mut()));
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

/// Parses a manifest without checking its meaning or reading any other file.
///
/// # Errors
/// All findings in its bytes, its syntax and its keys.
pub fn parse(source_name: &str, text: &[u8]) -> Result<Loaded, Diagnostics> {
    let options = Options::default();
    let variables = variables(text, &Value::Null, &options, None);
    let (loaded, findings) = read(source_name, text, &options, &variables);
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

/// Returns the variables of a manifest and the `vpus.toml` beside it.
fn variables<'a>(
    bytes: &[u8],
    vpus: &Value,
    options: &Options,
    environment: Option<Environment<'a>>,
) -> Variables<'a> {
    let mut manifest = document::tree(bytes);
    if let Some(version) = &options.release_version {
        set_version(&mut manifest, version);
    }
    Variables::new(manifest, vpus, options.vpu.as_deref(), environment)
}

/// Returns the manifest without its invalid parts, if the rest is still one, and the findings.
fn read(
    name: &str,
    bytes: &[u8],
    options: &Options,
    variables: &Variables<'_>,
) -> (Option<Loaded>, Vec<Diagnostic>) {
    let Read {
        value,
        spans,
        source,
        mut findings,
    } = document::read(Document::Manifest, name, bytes, variables, |value| {
        if let Some(version) = &options.release_version {
            set_version(value, version);
        }
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
        variables: variables.context(),
        warnings: Vec::new(),
    });
    (loaded, findings)
}

/// Reads `vpus.toml`, if it exists, and adds its VPUs to the manifest.
fn read_vpus(
    path: &Utf8Path,
    bytes: io::Result<Vec<u8>>,
    variables: &Variables<'_>,
    loaded: Option<&mut Loaded>,
) -> Vec<Diagnostic> {
    let bytes = match bytes {
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
    } = document::read(Document::Vpus, path.as_str(), &bytes, variables, |_| ());
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
            // The schema allows nothing that the types refuse;
            // if it did, this finding is better than a panic.
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

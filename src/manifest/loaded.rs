//! Holds a manifest with everything that later stages need to point into it.

use std::collections::btree_map::Entry;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    FindingCode, Manifest,
    diagnostics::{Diagnostic, Source},
    names::escape,
    spans::{SpanMap, child},
    vpu::{Vpu, Vpus},
};

/// A manifest with everything that later stages need to point into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it says; `vpu` is that of the chosen VPU, and `vpus` has those of `vpus.toml`, too.
    pub manifest: Manifest,
    /// The path it was read from, as given.
    pub path: Utf8PathBuf,
    /// Its name and text.
    pub source: Source,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Where everything stands in it.
    pub spans: SpanMap,
    /// `vpus.toml` beside it, if there is one.
    pub vpus_file: Option<Sidecar>,
    /// `[vpu]` as written.
    pub declared_vpu: Vpu,
    /// The name of the chosen VPU.
    pub chosen: Option<String>,
    /// Findings that do not make it unusable.
    pub warnings: Vec<Diagnostic>,
}

/// A document beside the manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// Its name and text.
    pub source: Source,
    /// Where everything stands in it.
    pub spans: SpanMap,
}

impl Loaded {
    /// The directory that the manifest's relative paths start from.
    pub fn base(&self) -> &Utf8Path {
        match self.path.parent() {
            Some(parent) if !parent.as_str().is_empty() => parent,
            _ => Utf8Path::new("."),
        }
    }

    /// The same for one of its VPUs, whose keys override `[vpu]`.
    pub fn for_vpu(&self, name: &str) -> Option<Self> {
        let over = self.manifest.vpus.get(name)?;
        let mut loaded = self.clone();
        loaded.manifest.vpu = self.declared_vpu.overridden_by(over);
        loaded.chosen = Some(name.to_owned());
        Some(loaded)
    }

    /// Every pointer that is written here or in `vpus.toml`.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let beside = self.vpus_file.iter().flat_map(|file| file.spans.pointers());
        self.spans
            .pointers()
            .chain(beside.filter(|pointer| *pointer != "/vpus"))
    }

    /// The line of a key, counted from 1, or of the closest table around it that was written.
    pub fn line(&self, pointer: &str) -> Option<usize> {
        let (source, spans, pointer) = self.locate(pointer);
        let span = spans.key(&pointer);
        (span != (0..0)).then(|| source.line_and_column(span.start).0)
    }

    /// Where a key stands, as `deploy.toml:12`.
    pub fn place(&self, pointer: &str) -> String {
        let name = self.locate(pointer).0.name();
        match self.line(pointer) {
            Some(line) => format!("{name}:{line}"),
            None => name.to_owned(),
        }
    }

    /// Where a key stands in the manifest itself, whichever VPU is chosen.
    pub fn source_place(&self, pointer: &str) -> String {
        let span = self.spans.key(pointer);
        let line = self.source.line_and_column(span.start).0;
        format!("{}:{line}", self.source.name())
    }

    /// An error at a key's value.
    pub fn diagnostic(
        &self,
        pointer: &str,
        code: FindingCode,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        let (source, spans, written) = self.locate(pointer);
        Diagnostic::error(code, source, message)
            .at(pointer)
            .label(spans.value(&written), label)
            .help(help)
    }

    /// The document in which a key is written, and where: a key of `[vpu]` may be that of the
    /// chosen VPU, and a VPU may stand in `vpus.toml`.
    fn locate(&self, pointer: &str) -> (&Source, &SpanMap, String) {
        let chosen = self.chosen.as_deref().zip(pointer.strip_prefix("/vpu/"));
        let overridden = chosen.map(|(name, key)| child(&child("/vpus", name), key));
        for pointer in overridden.as_deref().into_iter().chain([pointer]) {
            if self.spans.contains(pointer) {
                return (&self.source, &self.spans, pointer.to_owned());
            }
            let beside = self.vpus_file.as_ref();
            if let Some(file) = beside.filter(|file| file.spans.contains(pointer)) {
                return (&file.source, &file.spans, pointer.to_owned());
            }
        }
        (&self.source, &self.spans, pointer.to_owned())
    }

    /// Adds the VPUs of `vpus.toml`; one that the manifest has, too, is a finding.
    pub(super) fn add(&mut self, vpus: Vpus, file: Sidecar) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        for (name, vpu) in vpus.vpus {
            let pointer = child("/vpus", &name);
            let earlier = self.place(&pointer);
            match self.manifest.vpus.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(vpu);
                }
                Entry::Occupied(entry) => {
                    let name = escape(entry.key());
                    let message = format!("the VPU `{name}` is declared twice");
                    let finding = Diagnostic::error(FindingCode::Duplicate, &file.source, message)
                        .at(&pointer)
                        .label(file.spans.key(&pointer), "declared again here")
                        .help(format!(
                            "it is declared at {earlier}, too; remove one of the two"
                        ));
                    findings.push(finding);
                }
            }
        }
        self.vpus_file = Some(file);
        findings
    }
}

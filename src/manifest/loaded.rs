//! A manifest with the places of everything in it, for later stages.

use std::collections::btree_map::Entry;

use camino::{Utf8Path, Utf8PathBuf};

use super::{
    FindingCode, Manifest,
    diagnostics::{Diagnostic, Source},
    names::escape,
    spans::{SpanMap, child},
    vpu::{NoVpuSelected, Vpu, Vpus},
};

/// A manifest with its documents and the places of everything in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The manifest; `vpu` is that of the chosen VPU, and `vpus` includes those of `vpus.toml`.
    pub manifest: Manifest,
    /// The path it was read from, as given.
    pub path: Utf8PathBuf,
    /// Its name and text.
    pub source: Source,
    /// The SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// The places of its keys and values.
    pub spans: SpanMap,
    /// `vpus.toml` next to it, if it exists.
    pub vpus_file: Option<Sidecar>,
    /// `[vpu]` as written.
    pub declared_vpu: Vpu,
    /// The name of the chosen VPU.
    pub chosen: Option<String>,
    /// The values of its variables for the chosen VPU, by table and name: `{"vars": {"robot_id": "18"}}`.
    pub variables: serde_json::Value,
    /// Findings that do not make it unusable.
    pub warnings: Vec<Diagnostic>,
}

/// A document next to the manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// Its name and text.
    pub source: Source,
    /// The places of its keys and values.
    pub spans: SpanMap,
}

impl Loaded {
    /// Returns the directory that the manifest's relative paths start from.
    pub fn base(&self) -> &Utf8Path {
        match self.path.parent() {
            Some(parent) if !parent.as_str().is_empty() => parent,
            _ => Utf8Path::new("."),
        }
    }

    /// Returns the manifest for one of its VPUs, whose keys override `[vpu]`.
    pub fn for_vpu(&self, name: &str) -> Option<Self> {
        let over = self.manifest.vpus.get(name)?;
        let mut loaded = self.clone();
        loaded.manifest.vpu = self.declared_vpu.overridden_by(over);
        loaded.chosen = Some(name.to_owned());
        Some(loaded)
    }

    /// Returns the only `[vpus.NAME]`, if `[vpu]` has no address and so is not a VPU of its own.
    pub(super) fn only_vpu(&self) -> Option<&str> {
        let mut names = self.manifest.vpus.keys();
        let only = names.next().filter(|_| names.next().is_none());
        only.filter(|_| self.declared_vpu.host.is_none())
            .map(String::as_str)
    }

    /// Checks that a VPU is selected.
    ///
    /// # Errors
    /// It declares several, none is selected, and `[vpu]` has no address.
    pub fn selection(&self) -> Result<(), NoVpuSelected> {
        let is_selected = self.chosen.is_some() || self.declared_vpu.host.is_some();
        if is_selected || self.manifest.vpus.is_empty() {
            return Ok(());
        }
        let beside = self.vpus_file.as_ref();
        let declares = |spans: &SpanMap| spans.contains("/vpus");
        let here = declares(&self.spans).then(|| self.source.name());
        let there = beside.filter(|file| declares(&file.spans));
        let files = here.into_iter().chain(there.map(|file| file.source.name()));
        Err(NoVpuSelected {
            files: files.collect::<Vec<_>>().join(" and "),
            known: self.manifest.vpus.keys().cloned().collect(),
        })
    }

    /// Returns the name of the document that has the table
    /// of a VPU; without a name, the table `[vpu]`.
    pub fn vpu_file(&self, name: Option<&str>) -> &str {
        let pointer = name.map_or("/vpu".to_owned(), |name| child("/vpus", name));
        self.locate(&pointer).0.name()
    }

    /// Returns all pointers that are written in the manifest or in `vpus.toml`.
    pub fn pointers(&self) -> impl Iterator<Item = &str> {
        let beside = self.vpus_file.iter().flat_map(|file| file.spans.pointers());
        self.spans
            .pointers()
            .chain(beside.filter(|pointer| *pointer != "/vpus"))
    }

    /// Returns the line of a key, from 1, or of the closest written table around it.
    pub fn line(&self, pointer: &str) -> Option<usize> {
        let (source, spans, pointer) = self.locate(pointer);
        let span = spans.key(&pointer);
        (span != (0..0)).then(|| source.line_and_column(span.start).0)
    }

    /// Returns the place of a key, e.g. `deploy.toml:12`.
    pub fn place(&self, pointer: &str) -> String {
        let name = self.locate(pointer).0.name();
        match self.line(pointer) {
            Some(line) => format!("{name}:{line}"),
            None => name.to_owned(),
        }
    }

    /// Returns the place of a key in the manifest itself, whichever VPU is chosen.
    pub fn source_place(&self, pointer: &str) -> String {
        let span = self.spans.key(pointer);
        let line = self.source.line_and_column(span.start).0;
        format!("{}:{line}", self.source.name())
    }

    /// Whether a key is written, for the chosen VPU or for all.
    pub(super) fn is_written(&self, pointer: &str) -> bool {
        let (_, spans, written) = self.locate(pointer);
        spans.contains(&written)
    }

    /// Creates an error at a key's value.
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

    /// Returns the document in which a key is written, and its pointer there: a key of `[vpu]` may
    /// be overridden for the chosen VPU, and a VPU may be in `vpus.toml`.
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

    /// Adds the VPUs of `vpus.toml`; a VPU that the manifest has as well is a finding.
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
                            "it is also declared at {earlier}; remove one of the two"
                        ));
                    findings.push(finding);
                }
            }
        }
        self.vpus_file = Some(file);
        findings
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use camino::{Utf8Path, Utf8PathBuf};

    use crate::manifest::{
        self, Loaded, Options,
        meaning::{FileKind, LocalFiles},
    };

    /// A folder that contains only a `vpus.toml`.
    struct Beside(&'static str);

    impl LocalFiles for Beside {
        fn kind(&self, _: &Utf8Path) -> io::Result<FileKind> {
            Err(io::ErrorKind::NotFound.into())
        }

        fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
            match self.0 {
                text if path == "vpus.toml" && !text.is_empty() => Ok(text.into()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn names(&self, _: &Utf8Path) -> Vec<String> {
            Vec::new()
        }

        fn home(&self) -> Option<Utf8PathBuf> {
            None
        }
    }

    fn loaded(manifest: &str, vpus: &'static str) -> Loaded {
        let text = format!("[release]\nname = \"app\"\n{manifest}");
        let options = Options::default();
        manifest::check("deploy.toml", text.as_bytes(), &options, &Beside(vpus)).unwrap()
    }

    const ONE: &str = "[vpus.one]\nhost = \"10.0.0.1\"\n";
    const TWO: &str = "[vpus.two]\nhost = \"10.0.0.2\"\n";

    #[test]
    fn several_vpus_require_a_selection() {
        let several = loaded(ONE, TWO);
        let error = several.selection().unwrap_err();
        assert_eq!(error.files, "deploy.toml and vpus.toml");
        assert_eq!(error.known, ["one", "two"]);
        assert_eq!(several.for_vpu("two").unwrap().selection(), Ok(()));
        let beside = loaded("", "[vpus.one]\n[vpus.two]\n");
        assert_eq!(beside.selection().unwrap_err().files, "vpus.toml");
        // Keys that all VPUs share select none; an address does.
        let common = loaded("[vpu]\nfirmware = \"1.4\"\n[vpus.a]\n[vpus.b]\n", "");
        assert!(common.selection().is_err());
        let own = loaded("[vpu]\nhost = \"10.0.0.3\"\n[vpus.a]\n[vpus.b]\n", "");
        assert_eq!((own.selection(), own.chosen), (Ok(()), None));
    }

    #[test]
    fn the_only_vpu_is_selected_if_no_other_has_an_address() {
        let only = loaded("", ONE);
        assert_eq!(only.selection(), Ok(()));
        assert_eq!(only.chosen.as_deref(), Some("one"));
        assert_eq!(only.manifest.vpu.host.unwrap().as_str(), "10.0.0.1");
        let own = loaded("[vpu]\nhost = \"10.0.0.3\"\n", ONE);
        assert_eq!((own.selection(), own.chosen), (Ok(()), None));
        assert_eq!(loaded("", "").selection(), Ok(()));
    }

    #[test]
    fn the_table_of_a_vpu_is_in_the_file_that_declares_it() {
        let both = loaded(ONE, TWO);
        assert_eq!(both.vpu_file(None), "deploy.toml");
        assert_eq!(both.vpu_file(Some("one")), "deploy.toml");
        assert_eq!(both.vpu_file(Some("two")), "vpus.toml");
        let two = both.for_vpu("two").unwrap();
        assert_eq!(two.vpu_file(two.chosen.as_deref()), "vpus.toml");
    }
}

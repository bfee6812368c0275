//! Reads every document in `tests/manifests` and compares all findings with the snapshot next to
//! it. `tests/run.sh bless-local` updates the snapshots.

use std::{env, fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use o3r_deploy::internal::manifest::{
    self, Diagnostics, Loaded, Options,
    meaning::{Disk, FileKind, LocalFiles},
    unsupported::unsupported,
};

const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests");

/// Local files relative to one directory, so that findings name them relative to it.
struct Below<'a>(&'a Utf8Path);

impl LocalFiles for Below<'_> {
    fn kind(&self, path: &Utf8Path) -> io::Result<FileKind> {
        Disk.kind(&self.0.join(path))
    }

    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        Disk.read(&self.0.join(path))
    }

    fn names(&self, directory: &Utf8Path) -> Vec<String> {
        Disk.names(&self.0.join(directory))
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        Some("/home/me".into())
    }
}

fn documents(directory: &str) -> Vec<Utf8PathBuf> {
    let directory = Utf8Path::new(DOCUMENTS).join(directory);
    let mut documents: Vec<Utf8PathBuf> = directory
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension() == Some("toml"))
        .collect();
    documents.sort();
    assert!(!documents.is_empty(), "{directory} has no documents");
    documents
}

fn check(path: &Utf8Path) -> Result<Loaded, Diagnostics> {
    let directory = path.parent().unwrap();
    let name = path.file_name().unwrap();
    manifest::check(
        name,
        &fs::read(path).unwrap(),
        &Options::default(),
        &Below(directory),
    )
}

/// Compares with the snapshot next to a document; an empty one means no file.
fn differs(document: &Utf8Path, rendered: &str) -> Option<String> {
    let snapshot = document.with_extension("stderr");
    if env::var_os("O3R_DEPLOY_UPDATE").is_some() {
        if rendered.is_empty() {
            let _ = fs::remove_file(&snapshot);
        } else {
            fs::write(&snapshot, rendered).unwrap();
        }
    }
    let expected = fs::read_to_string(&snapshot).unwrap_or_default();
    (expected != rendered)
        .then(|| format!("{snapshot} differs\n--- expected\n{expected}\n--- rendered\n{rendered}"))
}

fn report(differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{}\n{} snapshots differ; tests/run.sh bless-local updates them",
        differences.join("\n"),
        differences.len()
    );
}

#[test]
fn valid_documents_load() {
    let mut differences = Vec::new();
    for path in documents("valid") {
        let loaded = check(&path).unwrap_or_else(|findings| panic!("{path}\n{findings:#?}"));
        let warnings = Diagnostics::new(loaded.warnings.clone()).render_plain(100);
        differences.extend(differs(&path, &warnings));
        let json = serde_json::to_string(&loaded.manifest).unwrap();
        let again: manifest::Manifest = serde_json::from_str(&json).unwrap();
        assert_eq!(
            again, loaded.manifest,
            "{path}: what is written is what was read"
        );
    }
    report(&differences);
}

#[test]
fn every_defect_is_reported_in_its_place() {
    let mut differences = Vec::new();
    for kind in ["syntax", "schema", "words", "meaning"] {
        for path in documents(&format!("invalid/{kind}")) {
            let findings = check(&path).expect_err(path.as_str());
            assert!(findings.has_errors(), "{path}");
            for finding in findings.as_slice() {
                let is_labelled = !finding.labels.is_empty();
                assert!(is_labelled, "{path}: {finding} has no place");
                assert!(
                    finding.help.is_some() || kind == "syntax",
                    "{path}: {finding} has no help"
                );
                assert!(!finding.message.ends_with('.'), "{path}: {finding}");
            }
            differences.extend(differs(&path, &findings.render_plain(100)));
        }
    }
    report(&differences);
}

#[test]
fn unsupported_keys_are_refused_by_name() {
    let mut differences = Vec::new();
    for path in documents("unsupported") {
        let loaded = check(&path).unwrap_or_else(|findings| panic!("{path}\n{findings:#?}"));
        let findings = Diagnostics::new(unsupported(&loaded));
        assert!(findings.has_errors(), "{path}");
        differences.extend(differs(&path, &findings.render_plain(100)));
    }
    report(&differences);
}

#[test]
fn supported_keys_are_not_refused() {
    for name in [
        "minimal",
        "vpu",
        "compose",
        "compose_absent",
        "autostart",
        "image_sources",
        "odd_names",
    ] {
        let path = Utf8Path::new(DOCUMENTS).join(format!("valid/{name}.toml"));
        assert_eq!(unsupported(&check(&path).unwrap()), [], "{name}");
    }
}

#[test]
fn findings_have_a_format_for_programs() {
    let path = Utf8Path::new(DOCUMENTS).join("invalid/schema/unknown_key.toml");
    let findings = check(&path).unwrap_err();
    insta::assert_snapshot!(serde_json::to_string_pretty(&findings).unwrap(), @r#"
    [
      {
        "code": "unknown-key",
        "severity": "error",
        "message": "unknown key `serail` in [vpu]",
        "pointer": "/vpu/serail",
        "file": "unknown_key.toml",
        "line": 6,
        "column": 1,
        "help": "did you mean `serial`?"
      }
    ]
    "#);
}

fn vpus(case: &str) -> Utf8PathBuf {
    Utf8Path::new(DOCUMENTS).join(format!("vpus/{case}/deploy.toml"))
}

#[test]
fn vpus_may_be_in_either_file() {
    let loaded = check(&vpus("beside")).unwrap();
    let names: Vec<&String> = loaded.manifest.vpus.keys().collect();
    assert_eq!(names, ["agv-17", "agv-18"]);
    assert_eq!(unsupported(&loaded), []);
    let host = |loaded: &Loaded| loaded.manifest.vpu.host.as_ref().unwrap().to_string();
    let here = loaded.for_vpu("agv-17").unwrap();
    assert_eq!(
        (host(&here), here.place("/vpu/host")),
        ("10.1.4.17".into(), "deploy.toml:11".into())
    );
    let there = loaded.for_vpu("agv-18").unwrap();
    assert_eq!(
        (host(&there), there.place("/vpu/host")),
        ("10.1.4.18".into(), "vpus.toml:2".into())
    );
    assert_eq!(there.manifest.vpu.arch().as_str(), "amd64");
    assert_eq!(there.place("/vpu/firmware"), "deploy.toml:4");
    assert_eq!(
        there.manifest.vpu.firmware, loaded.manifest.vpu.firmware,
        "not overridden"
    );
    let identity = there.manifest.vpu.identity.as_ref().unwrap();
    assert_eq!(
        identity.as_str(),
        "keys/agv-18-1.4.0",
        "the version is the manifest's"
    );
    assert_eq!(
        there.for_vpu("agv-17").unwrap(),
        here,
        "whatever was chosen before"
    );
    assert!(loaded.for_vpu("agv-19").is_none());
}

#[test]
fn findings_in_vpus_point_into_their_file() {
    let mut differences = Vec::new();
    for case in ["twice", "typos", "wrong_version"] {
        let path = vpus(case);
        let findings = check(&path).expect_err(case);
        differences.extend(differs(&path, &findings.render_plain(100)));
    }
    report(&differences);
}

#[test]
fn the_command_line_chooses_version_and_vpu() {
    let path = vpus("beside");
    let bytes = fs::read(&path).unwrap();
    let mut options = Options::default();
    options.release_version = Some("2.0.0-rc.1".parse().unwrap());
    options.vpu = Some("agv-18".into());
    let files = Below(path.parent().unwrap());
    let loaded = manifest::check("deploy.toml", &bytes, &options, &files).unwrap();
    assert_eq!(loaded.chosen.as_deref(), Some("agv-18"));
    let identity = loaded.manifest.vpu.identity.as_ref().unwrap();
    assert_eq!(identity.as_str(), "keys/agv-18-2.0.0-rc.1");

    let mut unknown = Options::default();
    unknown.vpu = Some("agv-19".into());
    let error = manifest::load_with(&path, &unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no VPU `agv-19` in {path} or vpus.toml")
    );
    assert_eq!(
        error.help().unwrap(),
        "did you mean --vpu agv-18? there are: agv-17, agv-18"
    );
}

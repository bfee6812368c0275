//! Feeds the manifest reader input that no editor writes: it must return findings, never panic.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use o3r_deploy::internal::manifest::{
    self, Diagnostics, FindingCode, Options,
    meaning::{Disk, FileKind, LocalFiles},
    unsupported::unsupported,
};
use proptest::prelude::*;

const VPUS: &str = include_str!("../manifests/vpus/beside/vpus.toml");

/// A folder with a manifest and these bytes as its vpus.toml.
struct Beside(Vec<u8>);

impl LocalFiles for Beside {
    fn kind(&self, path: &Utf8Path) -> io::Result<FileKind> {
        Disk.kind(path)
    }

    fn read(&self, path: &Utf8Path) -> io::Result<Vec<u8>> {
        assert_eq!(path, "vpus.toml");
        Ok(self.0.clone())
    }

    fn names(&self, _: &Utf8Path) -> Vec<String> {
        Vec::new()
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        None
    }
}

/// Reads, checks and renders a document as the commands do.
fn read(bytes: &[u8]) -> Result<String, Diagnostics> {
    let loaded = manifest::check("deploy.toml", bytes, &Options::default(), &Disk);
    let rendered = match &loaded {
        Ok(loaded) => {
            let mut findings = loaded.warnings.clone();
            findings.extend(unsupported(loaded));
            Diagnostics::new(findings).render_plain(100)
        }
        Err(findings) => {
            assert!(findings.has_errors());
            serde_json::to_string(findings).unwrap();
            findings.render_plain(100)
        }
    };
    let is_harmless = |c: char| c == '\n' || c == '\t' || !c.is_control();
    assert!(
        rendered.chars().all(is_harmless),
        "{rendered:?} would move the cursor"
    );
    loaded.map(|_| rendered)
}

fn rendered(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().render_plain(100)
}

#[test]
fn nul_bytes() {
    insta::assert_snapshot!(rendered(b"[release]\nname = \"a\0b\"\n"), @r#"
    control-character

      × the file contains the control character U+0000
       ╭─[deploy.toml:2:10]
     1 │ [release]
     2 │ name = "a?b"
       ·          ┬
       ·          ╰── here
       ╰────
      help: remove it, or write it as an escape in a string in double quotes
    "#);
}

#[test]
fn escape_sequences() {
    insta::assert_snapshot!(rendered(b"[release]\nname = \"a\" # \x1b[2J\n"), @r#"
    control-character

      × the file contains the control character U+001B
       ╭─[deploy.toml:2:14]
     1 │ [release]
     2 │ name = "a" # ?[2J
       ·              ┬
       ·              ╰── here
       ╰────
      help: remove it, or write it as an escape in a string in double quotes
    "#);
}

#[test]
fn invalid_utf8() {
    insta::assert_snapshot!(rendered(b"[release]\nname = \"caf\xe9\"\n"), @r#"
    encoding

      × the file is not UTF-8
       ╭─[deploy.toml:2:12]
     1 │ [release]
     2 │ name = "caf�"
       ·            ┬
       ·            ╰── byte 0xe9
       ╰────
      help: save the file as UTF-8
    "#);
}

#[test]
fn utf16() {
    let text: Vec<u8> = "\u{feff}[release]\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    insta::assert_snapshot!(rendered(&text), @r#"
    encoding

      × the file is not UTF-8
       ╭─[deploy.toml:1:1]
     1 │ ��[?r?e?l?e?a?s?e?]?
       · ┬
       · ╰── byte 0xff
     2 │ ?
       ╰────
      help: save the file as UTF-8
    "#);
}

#[test]
fn text_that_runs_backwards() {
    insta::assert_snapshot!(rendered("[release]\nname = \"a\u{202e}b\"\n".as_bytes()), @r#"
    wrong-value

      × `a\u{202e}b` is not a release name: it is not valid in a docker image name
       ╭─[deploy.toml:2:8]
     1 │ [release]
     2 │ name = "a�b"
       ·        ──┬──
       ·          ╰── here
       ╰────
      help: use lower-case letters and digits, with `.`, `_` or `-` between them
    "#);
}

#[test]
fn a_lone_carriage_return() {
    insta::assert_snapshot!(rendered(b"[release]\rname = \"a\"\n"), @r#"
    syntax

      × carriage return must be followed by newline
       ╭─[deploy.toml:1:11]
     1 │ [release]?name = "a"
       ·           ▲
       ·           ╰── here
       ╰────
      help: expected newline
    "#);
}

#[test]
fn an_archive_given_as_the_manifest() {
    insta::assert_snapshot!(rendered(&vec![b'a'; 2 << 20]), @r#"
    too-large

      × the file has 2097152 bytes, far more than a manifest
      help: name the right file with `-f FILE`
    "#);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_accepted() {
    assert_eq!(
        read("\u{feff}[release]\r\nname = \"a\"\r\n".as_bytes()).unwrap(),
        ""
    );
}

#[test]
fn deep_nesting_and_huge_documents() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}{}", "[".repeat(70), "]".repeat(70)),
        "a = { b = ".repeat(100_000),
        format!("{}b = 1", "a.".repeat(100_000)),
        format!("[{}b]", "a.".repeat(79)),
        format!("a = {}", "9".repeat(100_000)),
        format!("a = {}", "9".repeat(8000)),
        format!("a = 0x{}", "f".repeat(8000)),
        format!("{}a = ü", "\t".repeat(8000)),
        format!("a = '{}'", "日".repeat(2600)),
        format!("{}b = 1", "a.".repeat(4000)),
        format!("a = {}", "[".repeat(8000)),
        format!("a = 1e{}", "9".repeat(1000)),
        format!("{} = 1", "a".repeat(100_000)),
        format!("a = \"{}\"", "ü".repeat(100_000)),
        "[[images]]\n".repeat(20_000),
        "x = 1\n".repeat(20_000),
        (0..20_000).fold(String::new(), |text, n| {
            text + "k" + &n.to_string() + " = 1\n"
        }),
        "a = [\n".repeat(20_000),
        "\"\"\"".repeat(1000),
        "'''\n".repeat(1000),
        "# \u{200b}\u{301}\u{1f469}\u{200d}\u{1f680}\nx = '\u{301}'\n".to_owned(),
    ] {
        assert!(read(text.as_bytes()).is_err());
    }
}

#[test]
fn a_missing_file_says_what_to_type() {
    let error = manifest::load(Utf8Path::new("nowhere/deploy.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read nowhere/deploy.toml");
    assert!(error.help().unwrap().contains("-f FILE"));
}

/// A manifest that uses every key, to be damaged.
const EXAMPLE: &str = include_str!("../../o3r-deploy.toml.example");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(o3r_testing::cases(256)))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn arbitrary_toml_words(words in proptest::collection::vec(
        prop_oneof![
            Just("[vpu]\n"), Just("[[images]]\n"), Just("name"), Just(" = "), Just("\"a\""),
            Just("\n"), Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just("1"),
            Just("release"), Just("."), Just("nan"), Just("1979-05-27"), Just("'''"), Just("#"),
            Just("compose"), Just("\"${release.version}\""), Just("\r\n"), Just("é"), Just("\u{feff}"),
        ],
        0..60,
    )) {
        let _ = read(words.concat().as_bytes());
    }

    #[test]
    fn a_damaged_manifest(
        at in 0..EXAMPLE.len(),
        removed in 0_usize..40,
        inserted in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        let end = (at + removed).min(EXAMPLE.len());
        let bytes = [&EXAMPLE.as_bytes()[..at], &inserted, &EXAMPLE.as_bytes()[end..]].concat();
        let _ = read(&bytes);
    }

    #[test]
    fn a_damaged_list_of_vpus(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        chosen in proptest::option::of("agv-1[78]|\\PC{0,5}"),
    ) {
        let mut bytes = VPUS.as_bytes().to_vec();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(cut.index(bytes.len() * 4).max(bytes.len() / 2));
        let mut options = Options::default();
        options.vpu.clone_from(&chosen);
        match manifest::check("deploy.toml", b"[release]\nname = 'a'\n", &options, &Beside(bytes)) {
            Ok(loaded) => {
                let vpus = &loaded.manifest.vpus;
                let is_known = match &chosen {
                    Some(name) => vpus.contains_key(name),
                    None => vpus.len() == 1,
                };
                prop_assert_eq!(loaded.chosen.is_some(), is_known);
            }
            Err(findings) => {
                let rendered = findings.render_plain(100);
                prop_assert!(rendered.contains("vpus.toml"), "{}", rendered);
                prop_assert!(rendered.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            }
        }
    }

    #[test]
    fn a_manifest_with_lines_in_another_order(lines in Just(EXAMPLE.lines().collect::<Vec<_>>()).prop_shuffle()) {
        let _ = read(lines.join("\n").as_bytes());
    }

    #[test]
    fn arbitrary_compose_files(bytes in "[a-z:{}\\[\\]&*\"'\\-\n <$|>!#0-9]{0,200}") {
        let _ = o3r_deploy::internal::compose::ComposeFile::parse(&bytes);
    }
}

#[test]
fn faults_of_the_bytes_have_codes() {
    let code = |bytes: &[u8]| {
        let findings = manifest::parse("deploy.toml", bytes).unwrap_err();
        findings.as_slice()[0].code
    };
    assert_eq!(code(b"a = \"\xff\""), FindingCode::Encoding);
    assert_eq!(code(b"a = \"\x07\""), FindingCode::ControlCharacter);
    assert_eq!(code(&vec![b'#'; 2 << 20]), FindingCode::TooLarge);
}

//! Builds tiny images with nothing but busybox, in every format of images.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use o3r_deploy::internal::digest::Digest;
use serde_json::json;

use super::site::architecture;

/// The format of an image archive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Layout {
    /// `docker save` up to 24: `manifest.json` and a directory for each layer.
    Docker,
    /// `docker save` from 25: `manifest.json` and `index.json` over `blobs/`.
    Docker25,
    /// An OCI archive: `index.json` over `blobs/`.
    Oci,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An image with busybox, and its version in `/version`.
#[derive(Debug, Clone)]
pub(crate) struct TinyImage {
    name: String,
    version: String,
    fillers: Vec<usize>,
    /// Whether the layers of a given size compress.
    text: bool,
    /// The number of files, the bytes of each, and which of them is changed.
    files: Option<(usize, usize, Option<usize>)>,
    bare: bool,
    architecture: &'static str,
}

impl TinyImage {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            fillers: vec![],
            text: false,
            files: None,
            bare: false,
            architecture: architecture(),
        }
    }

    /// Adds another layer of `bytes` bytes that do not compress.
    pub(crate) fn filled(mut self, bytes: usize) -> Self {
        self.fillers.push(bytes);
        self
    }

    /// Makes the layers of a given size text, which compresses to little more than a half.
    pub(crate) fn of_text(mut self) -> Self {
        self.text = true;
        self
    }

    /// Adds a layer of files of one size, of which one is changed.
    pub(crate) fn with_files(mut self, count: usize, bytes: usize, changed: Option<usize>) -> Self {
        self.files = Some((count, bytes, changed));
        self
    }

    /// Leaves the shell out: nothing in the image can be run.
    pub(crate) fn without_shell(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Declares it for another processor than this machine's.
    pub(crate) fn for_architecture(mut self, architecture: &'static str) -> Self {
        self.architecture = architecture;
        self
    }

    fn layers(&self) -> Vec<Vec<u8>> {
        let mut layers = vec![file_layer("version", self.version.as_bytes())];
        if !self.bare {
            layers.insert(0, busybox_layer());
        }
        if let Some((count, bytes, changed)) = self.files {
            let all = noise(count * bytes);
            let mut archive = tar::Builder::new(vec![]);
            for (number, content) in all.chunks(bytes).enumerate() {
                let mut content = content.to_vec();
                if changed == Some(number) {
                    content.reverse();
                }
                let path = format!("files/it's {number}");
                append(&mut archive, &path, &content, 0o644);
            }
            layers.insert(layers.len() - 1, archive.into_inner().unwrap());
        }
        for (number, bytes) in self.fillers.iter().enumerate() {
            let content = if self.text {
                let digits = noise(*bytes / 2);
                let digits = digits.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                digits.map(|digit| b'a' + digit).collect()
            } else {
                noise(*bytes)
            };
            layers.push(file_layer(&format!("filler{number}"), &content));
        }
        layers
    }

    /// Writes an archive of the image.
    pub(crate) fn write(&self, path: &Path, layout: Layout, packing: Packing) {
        let layers = self.layers();
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| Digest::of(layer).to_string())
            .collect();
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": diff_ids.iter().map(|_| json!({ "created_by": "test" })).collect::<Vec<_>>(),
        });
        let config = serde_json::to_vec(&config).unwrap();
        let files = match layout {
            Layout::Docker => self.docker(&config, &layers),
            Layout::Docker25 => {
                let mut files = self.oci(&config, &layers, true);
                let names: Vec<String> = layers.iter().map(|layer| blob(layer)).collect();
                files.push((
                    "manifest.json".into(),
                    self.docker_manifest(&blob(&config), &names),
                ));
                files
            }
            Layout::Oci => self.oci(&config, &layers, false),
        };
        let mut archive = tar::Builder::new(vec![]);
        for (name, bytes) in files {
            append(&mut archive, &name, &bytes, 0o644);
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, pack(&archive.into_inner().unwrap(), packing)).unwrap();
    }

    fn docker(&self, config: &[u8], layers: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![];
        let mut names = vec![];
        for (number, layer) in layers.iter().enumerate() {
            // Any name is valid: docker's own are hashes of the layer's history.
            let id = Digest::of(format!("{number} {}", Digest::of(layer))).hex();
            files.push((format!("{id}/VERSION"), b"1.0".to_vec()));
            files.push((
                format!("{id}/json"),
                format!("{{\"id\":\"{id}\"}}").into_bytes(),
            ));
            files.push((format!("{id}/layer.tar"), layer.clone()));
            names.push(format!("{id}/layer.tar"));
        }
        let config_name = format!("{}.json", Digest::of(config).hex());
        files.push((config_name.clone(), config.to_vec()));
        files.push((
            "manifest.json".into(),
            self.docker_manifest(&config_name, &names),
        ));
        files
    }

    fn docker_manifest(&self, config: &str, layers: &[String]) -> Vec<u8> {
        let manifest = json!([{ "Config": config, "RepoTags": [self.name], "Layers": layers }]);
        serde_json::to_vec(&manifest).unwrap()
    }

    fn oci(&self, config: &[u8], layers: &[Vec<u8>], docker: bool) -> Vec<(String, Vec<u8>)> {
        let kind = |oci: &str, other: &str| {
            if docker {
                other.to_owned()
            } else {
                oci.to_owned()
            }
        };
        // The layers of an OCI archive are usually
        // compressed; `docker save` writes them uncompressed.
        let layers: Vec<Vec<u8>> = layers
            .iter()
            .map(|layer| {
                if docker {
                    layer.clone()
                } else {
                    pack(layer, Packing::Gzip)
                }
            })
            .collect();
        let layer_type = kind(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar",
        );
        let describe = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("application/vnd.oci.image.config.v1+json", config),
            "layers": layers.iter().map(|layer| describe(&layer_type, layer)).collect::<Vec<_>>(),
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut entry = describe("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        let mut files = vec![
            (
                "oci-layout".to_owned(),
                br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
            ),
            ("index.json".to_owned(), serde_json::to_vec(&index).unwrap()),
        ];
        for bytes in layers.into_iter().chain([config.to_vec(), manifest]) {
            files.push((blob(&bytes), bytes));
        }
        files
    }
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

/// Writes a bare file system with busybox, and `version` in `/version`.
pub(crate) fn rootfs(path: &Path, version: &str) {
    let mut archive = tar::Builder::new(vec![]);
    add_busybox(&mut archive);
    append(&mut archive, "version", version.as_bytes(), 0o644);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, archive.into_inner().unwrap()).unwrap();
}

fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

type Archive = tar::Builder<Vec<u8>>;

fn append(archive: &mut Archive, name: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(1);
    archive.append_data(&mut header, name, bytes).unwrap();
}

fn file_layer(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(vec![]);
    append(&mut archive, name, bytes, 0o644);
    archive.into_inner().unwrap()
}

fn busybox_layer() -> Vec<u8> {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let mut archive = tar::Builder::new(vec![]);
        add_busybox(&mut archive);
        archive.into_inner().unwrap()
    };
    LAYER.get_or_init(make).clone()
}

fn add_busybox(archive: &mut Archive) {
    let busybox = busybox();
    append(archive, "bin/busybox", &fs::read(&busybox).unwrap(), 0o755);
    let list = Command::new(&busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .filter(|name| *name != "busybox")
    {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        header.set_mtime(1);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .unwrap();
    }
}

/// Returns the path of a statically linked busybox.
fn busybox() -> PathBuf {
    let found = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file());
    let path = found.expect("no busybox here; install it: apt-get install busybox-static");
    let bytes = fs::read(&path).unwrap();
    let loader = b"/ld-linux";
    let dynamic = bytes.windows(loader.len()).any(|window| window == loader);
    assert!(
        !dynamic,
        "{} needs libraries; apt-get install busybox-static",
        path.display()
    );
    path
}

/// Returns bytes that do not compress, the same every time (xorshift).
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

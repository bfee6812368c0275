//! Builds archives as various tools write them, and reads the sent ones as docker does.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use camino::Utf8PathBuf;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{
    Image, ImageError, ImageSender, LayerSelection, Platform, ScratchDir, Source,
};
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// Returns bytes that do not compress.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The low bits of such a generator repeat.
        state.to_be_bytes()
    };
    let mut bytes = Vec::with_capacity(len + 4);
    while bytes.len() < len {
        bytes.extend_from_slice(&next()[..4]);
    }
    bytes.truncate(len);
    bytes
}

/// Returns text that compresses to about a tenth.
#[must_use]
pub fn prose(len: usize) -> String {
    let mut text = String::with_capacity(len + 100);
    for chunk in noise(7, len / 10).chunks(50) {
        text.extend(chunk.iter().map(|byte| char::from(b'a' + byte % 16)));
        text.extend(std::iter::repeat_n("the rest ", 50));
    }
    text.truncate(len);
    text
}

/// A tar that is being built.
#[derive(Debug, Default, Clone)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.member(EntryType::Regular, name, "", bytes.as_ref())
    }

    /// Adds a link of this kind.
    #[must_use]
    pub fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.member(kind, name, target, b"")
    }

    /// Adds a member with any name; the tar crate would refuse some.
    #[must_use]
    pub fn member(mut self, kind: EntryType, name: &str, target: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds bytes unchanged.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Returns the bytes of the finished tar.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Returns a layer with one file.
pub fn layer(name: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
    Tar::default().file(name, content).end()
}

/// Returns the layers of the usual test image: the last equals the first.
pub fn layers() -> Vec<Vec<u8>> {
    vec![
        layer("a", "base"),
        layer("b", "app ".repeat(1000)),
        layer("a", "base"),
    ]
}

/// Returns the configuration of an image with these layers.
pub fn config(arch: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(Digest::of).collect();
    json!({
        "architecture": arch, "os": "linux",
        "config": { "Cmd": ["/a"], "Env": ["SECRET=1"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes()
}

/// Returns an archive in the layout of docker before 25:
/// duplicate layers are symlinks, the manifest comes late.
pub fn docker_old(arch: &str, tag: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config(arch, layers);
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut tar = Tar::default();
    let mut first = BTreeMap::new();
    let mut names = Vec::new();
    for (number, bytes) in layers.iter().enumerate() {
        let id = Digest::of(format!("v1 id {number}")).hex();
        let name = format!("{id}/layer.tar");
        tar = tar.file(&format!("{id}/VERSION"), "1.0");
        let digest = Digest::of(bytes);
        tar = match first.get(&digest) {
            Some(other) => tar.link(EntryType::Symlink, &name, &format!("../{other}")),
            None => tar.file(&name, bytes),
        };
        first.entry(digest).or_insert(name.clone());
        names.push(name);
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": names }]);
    tar.file(&config_name, config)
        .file("manifest.json", manifest.to_string())
        .file("repositories", "{}")
        .end()
}

/// How the layers of an OCI archive are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// Not compressed.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    /// Compresses bytes.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(bytes).unwrap();
                gzip.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        }
    }

    /// Decompresses bytes.
    pub fn unpack(self, bytes: &[u8]) -> Vec<u8> {
        let mut unpacked = vec![];
        match self {
            Self::Plain => unpacked.extend_from_slice(bytes),
            Self::Gzip => {
                let mut gzip = flate2::read::MultiGzDecoder::new(bytes);
                gzip.read_to_end(&mut unpacked).unwrap();
            }
            Self::Zstd => unpacked = zstd::decode_all(bytes).unwrap(),
        }
        unpacked
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }
}

/// The blobs of an OCI layout that is being built.
#[derive(Debug, Default)]
pub struct Blobs(BTreeMap<Digest, Vec<u8>>);

impl Blobs {
    /// Adds a blob and returns its descriptor.
    pub fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Value {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        self.0.insert(digest, bytes);
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// Adds an image and returns the descriptor of its manifest.
    pub fn image(&mut self, arch: &str, layers: &[Vec<u8>], packing: Packing) -> Value {
        let config = self.add(
            "application/vnd.oci.image.config.v1+json",
            config(arch, layers),
        );
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{}", packing.suffix());
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.add(&media_type, packing.pack(layer)))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut descriptor = self.add(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string(),
        );
        descriptor["platform"] = json!({ "os": "linux", "architecture": arch });
        descriptor
    }

    /// Adds the attestation that buildx puts next to an image, and returns its descriptor.
    pub fn attestation(&mut self) -> Value {
        let layer = self.add("application/vnd.in-toto+json", "{}");
        let config = self.add("application/vnd.oci.image.config.v1+json", "{}");
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let mut descriptor = self.add(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string(),
        );
        descriptor["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        descriptor["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
        descriptor
    }

    /// Adds an index of these manifests and returns its descriptor.
    pub fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        self.add("application/vnd.oci.image.index.v1+json", index.to_string())
    }

    /// Packs the layout with `manifests` in `index.json`, without the blob `except`.
    pub fn pack(self, manifests: &[Value], except: Option<Digest>) -> Tar {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        let tar = Tar::default()
            .file("./oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .file("./index.json", index.to_string());
        self.0
            .into_iter()
            .filter(|(digest, _)| Some(*digest) != except)
            .fold(tar, |tar, (digest, bytes)| {
                tar.file(&format!("./blobs/sha256/{}", digest.hex()), bytes)
            })
    }
}

/// Adds a name to a descriptor, as skopeo writes it.
pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

/// Returns an OCI archive of one image.
pub fn oci(arch: &str, layers: &[Vec<u8>], packing: Packing) -> Vec<u8> {
    let mut blobs = Blobs::default();
    let image = blobs.image(arch, layers, packing);
    blobs.pack(&[named(image, "app:1")], None).end()
}

/// Returns an archive in the layout of docker 25 and later: docker's manifest names OCI blobs.
pub fn docker_25(arch: &str, tag: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let mut blobs = Blobs::default();
    let image = blobs.image(arch, layers, Packing::Plain);
    let attestation = blobs.attestation();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let manifest = json!([{
        "Config": blob(&config(arch, layers)),
        "RepoTags": [tag],
        "Layers": layers.iter().map(|layer| blob(layer)).collect::<Vec<_>>(),
    }]);
    blobs
        .pack(&[named(image, "1"), attestation], None)
        .file("manifest.json", manifest.to_string())
        .end()
}

/// A file in a directory that is removed when this is dropped.
#[derive(Debug)]
pub struct Input {
    /// The file.
    pub path: Utf8PathBuf,
    dir: tempfile::TempDir,
}

impl Input {
    /// Writes a file of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("image.tar")).unwrap();
        fs_err::write(&path, bytes).unwrap();
        Self { path, dir }
    }

    /// Returns the directory that it may be unpacked in.
    pub fn scratch(&self) -> ScratchDir {
        ScratchDir::new(Utf8PathBuf::from_path_buf(self.dir.path().join("scratch")).unwrap())
    }

    /// Opens the file as the image of this name.
    ///
    /// # Errors
    /// It is not an archive of that image.
    pub fn open_as(&self, name: &str, arch: &str) -> Result<ImageSender, ImageError> {
        let source = Source::Archive(self.path.clone());
        let image = Image::open(&source, name, &Platform::linux(arch), &self.scratch());
        image.map(ImageSender::new)
    }

    /// Returns the error's text without the path of the test's directory.
    pub fn error(&self, error: &ImageError) -> String {
        let help = error
            .help()
            .map(|help| format!("\nhelp: {help}"))
            .unwrap_or_default();
        format!("{error}{help}").replace(self.dir.path().to_str().unwrap(), "DIR")
    }
}

/// Opens bytes as an image archive for arm64.
///
/// # Errors
/// They are not an archive of the image.
pub fn open(bytes: &[u8]) -> Result<ImageSender, ImageError> {
    Input::new(bytes).open_as("app:1", "arm64")
}

/// Returns the archive as it would be sent.
pub fn sent(image: &ImageSender, include: &LayerSelection) -> Vec<u8> {
    let mut out = Vec::new();
    image
        .write_archive("app:staged", include, &mut out)
        .unwrap();
    assert_eq!(out.len() as u64, image.archive_len("app:staged", include));
    out
}

/// The contents of an archive as docker reads them.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its names.
    pub tags: Vec<String>,
    /// Its configuration.
    pub config: Vec<u8>,
    /// The digest of each unpacked layer; `None` if the archive leaves it out.
    pub layers: Vec<Option<Digest>>,
    /// Names in the order of the archive.
    pub members: Vec<String>,
}

/// Reads an archive as `docker load` of 20.10 does: it accepts gzip layers, but not zstd ones.
pub fn load(archive: &[u8]) -> Loaded {
    let mut members = Vec::new();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        members.push(name.clone());
        assert!(files.insert(name, bytes).is_none(), "a member twice");
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let unpack = |bytes: &Vec<u8>| {
        if bytes.starts_with(b"\x1f\x8b") {
            Digest::of_reader(flate2::read::MultiGzDecoder::new(bytes.as_slice()))
                .unwrap()
                .0
        } else {
            Digest::of(bytes)
        }
    };
    Loaded {
        tags: texts(&manifest[0]["RepoTags"]),
        config: files[manifest[0]["Config"].as_str().unwrap()].clone(),
        layers: texts(&manifest[0]["Layers"])
            .iter()
            .map(|name| files.get(name).map(unpack))
            .collect(),
        members,
    }
}

//! Tests against a docker program that is a script.

use camino::Utf8PathBuf;
use insta::assert_snapshot;

use super::*;
use crate::{
    Image, ImageSender, LayerCache, LayerSelection, Work, image::IdentityCache, layer::LayerBytes,
};
use o3r_core::compression::Compression;

const LAYER: [u8; 1024] = [0; 1024];

/// A docker program that answers from files and records its arguments.
struct Docker {
    dir: tempfile::TempDir,
}

impl Docker {
    /// `info` is the output of `docker info`; `id` and `arch` are values of `docker image inspect`.
    fn new(info: &str, id: &str, arch: &str) -> Self {
        let docker = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        docker.write("info", info);
        docker.write(
            "inspect",
            &format!(
                r#"{{"id":"{id}","tags":["app:dev"],"layers":["{}"],"os":"linux","architecture":"{arch}","size":4000,"variant":""}}"#,
                Digest::of(LAYER)
            ),
        );
        fs_err::write(docker.dir.path().join("save"), saved(arch)).unwrap();
        docker.script(
            r#"case $1 in
            image) cat "$d/inspect";;
            info) cat "$d/info";;
            save) cat "$d/save";;
            esac"#,
        );
        docker
    }

    fn failing(words: &str) -> Self {
        let docker = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        docker.script(&format!("echo '{words}' >&2; exit 1"));
        docker
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.dir.path().join(name), text).unwrap();
    }

    fn script(&self, body: &str) {
        let dir = self.dir.path().display();
        self.write(
            "docker",
            &format!("d={dir}\necho \"$1\" >>\"$d/asked\"\n{body}\n"),
        );
    }

    fn open(&self, arch: &str) -> Result<Image, ImageError> {
        self.open_remembered(arch, None)
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.dir.path().join(name)).unwrap()
    }

    /// A sender of the image that uses this cache.
    fn sender(&self, cache: &LayerCache) -> ImageSender {
        ImageSender::new(self.open("arm64").unwrap()).with_cache(cache)
    }

    fn open_remembered(&self, arch: &str, cache: Option<&LayerCache>) -> Result<Image, ImageError> {
        let path = |name| self.path(name);
        // Through sh: running a file that was just written may fail while another thread forks.
        let leading = vec![path("docker").into_string()];
        let engine = Engine {
            program: "sh".to_owned(),
            leading,
        };
        let scratch = ScratchDir::new(path("scratch"));
        Image::open_engine(engine, "app:dev", &Platform::linux(arch), &scratch, cache)
    }

    fn asked(&self) -> String {
        fs_err::read_to_string(self.dir.path().join("asked"))
            .unwrap()
            .replace('\n', " ")
    }
}

fn config(arch: &str) -> Vec<u8> {
    let layer = Digest::of(LAYER);
    format!(r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"diff_ids":["{layer}"]}}}}"#)
        .into_bytes()
}

fn saved(arch: &str) -> Vec<u8> {
    saved_with(arch, &LAYER)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, bytes).unwrap();
    gzip.finish().unwrap()
}

fn saved_with(arch: &str, layer: &[u8]) -> Vec<u8> {
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
    let mut tar = tar::Builder::new(Vec::new());
    let config = config(arch);
    for (name, bytes) in [
        ("c.json", config.as_slice()),
        ("l.tar", layer),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

const CLASSIC: &str = r#"[["Backing Filesystem","extfs"]]"#;
const CONTAINERD: &str = r#"[["driver-type","io.containerd.snapshotter.v1"]]"#;

#[test]
fn a_classic_store_is_only_inspected_until_bytes_are_needed() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let image = docker.open("arm64").unwrap();
    assert_eq!(image.config_digest(), Digest::of(config("arm64")));
    assert_eq!(image.repo_tags(), ["app:dev"]);
    assert_eq!(image.diff_ids(), [Digest::of(LAYER)]);
    let image = ImageSender::new(image);
    assert_eq!(image.layers()[0].size, None);
    assert!(!image.image().is_prepared());
    assert_eq!(image.archive_len("a", &LayerSelection::All), 4000);
    assert_eq!(docker.asked(), "image info ");

    let mut out = Vec::new();
    image
        .write_archive("a", &LayerSelection::All, &mut out)
        .unwrap();
    image.image().prepare().unwrap();
    assert_eq!(
        image.archive_len("a", &LayerSelection::All),
        out.len() as u64
    );
    assert_eq!(image.layers()[0].size, Some(1024));
    assert_eq!(docker.asked(), "image info save ", "saved once");
}

#[test]
fn an_image_whose_layers_are_cached_is_not_saved() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let cache =
        LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
    let wanted = [Digest::of(LAYER)].into();
    let prepared = |mut image: ImageSender| {
        image
            .prepare_layers(&wanted, Some(Compression::GZIP_FAST), &|_| {})
            .unwrap();
        let all = LayerSelection::All;
        let mut out = Vec::new();
        image.write_archive("a", &all, &mut out).unwrap();
        assert_eq!(image.archive_len("a", &all), out.len() as u64);
        out
    };
    let first = prepared(docker.sender(&cache));
    assert_eq!(prepared(docker.sender(&cache)), first);
    assert_eq!(docker.asked(), "image info save image info ", "saved once");
}

#[test]
fn saving_an_image_reports_progress() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let cache =
        LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
    let told = std::cell::RefCell::new(vec![]);
    let mut image = docker.sender(&cache);
    image
        .fetch_layers(&[Digest::of(LAYER)].into(), &|prepared| {
            told.borrow_mut().push(prepared);
        })
        .unwrap();
    let told = told.into_inner();
    let last = told.last().unwrap();
    assert_eq!((last.work, last.total), (Work::Fetching, 4000));
    assert!(
        told.iter()
            .all(|one| one.done <= saved("arm64").len() as u64)
    );
}

#[test]
fn an_image_saved_for_a_fast_link_is_reused_for_a_slow_one() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let cache =
        LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
    let sent = |packing| {
        let mut image = docker.sender(&cache);
        image
            .prepare_layers(&[Digest::of(LAYER)].into(), packing, &|_| {})
            .unwrap();
        let mut out = Vec::new();
        image
            .write_archive("a", &LayerSelection::All, &mut out)
            .unwrap();
        cache.finish();
        out.len()
    };
    let plain = sent(None);
    assert_eq!(sent(None), plain);
    assert!(sent(Some(Compression::GZIP_SMALL)) < plain);
    assert_eq!(
        docker.asked(),
        "image info save image info image info ",
        "saved once"
    );
}

/// An apply that was declined, or whose connection broke before a layer was sent completely.
#[test]
fn a_saved_layer_that_was_not_sent_is_cached() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let cache =
        LayerCache::new(Utf8PathBuf::from_path_buf(docker.dir.path().join("cache")).unwrap());
    let wanted = [Digest::of(LAYER)].into();
    let mut image = docker.sender(&cache);
    image.fetch_layers(&wanted, &|_| {}).unwrap();
    let layer = image.image().contents().unwrap().layers[0].clone();
    cache.copy_unless_sent(&layer, "the engine");
    drop(image);
    cache.finish();
    let compression = Some(Compression::GZIP_FAST);
    let mut image = docker.sender(&cache);
    image.prepare_layers(&wanted, compression, &|_| {}).unwrap();
    assert_eq!(docker.asked(), "image info save image info ", "saved once");

    // A layer that sending has cached is not copied as well.
    let files = || docker.path("cache/layers").read_dir_utf8().unwrap().count();
    let before = files();
    cache.copy_unless_sent(&layer, "the engine");
    cache.finish();
    assert_eq!(files(), before);
}

/// Once some layers are prepared, the others share the rest of the size that docker reports.
#[test]
fn known_layers_improve_the_estimate() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).to_string(), "arm64");
    let saved = docker.open("arm64").unwrap();
    let layer = saved.contents().unwrap().layers[0].clone();
    let mut image = docker.open("arm64").unwrap();
    let other = Digest::of("another layer");
    image.identity.diff_ids = vec![layer.diff_id, other];
    image.identity.estimate = 1000;
    let mut image = ImageSender::new(image);
    let len = |image: &ImageSender, layers: &[Digest]| {
        let only = LayerSelection::Only(layers.iter().copied().collect());
        image.archive_len("a", &only)
    };
    assert_eq!(len(&image, &[layer.diff_id]), 500);
    let packed = LayerBytes {
        size: 100,
        unpacked: Some(700),
        ..layer
    };
    let packed_id = packed.diff_id;
    image.layers.insert(packed_id, packed);
    assert_eq!(len(&image, &[packed_id]), 100);
    assert_eq!(len(&image, &[other]), 300);
    assert_eq!(image.archive_len("a", &LayerSelection::All), 400);
}

#[test]
fn an_image_in_a_containerd_store_is_saved_to_identify_it() {
    let id = Digest::of("an index").to_string();
    for info in [CONTAINERD, "", "null"] {
        let docker = Docker::new(info, &id, "arm64");
        let image = docker.open("arm64").unwrap();
        assert_eq!(image.config_digest(), Digest::of(config("arm64")), "{info}");
        assert!(image.is_prepared());
    }
}

#[test]
fn a_podman_id_without_algorithm_is_accepted() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("arm64")).hex(), "arm64");
    assert_eq!(
        docker.open("arm64").unwrap().config_digest(),
        Digest::of(config("arm64"))
    );
}

#[test]
fn an_image_that_changed_since_inspection_is_an_error() {
    let docker = Docker::new(CLASSIC, &Digest::of("other").to_string(), "arm64");
    let error = docker
        .open("arm64")
        .unwrap()
        .prepare()
        .unwrap_err()
        .to_string();
    assert!(error.contains("has another image"), "{error}");
}

#[test]
fn wrong_processor() {
    let docker = Docker::new(CLASSIC, &Digest::of(config("amd64")).to_string(), "amd64");
    let error = docker.open("arm64").unwrap_err();
    assert_snapshot!(error, @"this machine's docker image app:dev is built for linux/amd64, but the VPU needs linux/arm64");
}

#[test]
fn docker_failures_are_classified() {
    let error = |words| {
        let error = Docker::failing(words).open("arm64").unwrap_err();
        format!("{error}\nhelp: {}", error.help().unwrap_or_default())
    };
    let answers = [
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?",
        "failed to connect to the docker API at unix:///var/run/docker.sock; check if the daemon is running",
        "permission denied while trying to connect to the Docker daemon socket",
        "Error response from daemon: no such image: app:dev: No such image: app:dev",
        "something new",
        "",
    ];
    assert_snapshot!(answers.map(error).join("\n\n"), @r#"
    this machine's docker engine does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?
    help: start docker, or set DOCKER_HOST; `docker info` must answer

    this machine's docker engine does not answer: failed to connect to the docker API at unix:///var/run/docker.sock; check if the daemon is running
    help: start docker, or set DOCKER_HOST; `docker info` must answer

    this machine's docker engine does not answer: permission denied while trying to connect to the Docker daemon socket
    help: start docker, or set DOCKER_HOST; `docker info` must answer

    this machine's docker has no image "app:dev"
    help: build or pull it first; `docker image inspect app:dev` must answer

    `docker image inspect` failed: something new
    help: 

    `docker image inspect` failed: exit status: 1
    help:
    "#);
}

#[test]
fn a_missing_docker_is_an_error() {
    let engine = Engine {
        program: "/nowhere/docker".to_owned(),
        leading: Vec::new(),
    };
    let error = engine.inspect("a").unwrap_err();
    assert_snapshot!(format!("{error}\nhelp: {}", error.help().unwrap_or_default()), @r#"
    cannot run docker on this machine
    help: install the docker CLI, or set the image as `archive = "FILE"`
    "#);
}

/// A containerd store with an image whose layer is stored in this form, and the cache.
fn containerd(layer: &[u8]) -> (Docker, LayerCache) {
    let docker = Docker::new(CONTAINERD, &Digest::of("an index").to_string(), "arm64");
    fs_err::write(docker.path("save"), saved_with("arm64", layer)).unwrap();
    let cache = LayerCache::new(docker.path("cache"));
    (docker, cache)
}

#[test]
fn regression_an_image_in_a_containerd_store_is_saved_only_once() {
    let zstd = zstd::encode_all(&LAYER[..], 1).unwrap();
    for layer in [LAYER.to_vec(), gzip(&LAYER), zstd] {
        let (docker, cache) = containerd(&layer);
        let first = docker.open_remembered("arm64", Some(&cache)).unwrap();
        assert_eq!(docker.asked(), "image info version save image ");
        drop(first);
        cache.finish();
        for packing in [
            None,
            Some(Compression::GZIP_FAST),
            Some(Compression::GZIP_SMALL),
            Some(Compression::ZSTD_FAST),
            Some(Compression::ZSTD_SMALL),
        ] {
            let image = docker.open_remembered("arm64", Some(&cache)).unwrap();
            assert_eq!(image.config_digest(), Digest::of(config("arm64")));
            assert!(!image.is_prepared());
            let mut image = ImageSender::new(image).with_cache(&cache);
            image
                .prepare_layers(&[Digest::of(LAYER)].into(), packing, &|_| {})
                .unwrap();
            let all = LayerSelection::All;
            let mut out = Vec::new();
            image.write_archive("a", &all, &mut out).unwrap();
            assert_eq!(image.archive_len("a", &all), out.len() as u64);
        }
        let asked = "image info version save image ".to_owned() + &"image ".repeat(5);
        assert_eq!(docker.asked(), asked, "saved once");
        // A layer that the cache lost is saved again, if the image is still the same.
        fs_err::remove_dir_all(docker.path("cache/layers")).unwrap();
        let image = docker.open_remembered("arm64", Some(&cache)).unwrap();
        image.prepare().unwrap();
        fs_err::write(docker.path("save"), saved("amd64")).unwrap();
        let image = docker.open_remembered("arm64", Some(&cache)).unwrap();
        assert!(image.prepare().is_err());
    }
}

#[test]
fn an_image_saved_while_its_name_changed_is_not_cached() {
    let (docker, cache) = containerd(&LAYER);
    docker.script(
        r#"case $1 in
        image) cat "$d/inspect"; sed -i "s/sha256:[0-9a-f]\{64\}/sha256:$(printf %064d 7)/" "$d/inspect";;
        info) cat "$d/info";;
        save) cat "$d/save";;
        esac"#,
    );
    drop(docker.open_remembered("arm64", Some(&cache)).unwrap());
    let index = IdentityCache::new(cache.dir());
    let none = index.find_stored(Digest::of("an index"), &Platform::linux("arm64"));
    assert!(none.is_none());
}

/// A docker whose engine has the image only for the VPU's platform, so that it does not save it
/// without one.
const FOREIGN: &str = r#"case "$1 $2" in
    image*) cat "$d/inspect";;
    info*) cat "$d/info";;
    version*) echo $API;;
    "save --platform") echo "$3" >"$d/platform"; cat "$d/save";;
    save*) echo "content digest sha256:e2: not found" >&2; exit 1;;
    esac"#;

#[test]
fn regression_a_single_platform_is_saved_if_docker_supports_it() {
    for (api, asked) in [
        ("1.52", "image info version save "),
        ("1.47", "image info version save save "),
        ("", "image info version save save "),
    ] {
        let (docker, _) = containerd(&gzip(&LAYER));
        docker.script(&FOREIGN.replace("$API", api));
        let image = docker.open("arm64").unwrap();
        assert_eq!(image.config_digest(), Digest::of(config("arm64")));
        assert_eq!(docker.asked(), asked, "{api}");
        let platform = fs_err::read_to_string(docker.path("platform")).unwrap();
        assert_eq!(platform, "linux/arm64\n");
    }
    // The client does not know the option: the error is that of the previous try.
    let (docker, _) = containerd(&LAYER);
    docker.script(&FOREIGN.replace(
        r#"echo "$3" >"$d/platform"; cat "$d/save";;"#,
        "echo unknown flag: --platform >&2; exit 125;;",
    ));
    let error = docker.open("arm64").unwrap_err();
    assert_snapshot!(format!("{error}\nhelp: {}", error.help().unwrap_or_default()), @r#"
    `docker save` failed: content digest sha256:e2: not found
    help: pull it completely for the VPU's architecture with `docker pull --platform linux/arm64 app:dev`; or save it with `docker save --platform linux/arm64 -o FILE app:dev`, and declare `archive = "FILE"`
    "#);
}

#[test]
fn a_failed_save_says_what_to_do() {
    let said = |save: &str| {
        let (docker, _) = containerd(&LAYER);
        docker.script(&format!(
            "case $1 in image) cat \"$d/inspect\";; info) cat \"$d/info\";; save) {save};; esac"
        ));
        let error = docker.open("arm64").unwrap_err();
        let text = format!("{error}\nhelp: {}", error.help().unwrap_or_default());
        text.replace(docker.dir.path().to_str().unwrap(), "DIR")
    };
    let lacking = {
        let (docker, _) = containerd(&LAYER);
        let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["blobs/sha256/12"]}]"#;
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in [
            ("c.json", config("arm64")),
            ("manifest.json", manifest.into()),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_slice())
                .unwrap();
        }
        fs_err::write(docker.path("save"), tar.into_inner().unwrap()).unwrap();
        let error = docker.open("arm64").unwrap_err();
        format!("{error}\nhelp: {}", error.help().unwrap_or_default())
    };
    let texts = [
        said("echo 'write /dev/stdout: no space left on device' >&2; exit 1"),
        said("echo 'Error response from daemon: write /x: no space left on device' >&2; exit 1"),
        lacking,
    ];
    assert_snapshot!(texts.join("\n\n"), @r#"
    cannot write a scratch file in DIR/scratch
    help: free some space there, or set XDG_CACHE_HOME to a directory with more space

    `docker save` failed: Error response from daemon: write /x: no space left on device
    help: free some space on the disk of this machine's docker: see `docker system df`

    this machine's docker has the image "app:dev" without blobs/sha256/12
    help: pull it again with `docker pull app:dev`, or build it again
    "#);
}

//! The desired states that tests generate.

use std::{collections::BTreeMap, sync::OnceLock};

use camino::Utf8PathBuf;
use o3r_deploy::internal::{
    compose::ComposeFile,
    desired::{
        self, Desired, DeviceName, DeviceSettings, Directory, Disabled, Guards, Image,
        ImageContent, ManifestRef, Mounted, Project, ProjectFile, ProjectState, Release, Service,
        Volume,
    },
    digest::Digest,
    health::HealthGate,
    image::{self, Platform, ScratchDir},
    prepare::{Prepared, unprepared},
    resolve::LocalImages,
    restart_policy::RestartPolicy,
};
use o3r_testing::archives;
use proptest::prelude::*;

use super::trees::{ABOVE, BELOW, Kind, TREE, Tree, transfers, trees};

/// The local files of all tests: images and project files, by content.
pub(super) fn store() -> &'static tempfile::TempDir {
    static STORE: OnceLock<tempfile::TempDir> = OnceLock::new();
    STORE.get_or_init(|| tempfile::tempdir().unwrap())
}

pub(super) fn local(bytes: &[u8]) -> Utf8PathBuf {
    let path = store().path().join(Digest::of(bytes).hex());
    if !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    Utf8PathBuf::from_path_buf(path).unwrap()
}

/// A few images, each with one file.
fn images() -> &'static (Vec<ImageContent>, LocalImages) {
    static IMAGES: OnceLock<(Vec<ImageContent>, LocalImages)> = OnceLock::new();
    let make = |version: u8| {
        let file = local(&archives::layer("version", [b'0' + version]));
        let source = image::Source::Rootfs(image::Rootfs {
            file,
            ..image::Rootfs::default()
        });
        let scratch = ScratchDir::new(Utf8PathBuf::from_path_buf(store().path().into()).unwrap());
        image::Image::open(&source, "app", &Platform::linux("arm64"), &scratch).unwrap()
    };
    IMAGES.get_or_init(|| {
        let mut local = LocalImages::default();
        let contents = (0..3).map(|version| local.add(make(version), "app"));
        (contents.collect(), local)
    })
}

/// Returns one of the images.
pub(super) fn image_content(version: u8) -> ImageContent {
    images().0[usize::from(version)].clone()
}

/// Returns what can be sent.
pub(super) fn prepared(desired: &Desired) -> Prepared {
    unprepared(desired, &images().1)
}

/// The attributes that a test varies.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing of its own that varies"
)]
pub(super) struct Shape {
    pub(super) image: u8,
    /// The contents of the extra file.
    pub(super) extra: u8,
    /// A comment in the compose file.
    pub(super) comment: u8,
    /// The directory that the volume is bound to.
    pub(super) bound: u8,
    pub(super) mode: Option<u32>,
    pub(super) state: ProjectState,
    pub(super) two_services: bool,
    pub(super) dotenv: Option<u8>,
    /// Whether the services have a restart policy; those that start at boot always do.
    pub(super) restart: bool,
    pub(super) autostart: Option<bool>,
    pub(super) name: Option<u8>,
    pub(super) tree: Tree,
    /// Whether the service reads `.env` itself as well.
    pub(super) mounts_dotenv: bool,
    /// The number of the service's containers.
    pub(super) scale: usize,
    /// The index of its network declarations.
    pub(super) network: usize,
    /// Whether the service mounts something at a path where its image declares a volume.
    pub(super) covers: bool,
    /// Whether the second service uses the network namespace of the first.
    pub(super) shares: bool,
}

/// A change of one attribute of a shape, by index and
/// value: releases of one application differ in a few.
pub(super) type Change = (u8, u8);

/// Changes; the container attributes are chosen more often.
pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let fields = prop_oneof![12 => 0..12u8, 12 => 12..16u8];
    prop::collection::vec((fields, any::<u8>()), 1..4)
}

impl Shape {
    /// Returns the next release.
    pub(super) fn with(&self, changes: &[Change]) -> Self {
        let mut next = self.clone();
        for (field, value) in changes {
            let value = *value;
            match field {
                0 => next.image = value % 3,
                1 => next.extra = value % 3,
                2 => next.comment = value % 2,
                3 => next.bound = value % 2,
                4 => next.mode = [None, Some(0o700), Some(0o775)][usize::from(value % 3)],
                5 => {
                    use ProjectState as S;
                    next.state = [S::Running, S::Stopped, S::Absent][usize::from(value % 3)];
                }
                6 => next.two_services = !next.two_services,
                7 => next.dotenv = [None, Some(0), Some(1)][usize::from(value % 3)],
                8 => next.restart = !next.restart,
                9 => next.autostart = [None, Some(false), Some(true)][usize::from(value % 3)],
                10 => next.name = [None, Some(0), Some(1)][usize::from(value % 3)],
                11 => next.tree.version = value % 4,
                12 => next.scale = 3 - next.scale,
                13 => next.network = usize::from(value) % EXPECTED,
                14 => next.covers = !next.covers,
                _ => next.shares = !next.shares,
            }
        }
        next
    }
}

/// Network declarations: a service's part and the top level's.
pub(super) const NETWORKS: [(&str, &str); 9] = [
    ("", ""),
    (
        "",
        "networks: {default: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n",
    ),
    (
        "",
        "networks: {default: {ipam: {config: [{subnet: 10.2.0.7/24}]}}}\n",
    ),
    ("", "networks: {default: {driver_opts: {mtu: 1400}}}\n"),
    ("", "networks: {default: {internal: true}}\n"),
    ("    networks: [front]\n", "networks: {front: {}}\n"),
    (
        "    networks: [front, back]\n",
        "networks: {front: {driver: macvlan}, back: {name: back}}\n",
    ),
    (
        "    networks: [cell]\n",
        "networks: {cell: {external: true}}\n",
    ),
    ("    networks: [cell]\n", "networks: {cell: {name: cell}}\n"),
];

/// The declaration that expects a network, and the one that creates it.
pub(super) const EXPECTED: usize = 7;
pub(super) const MADE: usize = 8;

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    (
        0..3u8,
        0..3u8,
        0..2u8,
        0..2u8,
        prop_oneof![Just(None), Just(Some(0o700)), Just(Some(0o775))],
        prop_oneof![
            4 => Just(ProjectState::Running),
            1 => Just(ProjectState::Stopped),
            1 => Just(ProjectState::Absent),
        ],
        any::<bool>(),
        prop_oneof![Just(None), (0..2u8).prop_map(Some)],
        (
            any::<bool>(),
            any::<Option<bool>>(),
            prop::option::of(0..2u8),
        ),
        (trees(), any::<bool>(), 1..3usize),
        (0..EXPECTED, any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(
                image,
                extra,
                comment,
                bound,
                mode,
                state,
                two_services,
                dotenv,
                boot,
                (tree, mounts_dotenv, scale),
                (network, covers, shares),
            )| Shape {
                image,
                extra,
                comment,
                bound,
                mode,
                state,
                two_services,
                dotenv,
                restart: boot.0,
                autostart: boot.1,
                name: boot.2,
                tree,
                mounts_dotenv,
                scale,
                network,
                covers,
                shares,
            },
        )
}

pub(super) const BASE: Shape = Shape {
    image: 0,
    extra: 0,
    comment: 0,
    bound: 0,
    mode: Some(0o775),
    state: ProjectState::Running,
    two_services: true,
    dotenv: Some(0),
    restart: true,
    autostart: None,
    name: None,
    tree: Tree {
        version: 0,
        delete: true,
        restart: true,
        file_mode: 0o644,
        above: None,
        equal: None,
        below: None,
    },
    mounts_dotenv: false,
    scale: 1,
    network: 0,
    covers: false,
    shares: false,
};

fn file(relative: &str, bytes: &[u8]) -> ProjectFile {
    ProjectFile {
        relative: relative.to_owned(),
        local: local(bytes),
        sha256: Digest::of(bytes),
        bytes: bytes.len() as u64,
        mode: 0o644,
    }
}

/// Returns what is declared besides transfers, some of it around the tree.
fn places(shape: &Shape) -> (Vec<Directory>, Vec<Volume>) {
    let mut directories = vec![Directory {
        path: "~/data".parse().unwrap(),
        mode: shape.mode,
        source: None,
    }];
    let mut volumes = vec![Volume {
        name: "share".parse().unwrap(),
        path: format!("~/share{}", shape.bound).parse().unwrap(),
        replace: true,
        source: None,
    }];
    let places = [
        (ABOVE, "above", shape.tree.above),
        (TREE, "equal", shape.tree.equal),
        (BELOW, "below", shape.tree.below),
    ];
    for (path, name, kind) in places {
        match kind {
            Some(Kind::Directory) => directories.push(Directory {
                path: path.parse().unwrap(),
                mode: None,
                source: None,
            }),
            Some(Kind::Volume) => volumes.push(Volume {
                name: name.parse().unwrap(),
                path: path.parse().unwrap(),
                replace: false,
                source: None,
            }),
            Some(Kind::Transfer) | None => {}
        }
    }
    (directories, volumes)
}

fn restart(shape: &Shape) -> Option<String> {
    (shape.restart || shape.autostart == Some(true)).then(|| "unless-stopped".to_owned())
}

/// The compose file.
fn compose(shape: &Shape) -> String {
    let policy = match restart(shape) {
        Some(policy) => format!("    restart: {policy}\n"),
        None => String::new(),
    };
    let second = match (shape.two_services, shape.shares) {
        (true, true) => {
            format!("  side:\n    image: app:1\n    network_mode: service:main\n{policy}")
        }
        (true, false) => format!("  side:\n    image: app:1\n{policy}"),
        (false, _) => String::new(),
    };
    let (on, networks) = NETWORKS[shape.network];
    let data = if shape.covers {
        ", \"~/data:/data\""
    } else {
        ""
    };
    format!(
        "# {}\nversion: \"2.4\"\nservices:\n  main:\n    image: app:1\n    env_file: conf/app.conf\n    \
         scale: {}\n    volumes: [\"share:/share\", \"~/single file:/single\", \"~/site/conf:/conf\"{data}]\n{on}{policy}{second}{networks}volumes:\n  share:\n    external: true\n",
        shape.comment, shape.scale
    )
}

/// Returns the service's mounts.
fn mounts(shape: &Shape) -> BTreeMap<String, Mounted> {
    let mut mounts = BTreeMap::from([
        ("/share".to_owned(), Mounted::Volume("share".into(), None)),
        ("/single".to_owned(), Mounted::Path("~/single file".into())),
        ("/conf".to_owned(), Mounted::Path("~/site/conf".into())),
    ]);
    if shape.covers {
        mounts.insert("/data".to_owned(), Mounted::Path("~/data".into()));
    }
    mounts
}

pub(super) fn desired(shape: &Shape) -> Desired {
    let (restart, compose) = (restart(shape), compose(shape));
    let extra = format!("value={}\n", shape.extra);
    let mut files = vec![
        file("docker-compose.yml", compose.as_bytes()),
        file("conf/app.conf", extra.as_bytes()),
    ];
    if let Some(value) = shape.dotenv {
        files.push(file(".env", format!("UNUSED={value}\n").as_bytes()));
    }
    let parsed = ComposeFile::parse(&compose).unwrap();
    // Like the in-memory docker-compose, which identifies containers by the whole file.
    let definition = Some(Digest::of(&compose));
    let mut main = Service {
        definition,
        mounts: mounts(shape),
        image: Some("app:1".into()),
        files: vec!["conf/app.conf".into()],
        volumes: vec!["share".into()],
        binds: vec!["~/single file".into(), "~/site/conf".into()],
        replicas: shape.scale,
        restart: restart.as_deref().map(RestartPolicy::from),
        ..Service::default()
    };
    if shape.dotenv.is_some() && shape.mounts_dotenv {
        main.files.push(".env".into());
    }
    let side = Service {
        definition,
        network_of: shape.shares.then(|| "main".to_owned()),
        image: Some("app:1".into()),
        replicas: 1,
        restart: restart.as_deref().map(RestartPolicy::from),
        ..Service::default()
    };
    let mut services = BTreeMap::from([("main".to_owned(), main)]);
    if shape.two_services {
        services.insert("side".to_owned(), side);
    }
    let (directories, volumes) = places(shape);
    let release = Release {
        name: "app".parse().unwrap(),
        version: "1".into(),
        source: None,
    };
    let guards = Guards {
        arch: "arm64".into(),
        serial: None,
        firmware: None,
        api_port: 80,
    };
    Desired {
        manifest: ManifestRef {
            path: "deploy.toml".into(),
            sha256: "0".repeat(64),
        },
        directories,
        volumes,
        images: vec![Image {
            name: "app:1".into(),
            content: Some(image_content(shape.image)),
            found: None,
            source: None,
        }],
        transfers: transfers(&shape.tree),
        projects: vec![Project {
            name: "app".into(),
            state: shape.state,
            files,
            services,
            read: ["docker-compose.yml", "conf/app.conf", ".env"]
                .map(str::to_owned)
                .into(),
            networks: desired::networks(&parsed, "app"),
            volumes: desired::volumes(&parsed, "app"),
            refused_by_old_compose: None,
            undeclared: false,
            health: HealthGate::default(),
            autostart: shape.autostart,
            source: None,
        }],
        device_name: shape.name.map(|number| DeviceName {
            name: format!("agv <{number}> & 'co'").parse().unwrap(),
            source: None,
        }),
        device_settings: shape.name.map(settings),
        disabled: vec![Disabled {
            name: "old-demo".into(),
            source: None,
        }],
        ..Desired::nothing(release, guards)
    }
}

/// Returns settings of the device that go with a name.
fn settings(number: u8) -> DeviceSettings {
    let state = if number.is_multiple_of(2) {
        "RUN"
    } else {
        "IDLE"
    };
    DeviceSettings {
        values: [
            ("/ports/port0/rate".to_owned(), number.into()),
            ("/ports/port2/state".to_owned(), state.into()),
        ]
        .into(),
        save: true,
        network: false,
        source: None,
    }
}

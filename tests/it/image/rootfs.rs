//! A bare file system becomes the same image every time.

use insta::assert_snapshot;
use o3r_deploy::internal::digest::Digest;
use o3r_deploy::internal::image::{
    Image, ImageError, ImageSender, LayerSelection, Platform, Rootfs, Source,
};

use o3r_testing::archives::{Input, Packing, Tar, docker_old, layers, load, sent};

/// Returns the start of a program for `machine`.
fn program(machine: u8) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[18] = machine;
    elf
}

const ARM64: u8 = 183;
const AMD64: u8 = 62;

fn file_system(machine: u8) -> Vec<u8> {
    Tar::default()
        .file("./etc/hostname", "x")
        .file("./bin/sh", program(machine))
        .end()
}

fn open(input: &Input, change: impl FnOnce(&mut Rootfs)) -> Result<Image, ImageError> {
    let mut rootfs = Rootfs {
        file: input.path.clone(),
        cmd: vec!["python3".to_owned()],
        ..Rootfs::default()
    };
    change(&mut rootfs);
    Image::open(
        &Source::Rootfs(rootfs),
        "deps:1",
        &Platform::linux("arm64"),
        &input.scratch(),
    )
}

#[test]
fn wrapped_into_an_image() {
    let input = Input::new(&file_system(ARM64));
    let image = open(&input, |_| {}).unwrap();
    assert_snapshot!(std::str::from_utf8(image.config().unwrap()).unwrap(), @r#"{"architecture":"arm64","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["python3"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:942b183d54e8820357c58765f03185ac3fcf7befeab3ec44df2ab18d9e1e7660"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"o3r-deploy rootfs"}]}"#);
    let loaded = load(&sent(&ImageSender::new(image), &LayerSelection::All));
    assert_eq!(loaded.layers, [Some(Digest::of(file_system(ARM64)))]);
}

#[test]
fn everything_that_docker_run_uses() {
    let input = Input::new(&file_system(ARM64));
    let image = open(&input, |rootfs| {
        rootfs.entrypoint = vec!["/bin/sh".into(), "-c".into()];
        rootfs.env = vec!["PATH=/opt".into(), "A=b=c".into()];
        rootfs.working_dir = Some("/srv".into());
        rootfs.user = Some("1000:1000".into());
    });
    let image = image.unwrap();
    assert_snapshot!(std::str::from_utf8(image.config().unwrap()).unwrap(), @r#"{"architecture":"arm64","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Env":["PATH=/opt","A=b=c"],"Entrypoint":["/bin/sh","-c"],"Cmd":["python3"],"WorkingDir":"/srv","User":"1000:1000"},"rootfs":{"type":"layers","diff_ids":["sha256:942b183d54e8820357c58765f03185ac3fcf7befeab3ec44df2ab18d9e1e7660"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"o3r-deploy rootfs"}]}"#);
}

#[test]
fn compression_does_not_change_the_image() {
    let digest = open(&Input::new(&file_system(ARM64)), |_| {})
        .unwrap()
        .config_digest();
    for packing in [Packing::Gzip, Packing::Zstd] {
        let image = open(&Input::new(&packing.pack(&file_system(ARM64))), |_| {}).unwrap();
        assert_eq!(image.config_digest(), digest, "{packing:?}");
        let loaded = load(&sent(&ImageSender::new(image), &LayerSelection::All));
        assert_eq!(
            loaded.layers,
            [Some(Digest::of(file_system(ARM64)))],
            "{packing:?}"
        );
    }
}

#[test]
fn programs_for_another_processor() {
    let input = Input::new(&file_system(AMD64));
    let error = open(&input, |_| {}).unwrap_err();
    assert_snapshot!(input.error(&error), @"
    DIR/image.tar is built for linux/amd64, but the VPU needs linux/arm64
    help: build it with `docker build --platform linux/arm64 …`, or set [vpu].arch
    ");
    // An emulator among the right ones does not matter.
    let mixed = Tar::default()
        .file("bin/a", program(AMD64))
        .file("bin/b", program(ARM64))
        .end();
    open(&Input::new(&mixed), |_| {}).unwrap();
}

#[test]
fn an_image_is_not_a_file_system() {
    let input = Input::new(&docker_old("arm64", "app:1", &layers()));
    let error = open(&input, |_| {}).unwrap_err();
    assert_snapshot!(input.error(&error), @r#"
    DIR/image.tar is an image archive, not a bare file system
    help: declare it as `archive = "FILE"` instead of `rootfs`
    "#);
}

#[test]
fn a_file_system_may_have_a_manifest() {
    let web = Tar::default()
        .file("manifest.json", "{}")
        .file("usr/share/x", "x")
        .end();
    open(&Input::new(&web), |_| {}).unwrap();
}

#[test]
fn a_variable_without_a_value() {
    let input = Input::new(&file_system(ARM64));
    let error = open(&input, |rootfs| rootfs.env = vec!["HOME".into()]).unwrap_err();
    assert_snapshot!(input.error(&error), @r#"DIR/image.tar: env: "HOME" is not NAME=value"#);
}

#[test]
fn cut_off_anywhere() {
    let bytes = file_system(ARM64);
    // Whole members without an end marker are accepted: docker does not need it.
    let is_whole = |len| (513..=1024).contains(&len) || (1556..=2048).contains(&len);
    for len in 0..bytes.len() - 512 {
        if len % 512 < 2 || len % 100 == 0 {
            let opened = open(&Input::new(&bytes[..len]), |_| {});
            assert_eq!(opened.is_ok(), is_whole(len), "{len}");
        }
    }
    let input = Input::new(&bytes[..1536]);
    let error = open(&input, |_| {}).unwrap_err();
    assert_snapshot!(input.error(&error), @"
    DIR/image.tar is truncated: ./bin/sh ends at byte 1556, the file at byte 1536
    help: the file was copied or written incompletely; create or copy it again
    ");
}

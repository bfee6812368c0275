//! Transcripts of the binary without a VPU, and those of the README.
//!
//! `TRYCMD=overwrite cargo nextest run --test cli` writes what the binary says into `tests/cmd`.

use trycmd::TestCases;

/// Nothing of the machine that runs the tests shows: no colours, no home, no address.
fn hermetic() -> TestCases {
    const HOME: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/home");
    std::fs::create_dir_all(HOME).expect("the target directory can be written");
    let cases = TestCases::new();
    cases
        .env("HOME", HOME)
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/home/.cache"),
        )
        .env("COLUMNS", "80")
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .env("RUST_LOG", "")
        .env("IFM3D_IP", "127.0.0.2");
    cases
}

#[test]
fn transcripts() {
    hermetic().case("tests/cmd/*.trycmd");
}

#[test]
fn the_readme() {
    hermetic().case("README.md");
}

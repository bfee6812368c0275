//! A few of the faults of tests/faults.py, which has all of them (benches/FAULTS.md).

use std::{path::Path, process::Command};

use crate::support::run;

#[test]
fn a_release_is_whole_after_any_fault() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.py");
    let mut faults = Command::new("python3");
    faults
        .arg(program)
        .args(["--runs", "3", "--seed", "11"])
        .env("O3R_DEPLOY", env!("CARGO_BIN_EXE_o3r-deploy"));
    let ran = run(&mut faults).exits(0);
    ran.says_not("mixture").says_not("stuck");
    assert_eq!(
        ran.stdout.lines().filter(|line| is_whole(line)).count(),
        3,
        "{ran:?}"
    );
}

/// Whether a line reports that a whole release was left.
fn is_whole(line: &str) -> bool {
    line.ends_with("  old") || line.ends_with("  new")
}

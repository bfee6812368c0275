//! Compares generated files with the committed ones.

use std::fs;

/// Compares a file; writes it if expectations are being recorded.
#[track_caller]
pub(crate) fn is_current(path: &str, generated: &str) {
    let file = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let read = || fs::read_to_string(&file).unwrap_or_default();
    // Only what changed: another test may be reading it.
    if std::env::var_os("O3R_DEPLOY_UPDATE").is_some() && read() != generated {
        fs::write(&file, generated).unwrap();
    }
    let committed = read();
    assert!(
        committed == generated,
        "{path} is stale: tests/run.sh bless-local writes what is generated now"
    );
}

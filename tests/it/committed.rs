//! Compares generated files with the committed ones.

use std::fs;

/// Compares a file; writes it if expectations are being recorded.
#[track_caller]
pub(crate) fn is_current(path: &str, generated: &str) {
    let file = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("O3R_DEPLOY_UPDATE").is_some() {
        fs::write(&file, generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == generated,
        "{path} is stale: tests/run.sh bless-local writes what is generated now"
    );
}

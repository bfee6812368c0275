//! Waits that Ctrl-C ends, logged durations, and the name of the lock's holder.

use std::time::{Instant, SystemTime};

use camino::Utf8Path;

use super::super::{CommandError, ErrorCode};
use crate::{
    apply::{Interrupts, Log},
    cli::Global,
    deployment,
    ui::Ui,
};

/// Waits outside the plan's steps: one Ctrl-C ends them.
pub(super) struct Waiting<'a> {
    pub(super) interrupts: Interrupts,
    pub(super) log: &'a Log,
}

impl Waiting<'_> {
    /// Waits for something, and logs how long it took.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, CommandError> {
        let start = Instant::now();
        let mut interrupts = self.interrupts.clone();
        let result = tokio::select! {
            result = future => Ok(result),
            _ = interrupts.wait_for(|times| *times > 0) => Err(CommandError::message(
                ErrorCode::Interrupted,
                format!("interrupted while {what}"),
                Some("run `apply` again to resume where it stopped".into()),
            )),
        };
        let how = if result.is_ok() {
            "done"
        } else {
            "interrupted"
        };
        let seconds = start.elapsed().as_secs_f64();
        self.log
            .line(&format!("{how} after {seconds:.3} s: {what}"));
        result
    }
}

/// Opens the log of this apply; if it cannot be written,
/// reports that and returns one that writes nothing.
pub(super) fn log(global: &Global, ui: Ui) -> Log {
    let directory = match (global.log_dir.strip_prefix("~"), crate::user::home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_), None) => {
            ui.note(
                "no log is kept: there is no home directory; choose a directory with --log-dir",
            );
            return Log::none();
        }
        (Err(_), _) => global.log_dir.clone(),
    };
    match Log::create(&directory, SystemTime::now()) {
        Ok(log) => log,
        Err(error) => {
            ui.note(&format!("no log is kept: {error}"));
            Log::none()
        }
    }
}

/// Who applies and when, by this machine's clock (the VPU's
/// is unreliable), as members of a JSON object.
pub(in crate::commands) fn who(manifest: &Utf8Path) -> String {
    let user = crate::user::name();
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let by = format!("{}@{}", user.as_deref().unwrap_or("unknown"), host.trim());
    deployment::holder(&by, manifest.as_str())
}

//! Takes the VPU's lock, and waits for another apply to free it if the user wants that.

use std::time::{Duration, Instant};

use crate::{
    apply::{self, Locked},
    cli,
    commands::session::Session,
    host::Held,
    remote::Claim,
    ui::Ui,
};

/// How often the lock of another apply is tried.
const POLL: Duration = Duration::from_secs(2);

/// The lock, once it is free; tried for as long as `--lock-wait` says.
///
/// # Errors
/// As [`apply::lock`].
pub(super) async fn free_lock(
    session: &Session,
    who: &str,
    claim: Claim,
    args: &cli::Apply,
    ui: Ui,
) -> Result<Held, Locked> {
    let waits = |what: &str| ui.note(what);
    let start = Instant::now();
    let mut is_told = false;
    loop {
        let locked = apply::lock(session.vpu.host(), who, claim.clone(), &waits).await;
        match (locked, &args.lock_wait) {
            (Err(busy @ Locked::Busy { .. }), Some(time)) if start.elapsed() < time.get() => {
                if !is_told {
                    ui.note(&format!("{busy}; waiting for it for up to {time}"));
                    is_told = true;
                }
                tokio::time::sleep(POLL).await;
            }
            (locked, _) => return locked,
        }
    }
}

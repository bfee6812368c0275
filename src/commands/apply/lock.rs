//! Takes the VPU's lock, waiting for another apply to release it if the user asks for that.

use std::time::{Duration, Instant};

use crate::{
    apply::{self, Locked},
    cli,
    commands::session::Session,
    host::Held,
    remote::Claim,
    ui::Ui,
};

/// The interval at which a lock that another apply holds is tried again.
const POLL: Duration = Duration::from_secs(2);

/// Takes the lock; retries for as long as `--lock-wait` says.
///
/// # Errors
/// Those of [`apply::lock`].
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

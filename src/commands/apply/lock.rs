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

/// How long a rollback of the VPU's own is waited for: docker may have to start first.
const ROLLBACK: Duration = Duration::from_secs(600);

/// Takes the lock; retries for as long as `--lock-wait` says, and while the VPU rolls back automatically.
///
/// # Errors
/// Those of [`apply::lock`].
pub(super) async fn free_lock(
    session: &Session,
    who: &str,
    claim: Claim,
    args: &cli::Applying,
    ui: Ui,
) -> Result<Held, Locked> {
    let waits = |what: &str| ui.note(what);
    let start = Instant::now();
    let mut is_told = false;
    loop {
        let locked = apply::lock(session.vpu.host(), who, claim.clone(), &waits).await;
        let Err(busy @ Locked::Busy { .. }) = locked else {
            return locked;
        };
        let asked = args.lock.lock_wait.as_ref();
        let (limit, note) = if busy.is_watchdog() {
            let note =
                "waiting for the VPU, which rolls back automatically because an apply was interrupted"
                    .to_owned();
            (ROLLBACK, note)
        } else {
            let Some(time) = asked else {
                return Err(busy);
            };
            (
                time.get(),
                format!("{busy}; waiting for it for up to {time}"),
            )
        };
        if start.elapsed() >= limit {
            return Err(busy);
        }
        if !is_told {
            ui.note(&note);
            is_told = true;
        }
        tokio::time::sleep(POLL).await;
    }
}

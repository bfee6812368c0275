//! Reconnects to the same machine after the connection was lost.

use std::time::Duration;

use super::{
    super::{CommandError, ErrorCode, session::Session},
    watch::Waiting,
};
use crate::{host::HostError, observe::Identity, ui::Ui};

/// Seconds to wait before each attempt to reconnect after the connection was lost: a minute and a
/// half in all, which covers a vehicle that changes its access point, a switch that restarts, and a
/// plug that was pulled by mistake.
pub(super) const WAITS: [u64; 7] = [1, 2, 4, 8, 15, 30, 30];

/// What is known of the machine that was planned for; empty before the first observation.
#[derive(Default)]
pub(super) struct Known {
    pub(super) identity: Identity,
    /// Empty if the device did not report one.
    pub(super) serial: String,
}

/// Reconnects after the connection was lost; `lost` is the error if that does not succeed in time.
pub(super) async fn reconnect(
    session: &mut Session,
    known: &Known,
    waiting: &Waiting<'_>,
    waits: &mut std::slice::Iter<'_, u64>,
    ui: Ui,
    mut lost: CommandError,
) -> Result<(), CommandError> {
    while let Some(seconds) = waits.next() {
        let left = waits.len();
        let tries = match left {
            0 => "last attempt".to_owned(),
            1 => "1 more attempt".to_owned(),
            left => format!("{left} more attempts"),
        };
        ui.note(&format!(
            "connection to the VPU lost; reconnecting in {seconds} s ({tries})"
        ));
        let sleep = tokio::time::sleep(Duration::from_secs(*seconds));
        waiting.until("waiting to reconnect", sleep).await?;
        let connected = waiting.until("reconnecting", connect_to_same(session, known));
        match connected.await? {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(other_vpu(session)),
            // Another VPU at that address is not a temporary condition.
            Err(
                error @ (HostError::HostKeyUnknown { .. }
                | HostError::HostKeyChanged { .. }
                | HostError::HostKeyRevoked { .. }
                | HostError::Start { .. }),
            ) => return Err(session.unreachable(&error)),
            // A VPU that is starting refuses connections.
            Err(error @ HostError::Refused { .. }) => lost = session.unreachable(&error),
            Err(error) => tracing::debug!(%error, "reconnecting failed"),
        }
    }
    Err(lost)
}

/// Connects; returns whether it is the machine that was
/// planned for, before anything is written to it.
async fn connect_to_same(session: &mut Session, known: &Known) -> Result<bool, HostError> {
    session.reconnect().await?;
    if known.identity == Identity::default() {
        return Ok(true); // nothing was observed yet
    }
    let identity = session.identity().await?;
    if identity.is_same_boot(&known.identity) {
        return Ok(true);
    }
    let serial = session.serial().await;
    Ok(known
        .identity
        .is_same_machine(&known.serial, &identity, &serial))
}

fn other_vpu(session: &Session) -> CommandError {
    CommandError::message(
        ErrorCode::OtherVpu,
        format!(
            "after the connection was lost, another VPU answers at {}; nothing was done on it",
            session.vpu.address()
        ),
        Some(
            "check which VPU has that address; on the one that was planned for, no running container was \
             touched: run `apply` again when it is back"
                .into(),
        ),
    )
}

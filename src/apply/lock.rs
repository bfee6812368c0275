//! Takes the VPU's lock: one apply at a time. It is held by a process on the VPU that lives as
//! long as our connection, so that neither a crash here nor a power cut there leaves it behind.

use crate::{
    host::{Held, Host, HostError},
    remote::{self, Claim},
};

/// A VPU that another apply works on, or that cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Locked {
    /// The connection failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Another apply has the lock.
    #[error("another apply is working on this VPU{}", by(.holder))]
    Busy {
        /// The holder's line: members of a JSON object, as given to [`lock`].
        holder: String,
    },
    /// A docker-compose or docker load of an apply that died runs on.
    #[error("what an earlier apply started still runs on the VPU: process {pid}: {words}")]
    Leftover {
        /// Its number there.
        pid: String,
        /// Its directory and command.
        words: String,
    },
    /// The lock could not be made.
    #[error("cannot lock the VPU: {0}")]
    Failed(String),
}

fn by(holder: &str) -> String {
    let parsed = serde_json::from_str::<serde_json::Value>(&format!("{{{holder}}}"));
    let text = |key: &str| {
        let value = parsed.as_ref().ok()?.get(key)?;
        value.as_str().map(str::to_owned)
    };
    match (text("by"), text("at")) {
        (Some(by), Some(at)) => format!(": {by}, since {at}"),
        _ => String::new(),
    }
}

/// Takes the lock until the result is dropped. `who` is members of a JSON object, `"by"` and
/// `"at"` among them.
///
/// # Errors
/// As [`Locked`] says; nothing was changed then.
pub async fn lock<H: Host>(host: &H, who: &str, claim: Claim) -> Result<Held, Locked> {
    match host.hold(&remote::lock(who, claim)).await? {
        Ok(held) => Ok(held),
        Err(output) if output.code == remote::LOCKED => Err(Locked::Busy {
            holder: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(output) if output.code == remote::LEFTOVER => {
            let said = output.tail(1);
            let (pid, words) = said.split_once(' ').unwrap_or((&said, ""));
            Err(Locked::Leftover {
                pid: pid.to_owned(),
                words: words.trim().to_owned(),
            })
        }
        Err(output) => Err(Locked::Failed(output.tail(5))),
    }
}

//! Takes the VPU's lock: one apply at a time. A process on the VPU holds it as long as our connection lives, so that
//! neither a crash here nor a power cut there leaves it locked.

use std::sync::Mutex;

use super::client::Client;
use crate::{
    host::{Held, Host, HostError},
    nonce::nonce,
    observe::Applied,
    remote::{self, Claim, Holder},
};

/// How long the lock outlives a silent client.
const SILENCE_SECONDS: u32 = 60;

/// Why the VPU cannot be locked.
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
    /// A command of a dead apply still runs.
    #[error("a process of an earlier apply still runs on the VPU: {pid}: {words}")]
    Leftover {
        /// Its process id.
        pid: String,
        /// What it does.
        words: String,
    },
    /// The lock cannot be created.
    #[error("cannot lock the VPU: {0}")]
    Failed(String),
}

impl Locked {
    /// Whether the VPU itself holds the lock, while it rolls back.
    pub fn is_watchdog(&self) -> bool {
        matches!(self, Self::Busy { holder } if applied(holder).by == remote::WATCHDOG_HOLDER)
    }
}

fn by(holder: &str) -> String {
    let applied = applied(holder);
    if applied.by.is_empty() {
        return String::new();
    }
    format!(": {}", applied.describe())
}

/// Reads the holder's line; empty if it is none of ours.
fn applied(holder: &str) -> Applied {
    serde_json::from_str(&format!("{{{holder}}}")).unwrap_or_default()
}

/// Takes the lock until the result is dropped. `who` is the members of a JSON object, among them `"by"` and `"at"`. Takes
/// over a lock whose client has ended or is this process. Calls `waits` with what it waits for.
///
/// # Errors
/// As [`Locked`]; nothing was changed.
pub async fn lock<H: Host>(
    host: &H,
    who: &str,
    claim: Claim,
    waits: &(dyn Fn(&str) + Sync),
) -> Result<Held, Locked> {
    match try_lock(host, who, &claim, waits).await? {
        Ok(held) => Ok(held),
        Err(Refused { token, client, .. })
            if !token.is_empty() && claim != Claim::Break && Client::is_gone_or_us(&client) =>
        {
            let taken = try_lock(host, who, &Claim::Take(token), waits).await?;
            taken.map_err(|refused| Locked::Busy {
                holder: refused.holder,
            })
        }
        Err(Refused { holder, .. }) => Err(Locked::Busy { holder }),
    }
}

/// Another client has the lock.
#[derive(Default)]
struct Refused {
    holder: String,
    token: String,
    client: String,
}

async fn try_lock<H: Host>(
    host: &H,
    who: &str,
    claim: &Claim,
    waits: &(dyn Fn(&str) + Sync),
) -> Result<Result<Held, Refused>, Locked> {
    let holder = Holder {
        token: nonce(),
        client: Client::this().map(|this| this.line()).unwrap_or_default(),
        who: who.to_owned(),
        silence: SILENCE_SECONDS,
    };
    let lines = Mutex::new(vec![]);
    let note = |line: &str| match line.strip_prefix("waits ") {
        Some(what) => waits(&waited_for(what)),
        None => lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(line.to_owned()),
    };
    let command = remote::lock(&holder, claim);
    let held = host.hold(&command, &holder.token, &note).await?;
    let output = match held {
        Ok(held) => return Ok(Ok(held)),
        Err(output) => output,
    };
    let lines = lines
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let said = |word: &str| {
        let mut lines = lines.iter();
        lines.find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
    };
    if let Some(by) = said("busy") {
        let owner = said("owner").unwrap_or_default();
        let (token, client) = owner.split_once(' ').unwrap_or((owner, ""));
        return Ok(Err(Refused {
            holder: by.trim().to_owned(),
            token: token.to_owned(),
            client: client.trim().to_owned(),
        }));
    }
    if let Some(what) = said("leftover") {
        let (pid, words) = what.split_once(' ').unwrap_or((what, ""));
        return Err(Locked::Leftover {
            pid: pid.to_owned(),
            words: words.trim().to_owned(),
        });
    }
    let reason = said("failed").map(str::to_owned);
    Err(Locked::Failed(reason.unwrap_or_else(|| {
        let tail = output.tail(5);
        format!("exit code {} of the lock's process; {tail}", output.code)
    })))
}

/// Words for people, from `PID COMMAND`; the id is `-` if it is not a process of ours.
fn waited_for(what: &str) -> String {
    match what.split_once(' ') {
        Some(("-", words)) => format!("waiting for {}", words.trim()),
        Some((pid, words)) => format!(
            "waiting for a process of an earlier apply on the VPU: {pid}: {}",
            words.trim()
        ),
        None => format!("waiting for process {what} on the VPU"),
    }
}

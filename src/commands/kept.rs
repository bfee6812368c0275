//! Finds a release that a VPU keeps, with or without a manifest.

use super::{CommandError, ErrorCode, look, session::Connection, target};
use crate::{
    cli::Global,
    observe::{self, ReadError, ReleaseHistory},
    resolve::{Kept, KeptError},
    ui::Ui,
};

/// Connects; returns the connection and the name of the manifest's release, if there is a manifest.
pub(super) async fn connect(
    global: &Global,
    ui: Ui,
) -> Result<(Connection, Option<String>), CommandError> {
    let (loaded, _) = look::read(global)?;
    target::selected(global, loaded.as_ref())?;
    if let Some(loaded) = &loaded {
        super::session::warn(loaded, ui);
    }
    let connection = Connection::open(global, loaded.as_ref()).await?;
    let name = loaded.map(|loaded| loaded.manifest.release.name.to_string());
    Ok((connection, name))
}

/// Fetches the release that `wanted` names (a version or a number), or the one before the current one.
pub(super) async fn fetch(
    connection: &Connection,
    name: Option<&str>,
    wanted: Option<&str>,
) -> Result<Kept, CommandError> {
    let observe::History(releases) = observe::history(&connection.host).await?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => only_one(releases.keys(), &connection.address)?,
    };
    let none = ReleaseHistory::default();
    let history = releases.get(&name).unwrap_or(&none);
    let number = choose(history, &name, wanted)?;
    let read = observe::generation(&connection.host, &name, number).await;
    let (home, generation) = read.map_err(|error| match error {
        ReadError::Host(error) => error.into(),
        ReadError::Text(_) => unreadable(&name, number, &error.to_string()),
    })?;
    let now = history.recorded.last().map(|recorded| &recorded.release);
    let fetched = Kept::fetch(&connection.host, &home, generation, now).await;
    fetched.map_err(|error| match error {
        KeptError::Host(error) => error.into(),
        error => unreadable(&name, number, &error.to_string()),
    })
}

fn unreadable(name: &str, number: u64, reason: &str) -> CommandError {
    CommandError::message(
        ErrorCode::ReleaseUnreadable,
        format!("release #{number} of {name} cannot be used: {reason}; nothing was done"),
        Some("choose another one from `o3r-deploy history`, or apply its manifest".into()),
    )
}

/// Returns the only release on a VPU.
fn only_one<'a>(
    names: impl Iterator<Item = &'a String>,
    address: &str,
) -> Result<String, CommandError> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("{address} has no release of o3r-deploy"),
            None,
        )),
        _ => Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!(
                "{address} has several releases ({}), and there is no manifest that names one",
                names.join(", ")
            ),
            Some("run it in the folder of a manifest, or with --file".into()),
        )),
    }
}

/// Chooses what to return to: the newest release of a version, the one of a number (`#3`), or the one before the
/// current one.
fn choose(history: &ReleaseHistory, name: &str, wanted: Option<&str>) -> Result<u64, CommandError> {
    let current = history.current();
    let found = match wanted {
        None => {
            let end = current.unwrap_or(u64::MAX);
            let mut before = history.kept.range(..end).rev();
            before.find(|(_, header)| header.is_ok())
        }
        Some(wanted) => {
            let by_version = history.kept.iter().rev().find(|(_, header)| {
                let header = header.as_ref();
                header.is_ok_and(|header| header.version == wanted)
            });
            by_version.or_else(|| {
                let number = wanted.strip_prefix('#').unwrap_or(wanted);
                history.kept.get_key_value(&number.parse().ok()?)
            })
        }
    };
    if let Some((number, _)) = found {
        return Ok(*number);
    }
    let kept = history.kept.iter().map(|(number, header)| match header {
        Ok(header) if !header.version.is_empty() => format!("{} (#{number})", header.version),
        _ => format!("#{number}"),
    });
    let kept: Vec<String> = kept.collect();
    let what = match wanted {
        Some(wanted) => format!("no release {wanted} of {name}"),
        None => format!("no release of {name} before the current one"),
    };
    let keeps = if kept.is_empty() {
        "it keeps none".to_owned()
    } else {
        format!("it keeps {}", kept.join(", "))
    };
    let help = if kept.len() < 2 {
        "each apply that succeeds is kept from now on; until then, apply the manifest of the release to return to"
    } else {
        "choose one of these, or apply the manifest of the release to return to"
    };
    Err(CommandError::message(
        ErrorCode::UnknownRelease,
        format!("the VPU keeps {what}: {keeps}"),
        Some(help.into()),
    ))
}

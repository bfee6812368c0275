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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, generation::GenerationError};

    /// A history of these versions, of which one is deployed.
    fn history(versions: &[&str], deployed: &str) -> ReleaseHistory {
        let mut history = ReleaseHistory::default();
        for (number, version) in (1..).zip(versions) {
            let header = serde_json::json!({
                "format": 1, "release": "app", "version": version, "desired": Digest::of(version),
                "arch": "arm64", "api_port": 80, "directories": [], "volumes": [], "images": [],
                "transfers": [], "projects": [], "keep": 2,
            });
            let header = crate::generation::Header::read(&header.to_string());
            assert!(header.is_ok(), "{header:?}");
            history.kept.insert(number, header);
        }
        let recorded = serde_json::json!({
            "version": deployed, "desired": Digest::of(deployed), "projects": [],
        });
        history.recorded = vec![serde_json::from_value(recorded).unwrap()];
        history
    }

    fn chosen(history: &ReleaseHistory, wanted: Option<&str>) -> Option<u64> {
        choose(history, "app", wanted).ok()
    }

    #[test]
    fn a_release_is_chosen_by_version_or_number() {
        let all = history(&["1.0", "1.1", "1.0", "3"], "1.1");
        assert_eq!(
            chosen(&all, Some("1.0")),
            Some(3),
            "the newest of a version"
        );
        assert_eq!(chosen(&all, Some("#1")), Some(1));
        assert_eq!(chosen(&all, Some("2")), Some(2));
        assert_eq!(chosen(&all, Some("3")), Some(4), "a version comes first");
        assert_eq!(chosen(&all, Some("#9")), None);
        let error = choose(&all, "app", Some("2.0")).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::UnknownRelease));
        let said = format!("{error:?}");
        assert!(said.contains("no release 2.0 of app"), "{said}");
        assert!(said.contains("1.1 (#2)"), "{said}");
    }

    #[test]
    fn without_a_name_the_release_before_the_current_one_is_meant() {
        assert_eq!(chosen(&history(&["1", "2", "3"], "2"), None), Some(1));
        assert_eq!(chosen(&history(&["1", "2"], "1"), None), None);
        // What is deployed is not kept: the newest that is.
        assert_eq!(chosen(&history(&["1", "2"], "3"), None), Some(2));
        let mut damaged = history(&["1", "2", "3"], "3");
        let error = GenerationError::Damaged("cut".into());
        damaged.kept.insert(2, Err(error));
        assert_eq!(chosen(&damaged, None), Some(1));
        let none = choose(&ReleaseHistory::default(), "app", None).unwrap_err();
        assert!(format!("{none:?}").contains("it keeps none"));
    }

    #[test]
    fn the_only_release_of_a_vpu_needs_no_manifest() {
        let only = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            only_one(names.iter(), "vpu")
        };
        assert_eq!(only(&["app"]).unwrap(), "app");
        for names in [&[][..], &["app", "other"]] {
            let error = only(names).unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::UnknownRelease));
        }
        let error = unreadable("app", 3, "it is damaged");
        assert_eq!(error.code(), Some(ErrorCode::ReleaseUnreadable));
    }
}

//! Finds a release that a VPU keeps, with or without a manifest.

use std::collections::BTreeSet;

use super::{CommandError, ErrorCode, look, session::Connection, target};
use crate::{
    cli::{self, Global},
    generation::Header,
    host::{Host, HostError},
    manifest::{Loaded, names::ReleaseName},
    observe::{self, History, ReadError, ReleaseHistory},
    resolve::{Kept, KeptError},
    ui::Ui,
};

/// Connects to a VPU that something names; returns the manifest, too, if there is one.
pub(super) async fn connect(
    global: &Global,
    ui: Ui,
) -> Result<(Connection, Option<Loaded>), CommandError> {
    if let Some(version) = &global.release_version {
        return Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("--release-version {version}: what the VPU keeps has its version"),
            Some(format!("return to it with: o3r-deploy rollback {version}")),
        ));
    }
    look::is_named(global)?;
    let (loaded, _) = look::read(global)?;
    target::selected(global, loaded.as_ref())?;
    let connection = Connection::open(global, loaded.as_ref(), ui).await?;
    Ok((connection, loaded))
}

/// Which kept release to return to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Which<'a> {
    /// The release's name, if the command line has it.
    name: Option<&'a ReleaseName>,
    /// Its version or number; the one before the current one if none is named.
    release: Option<&'a str>,
}

impl<'a> Which<'a> {
    /// Returns the one of a command line.
    pub(super) fn of(args: &'a cli::Rollback) -> Self {
        Self {
            name: args.name.as_ref(),
            release: args.release.as_deref(),
        }
    }
}

/// Returns the name that the command line or else the manifest gives to a release.
pub(super) fn asked<'a>(
    name: Option<&'a ReleaseName>,
    loaded: Option<&'a Loaded>,
) -> Option<&'a ReleaseName> {
    name.or_else(|| Some(&loaded?.manifest.release.name))
}

/// Returns the name of the release: the one that is asked for, or the only one on the VPU.
///
/// # Errors
/// The VPU has no such release, or several, and none is asked for.
pub(super) fn name(
    releases: &History,
    asked: Option<&ReleaseName>,
    address: &str,
) -> Result<String, CommandError> {
    let names = releases.0.keys();
    let Some(name) = asked.map(ToString::to_string) else {
        return only_one(names, address);
    };
    if releases.0.contains_key(&name) || releases.0.is_empty() {
        return Ok(name);
    }
    let names: Vec<&str> = names.map(String::as_str).collect();
    Err(CommandError::message(
        ErrorCode::UnknownRelease,
        format!(
            "release {name} was never applied to {address}, which has: {}",
            names.join(", ")
        ),
        Some("correct `name` in [release], select another manifest with --file, or name one of these: \
              `rollback --name NAME`, `destroy NAME`".into()),
    ))
}

/// Fetches the release that `wanted` names (a version or a number), or the one before the current one.
pub(super) async fn fetch(
    connection: &Connection,
    loaded: Option<&Loaded>,
    which: Which<'_>,
    ui: Ui,
) -> Result<Kept, CommandError> {
    let releases = observe::history(&connection.host).await?;
    let asked = asked(which.name, loaded);
    let lost = lost_records(&connection.host, &releases, asked).await?;
    if !lost.is_empty() {
        return Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("{}: {}", connection.address, record_is_lost(&lost)),
            Some(REBUILD.into()),
        ));
    }
    let name = name(&releases, asked, &connection.address)?;
    let none = ReleaseHistory::default();
    let history = releases.0.get(&name).unwrap_or(&none);
    let number = choose(history, &name, which.release)?;
    ui.note(&target(history, &name, number));
    let read = observe::generation(&connection.host, &name, number).await;
    let (home, generation) = read.map_err(|error| match error {
        ReadError::Host(error) => error.into(),
        ReadError::Text(_) => unreadable(&name, number, &error.to_string()),
    })?;
    let fetched = Kept::fetch(&connection.host, &home, generation).await;
    fetched.map_err(|error| match error {
        KeptError::Host(error) => error.into(),
        error => unreadable(&name, number, &error.to_string()),
    })
}

/// Formats `returning to release 1.0.0 of hello (#2), last applied …`.
fn target(history: &ReleaseHistory, name: &str, number: u64) -> String {
    let header = history.kept.get(&number);
    let header = header.and_then(|header| header.as_ref().ok());
    let version = header.map_or("", |header| header.version.as_str());
    let version = if version.is_empty() {
        String::new()
    } else {
        format!("{version} ")
    };
    let applied = header.and_then(|header| history.applied(header));
    let at = applied.map_or(String::new(), |applied| {
        format!(", last applied {}", applied.at)
    });
    format!("returning to release {version}of {name} (#{number}){at}")
}

fn unreadable(name: &str, number: u64, reason: &str) -> CommandError {
    CommandError::message(
        ErrorCode::ReleaseUnreadable,
        format!("release #{number} of {name} cannot be used: {reason}; nothing was done"),
        Some("choose another one from `o3r-deploy history`, or apply its manifest".into()),
    )
}

/// What rebuilds the record of a release.
pub(super) const REBUILD: &str = "apply its manifest: that rebuilds the record from what the VPU has, and leaves the containers running \
                                  where docker-compose sees no difference; releases before it are not kept any more";

/// Returns the releases without a record, if the one that is asked for is among them, or if none is recorded.
pub(super) async fn lost_records<H: Host>(
    host: &H,
    recorded: &History,
    asked: Option<&ReleaseName>,
) -> Result<BTreeSet<String>, HostError> {
    let is_known = match asked {
        Some(asked) => recorded.0.contains_key(asked.as_str()),
        None => !recorded.0.is_empty(),
    };
    if is_known {
        return Ok(BTreeSet::new());
    }
    let mut lost = observe::without_record(host, recorded).await?;
    lost.retain(|name| asked.is_none_or(|asked| asked.as_str() == name));
    Ok(lost)
}

/// Says that releases have images on the VPU and no record.
pub(super) fn record_is_lost(releases: &BTreeSet<String>) -> String {
    let names: Vec<&str> = releases.iter().map(String::as_str).collect();
    format!(
        "docker has images of {}, and there is no record of it; a firmware update erases the home directory with the records",
        names.join(", ")
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
            format!("{address} has nothing that o3r-deploy deployed"),
            None,
        )),
        _ => Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!(
                "{address} has several releases ({}), and there is no manifest that names one",
                names.join(", ")
            ),
            Some("name one of them: `rollback --name NAME`, `destroy NAME`".into()),
        )),
    }
}

/// Chooses what to return to: the release of a version, the one of a number (`#3`), or the one before the current one.
fn choose(history: &ReleaseHistory, name: &str, wanted: Option<&str>) -> Result<u64, CommandError> {
    let Some(wanted) = wanted else {
        let before = history.before();
        return before.ok_or_else(|| {
            let what = format!("no release of {name} before the current one");
            unknown(history, &what)
        });
    };
    let has_version = |header: &&Header| header.version == wanted;
    let same: Vec<u64> = history
        .readable()
        .filter(|(_, header)| has_version(header))
        .map(|(number, _)| number)
        .collect();
    match same[..] {
        [number] => return Ok(number),
        [] => {}
        _ => return Err(ambiguous(history, wanted, &same)),
    }
    let number = wanted.strip_prefix('#').unwrap_or(wanted);
    let number = number
        .parse()
        .ok()
        .filter(|number| history.kept.contains_key(number));
    number.ok_or_else(|| unknown(history, &format!("no release `{wanted}` of {name}")))
}

/// Says that several kept releases have a version.
fn ambiguous(history: &ReleaseHistory, wanted: &str, numbers: &[u64]) -> CommandError {
    let lines = numbers.iter().map(|number| {
        let header = history
            .kept
            .get(number)
            .and_then(|header| header.as_ref().ok());
        let applied = header.and_then(|header| history.applied(header));
        let when = applied.map_or(String::new(), |applied| {
            format!(", applied {} by {}", applied.at, applied.by)
        });
        let now = if history.current() == Some(*number) {
            ", deployed"
        } else {
            ""
        };
        format!("  #{number}{when}{now}")
    });
    let lines: Vec<String> = lines.collect();
    let mut newest = numbers.iter().rev();
    let other = newest.find(|number| history.current() != Some(**number));
    let other = other.copied().unwrap_or_default();
    CommandError::message(
        ErrorCode::UnknownRelease,
        format!(
            "the VPU keeps several releases of version {wanted}:\n{}",
            lines.join("\n")
        ),
        Some(format!(
            "choose one by its number: o3r-deploy rollback '#{other}'"
        )),
    )
}

fn unknown(history: &ReleaseHistory, what: &str) -> CommandError {
    let kept = history.kept.iter().map(|(number, header)| {
        let now = if history.current() == Some(*number) {
            ", deployed"
        } else {
            ""
        };
        match header {
            Ok(header) if !header.version.is_empty() => {
                format!("{} (#{number}{now})", header.version)
            }
            _ => format!("#{number}{now}"),
        }
    });
    let kept: Vec<String> = kept.collect();
    let mut others = history.readable().map(|(number, _)| number).rev();
    let other = others.find(|number| history.current() != Some(*number));
    let keeps = if kept.is_empty() {
        "no release".to_owned()
    } else {
        kept.join(", ")
    };
    let help = match other {
        None => {
            "apply another release from its manifest; each apply that succeeds is kept, or says why not".to_owned()
        }
        Some(other) => format!(
            "name one of these, e.g. o3r-deploy rollback '#{other}', or apply the release from its manifest"
        ),
    };
    CommandError::message(
        ErrorCode::UnknownRelease,
        format!("the VPU keeps {what}; it keeps {keeps}"),
        Some(help),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, generation::GenerationError};

    /// A history of these kept versions, each with what distinguishes it, and of the ones that were applied.
    fn history(versions: &[(&str, u8)], applied: &[u8]) -> ReleaseHistory {
        let mut history = ReleaseHistory::default();
        for (number, (version, what)) in (1..).zip(versions) {
            let header = serde_json::json!({
                "format": 1, "release": "app", "version": version, "desired": Digest::of([*what]),
                "arch": "arm64", "api_port": 80, "directories": [], "volumes": [], "images": [],
                "transfers": [], "projects": [], "keep": 2,
            });
            let header = Header::read(&header.to_string());
            assert!(header.is_ok(), "{header:?}");
            history.kept.insert(number, header);
        }
        for what in applied {
            let recorded = serde_json::json!({
                "version": "", "desired": Digest::of([*what]), "projects": [],
                "at": format!("at-{what}"), "by": "me",
            });
            history
                .recorded
                .push(serde_json::from_value(recorded).unwrap());
        }
        history
    }

    fn chosen(history: &ReleaseHistory, wanted: Option<&str>) -> Option<u64> {
        choose(history, "app", wanted).ok()
    }

    #[test]
    fn a_release_is_chosen_by_version_or_number() {
        let all = history(
            &[("1.0", 1), ("1.1", 2), ("1.0", 3), ("3", 4)],
            &[1, 2, 3, 4, 3],
        );
        assert_eq!(chosen(&all, Some("1.1")), Some(2));
        assert_eq!(chosen(&all, Some("#1")), Some(1));
        assert_eq!(chosen(&all, Some("2")), Some(2));
        assert_eq!(chosen(&all, Some("3")), Some(4), "a version comes first");
        assert_eq!(chosen(&all, Some("#9")), None);
        assert_eq!(chosen(&all, Some("")), None);
        let error = choose(&all, "app", Some("2.0")).unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::UnknownRelease));
        let said = format!("{error:?}");
        assert!(said.contains("no release `2.0` of app"), "{said}");
        assert!(said.contains("1.1 (#2)"), "{said}");
        let error = format!("{:?}", choose(&all, "app", Some("1.0")).unwrap_err());
        assert!(error.contains("#1, applied at-1 by me"), "{error}");
        assert!(
            error.contains("#3, applied at-3 by me, deployed"),
            "{error}"
        );
        assert!(error.contains("rollback '#1'"), "{error}");
    }

    #[test]
    fn without_a_name_the_release_before_the_current_one_is_meant() {
        let all = [("1", 1), ("2", 2), ("3", 3)];
        for (applied, wanted) in [
            (&[1, 2][..], Some(1)),
            (&[1], None),
            (&[], None),
            (&[1, 2, 2], Some(1)),
            // Back to 1 by its manifest.
            (&[1, 2, 1], Some(2)),
            (&[1, 2, 1, 3], Some(1)),
            // What was deployed before is not kept.
            (&[1, 9, 3], Some(1)),
            (&[1, 9], Some(1)),
        ] {
            assert_eq!(chosen(&history(&all, applied), None), wanted, "{applied:?}");
        }
        // Back to 1 by a rollback: 2 was bad, and neither a second rollback nor one of the next release leads to it.
        let back = |applied: &[u8]| {
            let mut back = history(&all, applied);
            let third = serde_json::json!({
                "version": "1", "desired": Digest::of([1]), "manifest": "release 1 of app",
            });
            back.recorded[2] = serde_json::from_value(third).unwrap();
            chosen(&back, None)
        };
        assert_eq!(back(&[1, 2, 1]), None);
        assert_eq!(back(&[1, 2, 1, 3]), Some(1));
        let mut damaged = history(&all, &[1, 2, 3]);
        let error = GenerationError::Damaged("cut".into());
        damaged.kept.insert(2, Err(error));
        assert_eq!(chosen(&damaged, None), Some(1));
        let mut removed = history(&all, &[1, 2, 3]);
        removed.recorded[1].release.removed.insert("web".into());
        assert_eq!(chosen(&removed, None), Some(1), "2 only removes");
        let none = choose(&ReleaseHistory::default(), "app", None).unwrap_err();
        assert!(
            format!("{none:?}").contains("it keeps no release"),
            "{none:?}"
        );
    }

    #[test]
    fn a_failure_that_was_not_rolled_back_is_undone() {
        let mut left = history(&[("1", 1), ("2", 2)], &[1, 2]);
        let attempt = |result: &str| crate::observe::Attempt {
            result: result.into(),
            ..crate::observe::Attempt::default()
        };
        left.attempts = vec![attempt(crate::observe::NOT_ROLLED_BACK)];
        assert_eq!(chosen(&left, None), Some(2));
        left.attempts.push(attempt("failed, rolled back"));
        assert_eq!(chosen(&left, None), Some(1));
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

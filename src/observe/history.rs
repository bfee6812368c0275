//! Reads the history of a VPU: the releases that it keeps, and the applies that it knows of.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use o3r_core::facts::Release;
use serde::{Deserialize, Serialize};

use crate::{
    desired::ManifestRef,
    digest::Digest,
    generation::{Generation, GenerationError, Header},
    host::{Host, HostError, Stdin},
    nonce::nonce,
    plan::release_of,
    remote::{self, State},
    shell::Argv,
    status::FailedApply,
};

/// The history of a VPU, by the release's name.
#[derive(Debug, Default)]
pub(crate) struct History(pub(crate) BTreeMap<String, ReleaseHistory>);

/// The history of one release.
#[derive(Debug, Default)]
pub(crate) struct ReleaseHistory {
    /// What is kept, by number; the last one is the newest.
    pub(crate) kept: BTreeMap<u64, Result<Header, GenerationError>>,
    /// The successful applies, the last one at the end.
    pub(crate) recorded: Vec<Recorded>,
    /// The beginnings and ends of applies.
    pub(crate) attempts: Vec<Attempt>,
}

/// A successful apply, as the VPU recorded it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Recorded {
    /// What was recorded.
    #[serde(flatten)]
    pub(crate) release: Release,
    /// When, by the clock of the machine that applied.
    #[serde(default)]
    pub(crate) at: String,
    /// Who applied.
    #[serde(default)]
    pub(crate) by: String,
    /// The manifest, or what stands for it where the VPU keeps the release.
    #[serde(default)]
    manifest: String,
}

impl Recorded {
    /// Whether it was a return to a release that the VPU keeps.
    fn was_rollback(&self) -> bool {
        ManifestRef::is_path_of_kept(&self.manifest)
    }
}

/// The beginning of an apply, or its end; without an ID, the end of the one with the same time, as the VPU decided it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attempt {
    /// Connects the two lines of an apply.
    pub(crate) id: String,
    /// Whether it was a return to a release that the VPU keeps.
    pub(crate) rollback: bool,
    /// When it began, by the clock of the machine that applied.
    pub(crate) at: String,
    /// Who applied.
    pub(crate) by: String,
    /// The version that was to be deployed.
    pub(crate) version: String,
    /// How it ended; empty in the line of the beginning.
    pub(crate) result: String,
    /// The step that failed or was interrupted.
    pub(crate) step: String,
    /// How long it took.
    pub(crate) seconds: u64,
    /// Bytes that the plan sends.
    pub(crate) bytes: u64,
    /// The token by which a person confirmed or cancelled it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) token: String,
}

/// How an apply ended that left the decision to a person.
pub(crate) const UNCONFIRMED: &str = "unconfirmed";

/// How an apply ended whose failure was not rolled back.
pub(crate) const NOT_ROLLED_BACK: &str = "failed, not rolled back";

/// How an apply ended that was rolled back, but not all of it.
pub(crate) const IN_PART: &str = "failed, rolled back in part";

impl Attempt {
    /// Whether it left the VPU between two releases.
    pub(crate) fn is_left(&self) -> bool {
        self.result == NOT_ROLLED_BACK || self.result.ends_with("in part")
    }
}

impl History {
    /// Returns the applies that failed and were not rolled back, where the release was not applied since.
    pub(crate) fn failed(&self) -> Vec<FailedApply> {
        let last = self.0.iter();
        let last = last.filter_map(|(release, history)| Some((release, history.attempts.last()?)));
        let left = last.filter(|(_, attempt)| attempt.is_left());
        left.filter_map(|(release, attempt)| {
            Some(FailedApply {
                release: release.clone(),
                version: attempt.version.clone(),
                at: attempt.at.clone(),
                by: attempt.by.clone(),
                step: attempt.step.parse().ok()?,
            })
        })
        .collect()
    }
}

impl ReleaseHistory {
    /// Returns the generations that can be read, by number.
    pub(crate) fn readable(&self) -> impl DoubleEndedIterator<Item = (u64, &Header)> {
        let kept = self.kept.iter();
        kept.filter_map(|(number, header)| Some((*number, header.as_ref().ok()?)))
    }

    /// Returns the last successful apply of a generation.
    pub(crate) fn applied(&self, header: &Header) -> Option<&Recorded> {
        let mut recorded = self.recorded.iter().rev();
        recorded.find(|recorded| recorded.release.desired == header.desired)
    }

    /// Returns the number of the release to return to: the one that was deployed before the current one, where a rollback
    /// to an earlier release undoes those after it; the current one if a failed apply was not rolled back.
    pub(crate) fn before(&self) -> Option<u64> {
        let number = |desired: Digest| {
            let mut kept = self.readable().rev();
            kept.find(|(_, header)| header.desired == desired)
                .map(|(number, _)| number)
        };
        let mut deployed: Vec<&Release> = vec![];
        for recorded in &self.recorded {
            let release = &recorded.release;
            let same = |known: &&Release| known.desired == release.desired;
            match deployed.iter().position(same) {
                Some(place) if recorded.was_rollback() => deployed.truncate(place + 1),
                Some(place) => {
                    deployed.remove(place);
                    deployed.push(release);
                }
                None => deployed.push(release),
            }
        }
        let is_left = self.attempts.last().is_some_and(Attempt::is_left);
        if !is_left {
            deployed.pop();
        }
        // One that only removes is nothing to return to, unless it is named.
        let worth_it = deployed
            .into_iter()
            .rev()
            .filter(|release| !release.only_removes());
        worth_it.map(|release| release.desired).find_map(number)
    }

    /// Returns the version that waits for a confirmation, if one does.
    pub(crate) fn waiting(&self) -> Option<&str> {
        let last = self.attempts.last()?;
        (last.result == UNCONFIRMED).then_some(last.version.as_str())
    }

    /// Returns the number of the generation that is deployed, if it is kept.
    pub(crate) fn current(&self) -> Option<u64> {
        let desired = self.recorded.last()?.release.desired;
        let mut kept = self.kept.iter().rev();
        let is_it = |header: &Header| header.desired == desired;
        kept.find(|(_, header)| header.as_ref().is_ok_and(is_it))
            .map(|(number, _)| *number)
    }
}

/// Reads the history.
///
/// # Errors
/// The connection failed.
pub(crate) async fn history<H: Host>(host: &H) -> Result<History, HostError> {
    let word = nonce();
    let output = host.run(&remote::history(&word), Stdin::Empty).await?;
    Ok(read(&String::from_utf8_lossy(&output.stdout), &word))
}

/// How long docker may take to list its images.
const IMAGES: Duration = Duration::from_secs(10);

/// Returns the releases that have no record, by the images that docker holds for them: a firmware update erases the home
/// directory with the records, and not docker's images. Empty if docker does not tell.
///
/// # Errors
/// The connection failed.
pub(crate) async fn without_record<H: Host>(
    host: &H,
    history: &History,
) -> Result<BTreeSet<String>, HostError> {
    let names = Argv::new("docker").args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let listed = host.run(&names, Stdin::Empty);
    let Ok(listed) = tokio::time::timeout(IMAGES, listed).await else {
        return Ok(BTreeSet::new());
    };
    let listed = listed?.stdout;
    let listed = String::from_utf8_lossy(&listed);
    let releases = listed.lines().filter_map(release_of);
    let without = releases.filter(|release| !history.0.contains_key(*release));
    Ok(without.map(ToOwned::to_owned).collect())
}

fn read(text: &str, word: &str) -> History {
    let mut history = History::default();
    for line in text.lines() {
        let Some(line) = line.strip_prefix(word) else {
            continue;
        };
        let mut words = line.trim_start().splitn(3, ' ');
        let (Some(kind), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let release = history.0.entry(name.to_owned()).or_default();
        match kind {
            "generation" => {
                if let Some((number, header)) = rest.split_once(' ')
                    && let Ok(number) = number.parse()
                {
                    release.kept.insert(number, Header::read(header));
                }
            }
            // A line that a power cut damaged tells nothing.
            "recorded" => release.recorded.extend(serde_json::from_str(rest).ok()),
            "attempt" => release.attempts.extend(serde_json::from_str(rest).ok()),
            _ => {}
        }
    }
    history
}

/// Why a kept release cannot be read from the VPU.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Host(#[from] HostError),
    /// The text is missing or not one.
    #[error("the VPU's text of it cannot be read: {0}")]
    Text(String),
}

/// Returns the home directory on the VPU, and the text of a kept release.
///
/// # Errors
/// The connection failed, or there is no such text.
pub(crate) async fn generation<H: Host>(
    host: &H,
    release: &str,
    number: u64,
) -> Result<(String, Generation), ReadError> {
    let word = nonce();
    let command = remote::show_generation(&word, release, number);
    let output = host.run(&command, Stdin::Empty).await?;
    if !output.success() {
        return Err(ReadError::Text(output.tail(3)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let Some((home, text)) = shown(&text, &word) else {
        return Err(ReadError::Text("the shell printed something else".into()));
    };
    let generation = Generation::read(text).map_err(|error| ReadError::Text(error.to_string()))?;
    Ok((home.to_owned(), generation))
}

/// Returns the home directory and the text that follow the word.
pub(super) fn shown<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = text.split_once(&format!("\n{word} "))?;
    rest.split_once('\n')
}

/// Returns which of these contents the VPU keeps whole.
///
/// # Errors
/// The connection failed.
pub(crate) async fn kept<H: Host>(
    host: &H,
    home: &str,
    wanted: impl IntoIterator<Item = Digest>,
) -> Result<BTreeSet<Digest>, HostError> {
    let state = State { home };
    let wanted = wanted.into_iter();
    let files = wanted.map(|digest| (digest, state.stored(&digest)));
    let whole = whole(host, files).await?;
    Ok(whole.into_iter().map(|(digest, _)| digest).collect())
}

/// Returns which of these files have that content, by path.
///
/// # Errors
/// The connection failed.
pub(crate) async fn whole<H: Host>(
    host: &H,
    files: impl IntoIterator<Item = (Digest, String)>,
) -> Result<BTreeSet<(Digest, String)>, HostError> {
    let mut list = String::new();
    for (digest, path) in files {
        let _ = writeln!(list, "{} {path}", digest.hex());
    }
    if list.is_empty() {
        return Ok([].into());
    }
    let word = nonce();
    let command = remote::whole_files(&word);
    let output = host.run(&command, Stdin::Bytes(list.into_bytes())).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(&word)?.strip_prefix(' '));
    let files = lines.filter_map(|line| {
        let (digest, path) = line.split_once(' ')?;
        Some((Digest::from_hex(digest)?, path.to_owned()))
    });
    Ok(files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_history_are_told_from_those_of_a_login_shell() {
        let header = r#"{"format":7}"#;
        let desired = Digest::of(b"a");
        let recorded = format!(r#"{{"version":"1","desired":"{desired}","at":"then","by":"me"}}"#);
        let text = format!(
            "Welcome!\nw generation app 3 {header}\nw recorded app {recorded}\nw recorded app {{\n\
             w attempt app {{\"id\":\"x\",\"result\":\"done\"}}\nw generation app x {header}\n"
        );
        let History(history) = read(&text, "w");
        let app = &history["app"];
        assert_eq!(app.kept[&3], Err(GenerationError::Format(7)));
        assert_eq!((app.recorded.len(), app.attempts.len()), (1, 1));
        assert_eq!(
            (app.recorded[0].at.as_str(), app.attempts[0].result.as_str()),
            ("then", "done")
        );
        assert_eq!(app.current(), None, "it is not kept");
    }
}

//! `history`: shows the releases that a VPU keeps, and the applies. Read-only.

use serde_json::json;

use super::{CommandError, Exit, kept};
use crate::{
    cli::{self, Global, TextOrJson},
    observe::{self, Attempt, Recorded, ReleaseHistory},
    render::{self, KeptRelease, ShownRelease},
    ui::Ui,
};

/// How many applies are shown as text.
const SHOWN: usize = 15;

pub(super) async fn run(
    global: &Global,
    args: &cli::History,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let (connection, loaded) = kept::connect(global, ui).await?;
    let history = observe::history(&connection.host).await?;
    let asked = kept::asked(args.name.as_ref(), loaded.as_ref());
    let lost = kept::lost_records(&connection.host, &history, asked).await?;
    let name = match asked {
        Some(asked) if lost.is_empty() => {
            Some(kept::name(&history, Some(asked), &connection.address)?)
        }
        asked => asked.map(ToString::to_string),
    };
    let releases = history.0.iter();
    let wanted = releases.filter(|(release, _)| name.as_ref().is_none_or(|name| name == *release));
    let shown: Vec<ShownRelease> = wanted
        .map(|(release, history)| ShownRelease {
            release: release.clone(),
            kept: kept_releases(history),
            applies: applies(history),
        })
        .collect();
    match args.format {
        TextOrJson::Json => {
            let document = json!({
                "format": 1, "vpu": connection.address, "releases": shown, "without_record": lost,
            });
            ui.data(&render::document(&document));
        }
        TextOrJson::Text => {
            let text = if lost.is_empty() {
                render::history_text(&connection.address, &shown, SHOWN, ui.plan_style())
            } else {
                format!(
                    "{}: {}\n{}\n",
                    connection.address,
                    kept::record_is_lost(&lost),
                    kept::REBUILD
                )
            };
            ui.data(&text);
        }
    }
    Ok(Exit::Done)
}

fn kept_releases(history: &ReleaseHistory) -> Vec<KeptRelease> {
    let current = history.current();
    // `rollback` is refused meanwhile: `cancel` returns to the release before.
    let next = history.before().filter(|_| history.waiting().is_none());
    let kept = history.kept.iter().rev();
    kept.map(|(number, header)| {
        let header = header.as_ref();
        let applied = header.ok().and_then(|header| history.applied(header));
        KeptRelease {
            number: *number,
            at: applied
                .map(|applied| applied.at.clone())
                .unwrap_or_default(),
            removes: applied.map_or_else(Vec::new, removes),
            version: header
                .map(|header| header.version.clone())
                .unwrap_or_default(),
            current: current == Some(*number),
            next: next == Some(*number),
            unreadable: header.err().map(ToString::to_string),
        }
    })
    .collect()
}

/// Returns the projects that a release removed, if it has no other.
fn removes(recorded: &Recorded) -> Vec<String> {
    let release = &recorded.release;
    let removed = release.removed.iter().filter(|_| release.only_removes());
    removed.cloned().collect()
}

/// Returns the applies, the last one first: the end of each where it is known, and the successful ones of versions that
/// noted no beginning.
fn applies(history: &ReleaseHistory) -> Vec<Attempt> {
    let mut applies: Vec<Attempt> = vec![];
    for attempt in &history.attempts {
        let is_same = |known: &&mut Attempt| {
            known.id == attempt.id || attempt.id.is_empty() && known.at == attempt.at
        };
        match applies.iter_mut().rev().find(is_same) {
            Some(begun) if attempt.id.is_empty() => {
                begun.result.clone_from(&attempt.result);
                begun.seconds = 0;
            }
            Some(begun) => begun.clone_from(attempt),
            None => applies.push(attempt.clone()),
        }
    }
    let first = applies.first().map(|first| first.at.clone());
    let older = history.recorded.iter().filter(|recorded| {
        let first = first.as_ref();
        first.is_none_or(|first| recorded.at < *first)
    });
    let older = older.map(|recorded| Attempt {
        at: recorded.at.clone(),
        by: recorded.by.clone(),
        version: recorded.release.version.clone(),
        result: "done".into(),
        ..Attempt::default()
    });
    let mut all: Vec<Attempt> = older.chain(applies).collect();
    for attempt in &mut all {
        if attempt.result.is_empty() {
            attempt.result = "not finished".into();
        }
    }
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn attempt(id: &str, at: &str, result: &str) -> Attempt {
        Attempt {
            id: id.into(),
            at: at.into(),
            result: result.into(),
            ..Attempt::default()
        }
    }

    #[test]
    fn an_apply_without_an_end_is_not_finished_and_older_records_count() {
        let recorded = |at: &str| -> Recorded {
            let desired = Digest::of(b"");
            let line = json!({ "version": "1", "desired": desired, "at": at, "by": "me" });
            serde_json::from_value(line).unwrap()
        };
        let history = ReleaseHistory {
            recorded: vec![recorded("2026-01"), recorded("2026-02")],
            attempts: vec![
                attempt("a", "2026-02", ""),
                attempt("a", "2026-02", "done"),
                attempt("b", "2026-03", ""),
                attempt("c", "2026-04", ""),
                attempt("", "2026-04", "connection lost, rolled back by the VPU"),
            ],
            ..ReleaseHistory::default()
        };
        let shown: Vec<(String, String)> = applies(&history)
            .into_iter()
            .map(|apply| (apply.at, apply.result))
            .collect();
        let shown: Vec<(&str, &str)> = shown
            .iter()
            .map(|(at, result)| (at.as_str(), result.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("2026-04", "connection lost, rolled back by the VPU"),
                ("2026-03", "not finished"),
                ("2026-02", "done"),
                ("2026-01", "done")
            ]
        );
    }
}

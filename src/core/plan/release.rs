//! Plans the record of the release, the last step of every apply that changes what is deployed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    Action, Address, Cause, Command, NoteCode, Payload, Phase, ResourceKind, autostart,
    builder::{Builder, Draft},
    compose,
    image::is_ours,
};
use crate::{
    desired::{Desired, Orphans, Project, ProjectState},
    facts::{self, Keep, Left, Made, Records},
    generation, remote, units,
};

/// Plans the record; returns whether it did. Its step also removes the directories of `staging`. `left` is the data that
/// stays.
pub(super) fn plan(builder: &mut Builder<'_>, staging: &BTreeSet<String>, left: Left) -> bool {
    let Some(records) = builder.facts.records.known() else {
        return false;
    };
    let desired = builder.desired;
    let is_absent = |project: &&Project| project.state == ProjectState::Absent;
    // A rollback also removes what the release never had.
    let removed = desired.projects.iter().filter(is_absent);
    let removed = removed.filter(|project| !project.undeclared);
    let present = desired.projects.iter().filter(|p| !is_absent(p));
    let made: BTreeMap<String, Made> = present
        .map(|project| {
            let made = Made {
                running: project.state == ProjectState::Running,
                inputs: compose::inputs(builder, project),
            };
            (project.name.clone(), made)
        })
        .collect();
    let recorded = records.releases.get(desired.release.name.as_str());
    let made = with_kept(builder, made, records, recorded);
    let projects: BTreeSet<String> = made.keys().cloned().collect();
    let removed: BTreeSet<String> = removed.map(|project| project.name.clone()).collect();
    let lost = lost(builder, records, projects.union(&removed));
    let wanted = facts::Release {
        version: desired.release.version.clone(),
        desired: desired.digest(),
        projects,
        autostart: autostart::made(desired, recorded),
        removed,
        leaving: leaving(builder),
        left,
        adopted_images: adopted_images(desired, recorded),
        keep: Some(Keep {
            releases: desired.keep_releases,
            bytes: desired.keep_size,
        }),
        made,
    };
    let cause = cause(recorded, &wanted, desired.destroys);
    let cause = cause.filter(|_| !desired.destroys || recorded.is_some());
    let Some(cause) = cause else {
        builder.unchanged();
        return false;
    };
    if builder.is_blocked() && !builder.has_steps() {
        return false; // no other step is planned, so there is nothing to record
    }
    let action = if recorded.is_some() {
        Action::Update
    } else {
        Action::Create
    };
    let payload = Payload::inline(json_line(&wanted));
    let compose = builder
        .facts
        .compose
        .known()
        .map(String::as_str)
        .unwrap_or_default();
    let history = builder.state().history(&desired.release.name);
    let address = Address::new(ResourceKind::Release, &desired.release.name);
    let draft = Draft::new(address, action, Phase::Settle, cause);
    let draft = draft.source(desired.release.source.as_ref());
    let state = builder.state();
    let kept = desired.projects.iter();
    let kept = kept.map(|project| state.kept_directory(&project.name));
    let kept: Vec<_> = kept.chain(staging.iter().cloned()).collect();
    let recorded = remote::recorded(&history, kept.clone());
    // After a rollback, what was kept for it is of no more use either.
    let forget = (!kept.is_empty()).then(|| Command::new(remote::restored(kept.clone())));
    let recording = remote::Recording {
        compose_version: compose,
        projects: wanted.projects.iter().map(String::as_str).collect(),
        keep: desired.keep_releases,
        keep_size: desired.keep_size,
        stamp: stamp(builder),
    };
    let record = remote::record_release(&history, recording, kept);
    // First: a release that is recorded is also kept.
    let text = generation::document(desired, builder.facts);
    let keep = text.map(|text| {
        let command = remote::keep_generation(&desired.release.name);
        Command::with(command, Payload::inline(text))
    });
    let taken_over = |(other, projects): (&String, _)| taken(builder, other, Some(projects));
    let take: Vec<Command> = lost.iter().map(taken_over).collect();
    let give_back = lost
        .keys()
        .map(|other| taken(builder, other, records.taken.get(other)));
    let give_back: Vec<Command> = give_back.collect();
    let draft = draft.run(keep).run(take).run([
        // A record command that failed or was killed after it
        // wrote the record has still recorded the release.
        Command::with(record, payload.clone()).or_else(Command::with(recorded, payload)),
    ]);
    let restore = if builder.has_steps_in(Phase::Switch) {
        compose::restore_unchanged(builder)
    } else {
        vec![] // no step of this plan is rolled back if it fails
    };
    let undo = restore.into_iter().chain(give_back).chain(forget);
    builder.step(draft.undo(undo));
    // Recording removes the names of images that no kept release has.
    let is_image = |address: &Address| address.kind() == ResourceKind::Image;
    builder.unmanaged.retain(|address| !is_image(address));
    true
}

/// Returns the images that no release of this name brought.
fn adopted_images(desired: &Desired, recorded: Option<&facts::Release>) -> BTreeSet<String> {
    let before = recorded
        .into_iter()
        .flat_map(|release| &release.adopted_images);
    let found = desired
        .images
        .iter()
        .filter(|image| image.content.is_none());
    before
        .chain(found.map(|image| &image.name))
        .cloned()
        .collect()
}

/// Plans that the VPU forgets a release that is destroyed: its record, what is kept of it and its images.
pub(super) fn forget(builder: &mut Builder<'_>) {
    let release = &builder.desired.release;
    let Some(recorded) = builder.recorded().filter(|_| builder.desired.destroys) else {
        return;
    };
    let images = builder.facts.images.known();
    let images = images.into_iter().flat_map(BTreeMap::values);
    let held = images.filter(|image| image.tags.iter().any(|tag| release.staged(tag)));
    let names = held.flat_map(|image| &image.tags);
    let names: BTreeSet<&str> = names
        .map(String::as_str)
        .filter(|name| !is_ours(name) && !recorded.adopted_images.contains(*name))
        .collect();
    let names: Vec<&str> = names.into_iter().collect();
    let with = (!names.is_empty()).then(|| {
        format!(
            ", and images that no container and no other release uses, of: {}",
            names.join(", ")
        )
    });
    let address = Address::new(ResourceKind::History, &release.name);
    let mut draft = Draft::new(address, Action::Remove, Phase::Settle, Cause::Undeclared);
    let what = "its record, and all its releases that the VPU keeps";
    draft.detail = Some(format!("{what}{}", with.unwrap_or_default()));
    let command = remote::forget_release(&release.name, names);
    builder.step(draft.run([Command::new(command)]));
}

/// Returns why the release has to be recorded; `None` if the record says the same.
fn cause(
    recorded: Option<&facts::Release>,
    wanted: &facts::Release,
    destroys: bool,
) -> Option<Cause> {
    let is_same = |recorded: &facts::Release| {
        let mut as_wanted = recorded.clone();
        // Older versions recorded none: the next apply that changes something does.
        as_wanted.keep = recorded.keep.or(wanted.keep);
        if wanted.leaving.is_empty() {
            as_wanted.leaving.clear(); // they are gone
        }
        as_wanted.left = wanted.left.clone(); // it differs where data was removed meanwhile
        as_wanted.adopted_images.clone_from(&wanted.adopted_images); // older versions recorded none
        as_wanted == *wanted
    };
    Some(match recorded {
        Some(recorded) if is_same(recorded) => return None,
        None => Cause::Missing,
        Some(recorded) if destroys => {
            Cause::differs("declared", recorded.desired.short(), "nothing")
        }
        Some(recorded) if recorded.version != wanted.version => {
            let named = |version: &str| match version {
                "" => "none".to_owned(),
                version => version.to_owned(),
            };
            Cause::differs("version", named(&recorded.version), named(&wanted.version))
        }
        Some(recorded) if recorded.desired != wanted.desired => {
            Cause::differs("declared", recorded.desired.short(), wanted.desired.short())
        }
        Some(recorded) if recorded.keep.is_some() && recorded.keep != wanted.keep => {
            Cause::differs("kept for rollback", keeps(recorded), keeps(wanted))
        }
        Some(recorded) => made_differently(recorded, wanted),
    })
}

/// Formats `2 releases, 60.0 MiB`.
fn keeps(release: &facts::Release) -> String {
    let Some(Keep { releases, bytes }) = release.keep else {
        return "unknown".to_owned();
    };
    let plural = if releases == 1 { "" } else { "s" };
    let bytes = bytes.map(|bytes| format!(", {}", units::bytes(bytes)));
    format!("{releases} release{plural}{}", bytes.unwrap_or_default())
}

/// Returns where the manifest wants the release to be noted, and the note.
fn stamp(builder: &Builder<'_>) -> Option<(String, String)> {
    #[derive(Serialize)]
    struct Note<'a> {
        release: &'a str,
        version: &'a str,
    }
    let release = &builder.desired.release;
    let note = Note {
        release: &release.name,
        version: &release.version,
    };
    let directory = builder.desired.stamp.as_ref()?;
    let directory = directory.resolve(&builder.facts.system.home);
    // Two strings always serialise.
    Some((directory, serde_json::to_string(&note).unwrap_or_default()))
}

/// Returns a difference in what the same declaration resolved to, such as an image without a source
/// that has another digest now.
fn made_differently(recorded: &facts::Release, wanted: &facts::Release) -> Cause {
    for (project, made) in &wanted.made {
        let old = recorded.made.get(project);
        for (input, value) in &made.inputs {
            let was = old.and_then(|old| old.inputs.get(input));
            if was != Some(value) {
                let was = was.map(String::as_str).unwrap_or_default();
                let attribute = format!("{project} made from {input}");
                return Cause::differs(attribute, compose::brief(was), compose::brief(value));
            }
        }
    }
    Cause::differs("record", "incomplete", "complete")
}

/// Returns the projects that this plan removes because they are no longer declared: their containers go after the record.
fn leaving(builder: &Builder<'_>) -> BTreeSet<String> {
    let projects = builder.desired.projects.iter();
    let undeclared = projects.filter(|project| project.undeclared);
    let leaving = undeclared.filter(|one| builder.changes(&compose::address(&one.name)));
    leaving.map(|project| project.name.clone()).collect()
}

/// Adds the projects that the release owns and no longer declares where they stay: it owns them still.
fn with_kept(
    builder: &mut Builder<'_>,
    mut made: BTreeMap<String, Made>,
    records: &Records,
    recorded: Option<&facts::Release>,
) -> BTreeMap<String, Made> {
    if builder.desired.orphans == Orphans::Remove {
        return made;
    }
    let own = builder.desired.release.name.as_str();
    let applied = &builder.readings.applied;
    for project in recorded.iter().flat_map(|release| &release.projects) {
        let mut declared = builder.desired.projects.iter();
        let is_declared = declared.any(|desired| desired.name == *project);
        let is_ours = facts::owner(builder.facts, applied, project) == Some(own);
        if !is_declared && is_ours && records.started.contains_key(project) {
            let before = recorded.and_then(|recorded| recorded.made.get(project));
            made.insert(project.clone(), before.cloned().unwrap_or_default());
            let address = Address::new(ResourceKind::Compose, project);
            builder.unmanaged.insert(address);
        }
    }
    made
}

/// Returns the projects that other releases have lost, or lose to this one, by release; none unless it may take them.
fn lost<'a>(
    builder: &mut Builder<'_>,
    records: &Records,
    projects: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let desired = builder.desired;
    let own = &desired.release.name;
    let mut lost: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for project in projects.filter(|_| desired.permits.take_over) {
        let applied = &builder.readings.applied;
        let owner = facts::owner(builder.facts, applied, project);
        let Some(other) = owner.filter(|owner| own != owner) else {
            continue;
        };
        let text = format!("compose.{project} moves from release {other} to release {own}");
        let before = records.taken.get(other).into_iter().flatten().cloned();
        let goes = lost.entry(other.to_owned()).or_default();
        goes.extend(before.chain([project.clone()]));
        builder.note(NoteCode::ProjectTakenOver, text);
    }
    lost
}

/// Returns the command that notes what another release has lost.
fn taken(builder: &Builder<'_>, release: &str, projects: Option<&BTreeSet<String>>) -> Command {
    let mut lines = String::new();
    for project in projects.into_iter().flatten() {
        lines.push_str(project);
        lines.push('\n');
    }
    let command = remote::take_over(&builder.state().taken(release));
    Command::with(command, Payload::inline(lines))
}

fn json_line(value: &impl Serialize) -> String {
    // Strings and sets of strings always serialise.
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        desired::{Image, ImageContent},
        digest::Digest,
        facts::{Input, Probed},
        offers::Offers,
        testing,
    };

    /// Returns the cause of recording the release over this
    /// one; `None` if it is not recorded again.
    fn cause_of(change: impl FnOnce(&mut facts::Release)) -> Option<Cause> {
        let desired = testing::desired(vec![testing::project("web", [])]);
        let made = Made {
            running: true,
            inputs: [].into(),
        };
        let mut recorded = facts::Release {
            version: "1".into(),
            desired: desired.digest(),
            projects: ["web".to_owned()].into(),
            autostart: [].into(),
            removed: [].into(),
            leaving: [].into(),
            left: facts::Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: [("web".to_owned(), made)].into(),
        };
        change(&mut recorded);
        let mut observed = testing::observed();
        observed.facts.records = Probed::Known(Records {
            releases: [("app".to_owned(), recorded)].into(),
            ..Records::default()
        });
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        let is_planned = plan(&mut builder, &BTreeSet::new(), Left::default());
        let mut steps = builder.finish("host").steps;
        assert_eq!(steps.len(), usize::from(is_planned));
        steps.pop().map(|step| step.cause)
    }

    #[test]
    fn a_release_is_recorded_if_the_record_differs() {
        assert_eq!(cause_of(|_| {}), None);
        let keep = |releases, bytes| Some(Keep { releases, bytes });
        assert_eq!(cause_of(|recorded| recorded.keep = keep(2, None)), None);
        let more = cause_of(|recorded| recorded.keep = keep(1, Some(60 << 20)));
        let differs = Cause::differs("kept for rollback", "1 release, 60.0 MiB", "2 releases");
        assert_eq!(more, Some(differs));
        let older = cause_of(|recorded| recorded.version = "0".into());
        assert_eq!(older, Some(Cause::differs("version", "0", "1")));
        let other = Digest::of(b"other");
        let Some(Cause::Differs {
            attribute, found, ..
        }) = cause_of(|recorded| recorded.desired = other)
        else {
            panic!("another declaration is no reason")
        };
        assert_eq!((attribute.as_str(), found), ("declared", other.short()));
        let incomplete = Cause::differs("record", "incomplete", "complete");
        assert_eq!(cause_of(|old| old.made.clear()), Some(incomplete));
    }

    #[test]
    fn a_changed_input_is_the_cause() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let image = || Input::Image("web:1".into());
        let release = |inputs: Vec<(Input, String)>| {
            let made = Made {
                running: true,
                inputs: inputs.into_iter().collect(),
            };
            facts::Release {
                version: "1".into(),
                desired: Digest::of(b""),
                projects: [].into(),
                autostart: [].into(),
                removed: [].into(),
                leaving: [].into(),
                left: facts::Left::default(),
                adopted_images: [].into(),
                keep: None,
                made: [("web".to_owned(), made)].into(),
            }
        };
        let file = || (Input::File("a".into()), new.to_string());
        let wanted = release(vec![file(), (image(), new.to_string())]);
        let differs = |was: &str| {
            let attribute = format!("web made from {}", image());
            Cause::differs(attribute, was, new.short())
        };
        let recorded = release(vec![file(), (image(), old.to_string())]);
        assert_eq!(made_differently(&recorded, &wanted), differs(&old.short()));
        let without = release(vec![file()]);
        assert_eq!(made_differently(&without, &wanted), differs("nothing"));
    }

    /// A record of the release with these projects, which were all started.
    fn recorded(projects: &[&str]) -> Records {
        let projects = || projects.iter().map(|project| (*project).to_owned());
        let release = facts::Release {
            version: "0".into(),
            desired: Digest::of(b""),
            projects: projects().collect(),
            autostart: [].into(),
            removed: [].into(),
            leaving: [].into(),
            left: facts::Left::default(),
            adopted_images: [].into(),
            keep: None,
            made: [].into(),
        };
        let started = projects().map(|project| (project, facts::Started::default()));
        Records {
            releases: [("app".to_owned(), release)].into(),
            started: started.collect(),
            ..Records::default()
        }
    }

    #[test]
    fn a_project_that_is_declared_no_more_stays_listed_and_owned_where_orphans_stay() {
        let mut desired = testing::desired(vec![testing::project("web", [])]);
        desired.orphans = Orphans::Keep;
        let mut observed = testing::observed();
        let mut records = recorded(&["web", "gone", "removed"]);
        records.started.remove("removed");
        observed.facts.records = Probed::Known(records);
        let offers = Offers::default();
        let mut builder = Builder::new(&desired, &observed, &offers);
        plan(&mut builder, &BTreeSet::new(), Left::default());
        let gone = Address::new(ResourceKind::Compose, "gone");
        let plan = builder.finish("host");
        assert_eq!(plan.unmanaged, [gone]);
        let record = plan.steps.last().unwrap().actions.last().unwrap();
        let record = format!("{:?}", record.stdin).replace('\\', "");
        assert!(record.contains(r#""projects":["gone","web"]"#), "{record}");
    }

    #[test]
    fn a_destroyed_release_leaves_images_that_it_found() {
        let image = |name: &str, content: bool| Image {
            name: name.to_owned(),
            content: content.then(|| ImageContent {
                config_digest: Digest::of(name),
                layers: vec![],
                staging_tag: String::new(),
            }),
            found: None,
            source: None,
        };
        let mut desired = testing::desired(vec![]);
        desired.images = vec![image("app:1", true), image("base:1", false)];
        let mut release = testing::release("web", Made::default());
        release.adopted_images = ["older:1".to_owned()].into();
        let all = adopted_images(&desired, Some(&release));
        assert!(all.iter().eq(["base:1", "older:1"]), "{all:?}");
        release.adopted_images = all;
        let mut observed = testing::observed();
        let found = facts::Image {
            tags: ["o3r-deploy/app:1", "app:1", "base:1"]
                .map(ToOwned::to_owned)
                .into(),
            layers: vec![],
            arch: "arm64".into(),
            os: "linux".to_owned(),
        };
        observed.facts.images = Probed::Known([("id".to_owned(), found)].into());
        observed.facts.records = Probed::Known(Records {
            releases: [("app".to_owned(), release)].into(),
            ..Records::default()
        });
        let nothing = Desired::destruction(desired.release, desired.guards);
        let offers = Offers::default();
        let mut builder = Builder::new(&nothing, &observed, &offers);
        forget(&mut builder);
        let step = builder.finish("host").steps.remove(0);
        assert_eq!(step.address, "history.app");
        let words = step.actions[0].argv.words().to_vec();
        assert!(
            words.ends_with(&["app".to_owned(), "app:1".to_owned()]),
            "{words:?}"
        );
    }

    #[test]
    fn a_release_is_noted_where_the_manifest_says() {
        let mut desired = testing::desired(vec![]);
        let observed = testing::observed();
        let offers = Offers::default();
        let note = |desired: &Desired| stamp(&Builder::new(desired, &observed, &offers));
        assert_eq!(note(&desired), None);
        desired.stamp = Some("~/share/deployments".parse().unwrap());
        let (directory, note) = note(&desired).unwrap();
        assert_eq!(directory, "/home/oem/share/deployments");
        assert_eq!(note, r#"{"release":"app","version":"1"}"#);
    }

    #[test]
    fn a_record_that_fails_restores_projects_only_where_the_plan_switches_something() {
        let desired = testing::desired(vec![testing::project("web", [])]);
        let mut observed = testing::observed();
        let mut records = recorded(&[]);
        // An apply that was cut off began the project.
        let file = crate::desired::COMPOSE_FILE.to_owned();
        records.added = [("web".to_owned(), [file].into())].into();
        observed.facts.records = Probed::Known(records);
        let offers = Offers::default();
        let undone = |phase: Phase| {
            let mut builder = Builder::new(&desired, &observed, &offers);
            let address = Address::new(ResourceKind::Volume, "share");
            builder.step(Draft::new(address, Action::Create, phase, Cause::Missing));
            plan(&mut builder, &BTreeSet::new(), Left::default());
            let removed = remote::remove_project("web", &builder.state().started("web"));
            let mut steps = builder.finish("host").steps;
            let record = steps.pop().unwrap();
            assert!(record.is_record());
            record.undo.contains(&Command::new(removed))
        };
        assert!(undone(Phase::Switch));
        assert!(!undone(Phase::Stage));
    }
}

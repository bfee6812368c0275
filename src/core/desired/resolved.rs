//! Takes what docker-compose on the VPU makes of projects in place of what was read of their files here.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;

use super::{Desired, Project, ProjectState, Service, Transfer, declared, services::services};
use crate::{
    compose::{ComposeFile, Release},
    digest::Digest,
    facts::{Answer, Facts, PathFact, Probed, Question, QuestionFile, Resolved},
};

/// Changes with what is made of an answer, so that answers of other versions are asked for again.
const FORMAT: u32 = 2;

/// Most bytes of a file that docker-compose may read though nothing here says that it does.
const SMALL: u64 = 256 << 10;

impl Desired {
    /// Environment files outside of projects' directories, as written.
    pub(super) fn environment_files(&self) -> BTreeSet<String> {
        let services = self.projects.iter().flat_map(|p| p.services.values());
        services.flat_map(|s| s.env_files.iter().cloned()).collect()
    }

    /// What to ask docker-compose on the VPU; nothing where there is none.
    pub fn questions(&self, facts: &Facts) -> Vec<Question> {
        let Some(version) = facts.compose.known() else {
            return vec![];
        };
        let projects = self.projects.iter();
        let there = projects.filter(|project| project.state != ProjectState::Absent);
        there
            .map(|project| self.question(project, version, facts))
            .collect()
    }

    fn question(&self, project: &Project, version: &str, facts: &Facts) -> Question {
        #[derive(Serialize)]
        struct Asked<'a> {
            format: u32,
            project: &'a str,
            version: &'a str,
            uid: u32,
            login: &'a Option<Digest>,
            environment: &'a BTreeMap<String, String>,
            files: Vec<(&'a str, Digest)>,
            environment_files: BTreeMap<&'a str, Option<&'a Probed<PathFact>>>,
            apart: &'a BTreeSet<String>,
            awaited: &'a BTreeSet<String>,
        }
        let home = &facts.system.home;
        let mut awaited = BTreeSet::new();
        let mut apart = BTreeSet::new();
        let mut environment_files = BTreeMap::new();
        for (name, service) in &project.services {
            for path in &service.env_files {
                environment_files.insert(path.as_str(), facts.environment_files.get(path));
                let absolute = path.replacen('~', home, usize::from(path.starts_with('~')));
                if self.puts(&absolute, home) {
                    awaited.insert(absolute);
                    apart.insert(name.clone());
                }
            }
        }
        let files: Vec<QuestionFile> = project
            .files
            .iter()
            .filter(|file| project.read.contains(&file.relative) || is_small_text(file))
            .map(|file| QuestionFile {
                relative: file.relative.clone(),
                local: file.local.clone(),
                sha256: file.sha256,
            })
            .collect();
        let asked = Asked {
            format: FORMAT,
            project: &project.name,
            version,
            uid: facts.system.uid,
            login: &facts.system.environment_sha256,
            environment: &facts.system.environment,
            files: files
                .iter()
                .map(|file| (file.relative.as_str(), file.sha256))
                .collect(),
            environment_files,
            apart: &apart,
            awaited: &awaited,
        };
        let is_known = |fact: Option<&Probed<PathFact>>| match fact.and_then(Probed::known) {
            Some(PathFact::File { sha256, .. }) => sha256.is_some(),
            Some(PathFact::Missing) => true,
            _ => false,
        };
        Question {
            project: project.name.clone(),
            is_complete: facts.system.environment_sha256.is_some()
                && asked.environment_files.values().all(|fact| is_known(*fact)),
            // Strings, digests and maps of them always serialise.
            asked: Digest::of(serde_json::to_vec(&asked).unwrap_or_default()),
            files,
            awaited,
            apart,
        }
    }

    /// Whether a transfer, or a project's file, goes to an absolute path or above it.
    fn puts(&self, path: &str, home: &str) -> bool {
        let by_transfer = |transfer: &Transfer| {
            let target = transfer.target.resolve(home);
            let target = target.trim_end_matches('/');
            path.strip_prefix(target)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let by_project = |project: &Project| {
            let mut files = project.files.iter();
            files.any(|file| project.path(file) == path)
        };
        self.transfers.iter().any(by_transfer) || self.projects.iter().any(by_project)
    }

    /// With the services as docker-compose on the VPU resolves them, where it was asked about just these files.
    pub fn as_resolved(&self, facts: &Facts) -> Cow<'_, Self> {
        let answers: BTreeMap<String, &ComposeFile> = self
            .questions(facts)
            .into_iter()
            .filter_map(|question| {
                let resolved = facts.resolved.get(&question.project)?;
                match &resolved.answer {
                    Answer::Project(file) if resolved.asked == question.asked => {
                        Some((question.project, file.as_ref()))
                    }
                    _ => None,
                }
            })
            .collect();
        if answers.is_empty() {
            return Cow::Borrowed(self);
        }
        let version = facts.compose.known().map(String::as_str);
        let release = Release::of(version.unwrap_or_default());
        let mut desired = self.clone();
        for project in &mut desired.projects {
            if let Some(file) = answers.get(&project.name) {
                project.take(file, release);
            }
        }
        Cow::Owned(desired)
    }

    /// What docker-compose on the VPU said of a project, if it was asked about just these files.
    pub fn resolved<'a>(&self, project: &str, facts: &'a Facts) -> Option<&'a Resolved> {
        let resolved = facts.resolved.get(project)?;
        let asked = self.questions(facts);
        let asked = asked.iter().find(|question| question.project == project)?;
        (asked.asked == resolved.asked).then_some(resolved)
    }
}

/// What a compose file may extend, or read, by a name that only docker-compose can tell.
fn is_small_text(file: &super::ProjectFile) -> bool {
    let kinds = [".yml", ".yaml", ".env"];
    file.bytes <= SMALL && kinds.iter().any(|kind| file.relative.ends_with(kind))
}

impl Project {
    fn take(&mut self, file: &ComposeFile, release: Release) {
        let mut resolved = services(file, &[], &self.name, release);
        for (name, service) in &mut resolved {
            service.resolved = service.definition.take();
            if let Some(here) = self.services.get(name) {
                service.take_from(here);
            }
        }
        self.services = resolved;
        self.networks = declared::networks(file, &self.name);
        self.volumes = declared::volumes(file, &self.name);
        self.refused_by_old_compose = None;
    }
}

impl Service {
    /// Takes what docker-compose's answer does not have any more: names of environment files, whose values are in it,
    /// and which of the project's files the service uses.
    fn take_from(&mut self, here: &Self) {
        self.definition = here.definition;
        self.files.clone_from(&here.files);
        self.env_files.clone_from(&here.env_files);
        for path in &here.binds {
            if !self.binds.contains(path) {
                self.binds.push(path.clone());
            }
        }
    }
}

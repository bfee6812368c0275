//! Replaces what was read from projects' files on this machine
//! with what docker-compose on the VPU resolves them to.

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
    names::is_within,
};

/// The version of how answers are read; a change makes stored answers of other versions invalid.
const FORMAT: u32 = 2;

/// The maximum size, in bytes, of a file that docker-compose may read although no key names it.
const SMALL: u64 = 256 << 10;

impl Desired {
    /// Returns the environment files outside projects' directories, as written.
    pub(super) fn environment_files(&self) -> BTreeSet<String> {
        let services = self.projects.iter().flat_map(|p| p.services.values());
        services.flat_map(|s| s.env_files.iter().cloned()).collect()
    }

    /// Returns the questions for docker-compose on the VPU; none if it has no docker-compose.
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
                rendered: self.rendered.get(&file.sha256).cloned(),
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

    /// Whether a transfer's target or a project's file is
    /// at this absolute path, or a target is above it.
    fn puts(&self, path: &str, home: &str) -> bool {
        let by_transfer = |transfer: &Transfer| {
            let target = transfer.target.resolve(home);
            let target = target.trim_end_matches('/');
            is_within(path, target)
        };
        let by_project = |project: &Project| {
            let mut files = project.files.iter();
            files.any(|file| project.path(file) == path)
        };
        self.transfers.iter().any(by_transfer) || self.projects.iter().any(by_project)
    }

    /// Returns the desired state with the services as docker-compose on the VPU resolves them, if
    /// it was asked about exactly these files, and with the digests that images without a source have on the VPU.
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
        let without_source = self.images.iter().filter(|image| image.content.is_none());
        let found: BTreeMap<&str, Digest> = without_source
            .filter_map(|image| Some((image.name.as_str(), facts.image_named(&image.name)?.0)))
            .collect();
        if answers.is_empty() && found.is_empty() {
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
        for image in &mut desired.images {
            image.found = found.get(image.name.as_str()).copied();
        }
        Cow::Owned(desired)
    }

    /// Returns the answer of docker-compose on the VPU about
    /// a project, if it was asked about exactly these files.
    pub fn resolved<'a>(&self, project: &str, facts: &'a Facts) -> Option<&'a Resolved> {
        let resolved = facts.resolved.get(project)?;
        let asked = self.questions(facts);
        let asked = asked.iter().find(|question| question.project == project)?;
        (asked.asked == resolved.asked).then_some(resolved)
    }
}

/// Whether a compose file may extend or read it by a name that only docker-compose can resolve.
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
    /// Adds what docker-compose's answer no longer has: the names of environment files, whose
    /// values it contains, and which of the project's files the service uses.
    fn take_from(&mut self, here: &Self) {
        self.definition = here.definition;
        self.files.clone_from(&here.files);
        self.only_environment.clone_from(&here.only_environment);
        self.env_files.clone_from(&here.env_files);
        for path in &here.binds {
            if !self.binds.contains(path) {
                self.binds.push(path.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;
    use crate::{
        desired::{Entry, FileEntry, ProjectFile},
        exclude::Exclude,
        names::RemotePath,
        testing,
    };

    fn file(relative: &str, bytes: u64) -> ProjectFile {
        ProjectFile {
            relative: relative.into(),
            local: Utf8PathBuf::new(),
            sha256: Digest::of(b"text"),
            bytes,
            mode: 0o644,
        }
    }

    /// Returns a project of one service, `main`, that reads these environment files.
    fn project(name: &str, files: Vec<ProjectFile>, env_files: &[&str]) -> Project {
        let main = Service {
            env_files: env_files.iter().map(ToString::to_string).collect(),
            ..Service::default()
        };
        Project {
            files,
            ..testing::project(name, [("main", main)])
        }
    }

    fn transfer(target: &str) -> Transfer {
        let target: RemotePath = target.parse().unwrap();
        let entry = Entry::File(FileEntry {
            local: Utf8PathBuf::new(),
            sha256: Digest::of(b"text"),
            bytes: 4,
            mode: 0o644,
            secret: false,
        });
        Transfer {
            target,
            entries: [(String::new(), entry)].into(),
            delete: false,
            exclude: Exclude::default(),
            gone: BTreeMap::new(),
            restart: vec![],
            source: None,
        }
    }

    fn desired(transfers: &[&str], projects: Vec<Project>) -> Desired {
        Desired {
            transfers: transfers.iter().map(|target| transfer(target)).collect(),
            ..testing::desired(projects)
        }
    }

    /// Returns the facts of a VPU with docker-compose, with this at `/etc/web.env`.
    fn facts(at_path: Option<Probed<PathFact>>) -> Facts {
        let mut facts = testing::observed().facts;
        let at_path = at_path.map(|fact| ("/etc/web.env".to_owned(), fact));
        facts.environment_files.extend(at_path);
        facts
    }

    fn question(desired: &Desired, facts: &Facts) -> Question {
        desired.questions(facts).remove(0)
    }

    #[test]
    fn environment_files_that_only_the_apply_creates_are_awaited() {
        let other = || project("other", vec![file("web.env", 4)], &[]);
        let in_other = format!("{}/web.env", other().directory());
        let in_home = "/home/oem/share/web.env";
        for (target, read, awaited) in [
            ("~/share", "~/share/web.env", Some(in_home)),
            ("~/share/", "~/share/web.env", Some(in_home)),
            ("~/share/web.env", "~/share/web.env", Some(in_home)),
            ("/home/oem/share", "~/share/web.env", Some(in_home)),
            ("~/share", "~/shared/web.env", None),
            ("~/share/web.env/more", "~/share/web.env", None),
            ("~/share", in_other.as_str(), Some(in_other.as_str())),
            ("~/share", "/etc/web.env", None),
        ] {
            let app = project("app", vec![], &[read]);
            let asked = question(&desired(&[target], vec![app, other()]), &facts(None));
            let paths: Vec<&str> = asked.awaited.iter().map(String::as_str).collect();
            assert_eq!(paths, Vec::from_iter(awaited), "{target} {read}");
            let apart: BTreeSet<String> = awaited.iter().map(|_| "main".to_owned()).collect();
            assert_eq!(asked.apart, apart, "{target} {read}");
        }
    }

    #[test]
    fn an_answer_is_stored_if_all_that_it_depends_on_is_known() {
        let wanted = desired(&[], vec![project("app", vec![], &["/etc/web.env"])]);
        let is_complete = |fact| question(&wanted, &facts(fact)).is_complete;
        let there = |sha256| PathFact::File {
            mode: 0o644,
            uid: 0,
            size: 4,
            sha256,
        };
        let digest = Some(Digest::of(b"text"));
        assert!(is_complete(Some(Probed::Known(there(digest)))));
        assert!(is_complete(Some(Probed::Known(PathFact::Missing))));
        assert!(!is_complete(Some(Probed::Known(there(None)))));
        assert!(!is_complete(Some(Probed::Known(PathFact::Other))));
        assert!(!is_complete(Some(Probed::Unknown("no permission".into()))));
        assert!(!is_complete(None));
        let mut no_tool = facts(Some(Probed::Known(there(digest))));
        no_tool.system.environment_sha256 = None;
        assert!(!question(&wanted, &no_tool).is_complete);
    }

    #[test]
    fn docker_compose_gets_the_files_that_it_reads_and_small_ones_that_it_may_read() {
        let mut app = project(
            "app",
            vec![
                file("base.yml", SMALL),
                file("sub/base.yaml", SMALL),
                file(".env", 1),
                file("large.yml", SMALL + 1),
                file("model.onnx", 1),
                file("read.json", SMALL + 1),
            ],
            &[],
        );
        app.read = ["read.json".to_owned()].into();
        let asked = question(&desired(&[], vec![app.clone()]), &facts(None));
        let files: Vec<&str> = asked.files.iter().map(|f| f.relative.as_str()).collect();
        assert_eq!(files, ["base.yml", "sub/base.yaml", ".env", "read.json"]);
        app.state = ProjectState::Absent;
        assert_eq!(desired(&[], vec![app]).questions(&facts(None)).len(), 0);
    }

    #[test]
    fn an_answer_keeps_what_is_known_of_a_services_files_on_this_machine() {
        let service = |binds: &[&str]| Service {
            binds: binds.iter().map(ToString::to_string).collect(),
            ..Service::default()
        };
        let mut answered = service(&["/dev", "~/share"]);
        let here = Service {
            definition: Some(Digest::of(b"here")),
            files: vec!["conf/a".into()],
            env_files: vec!["/etc/web.env".into()],
            ..service(&["~/share", "/etc/web.env"])
        };
        answered.take_from(&here);
        assert_eq!(answered.binds, ["/dev", "~/share", "/etc/web.env"]);
        assert_eq!(answered.definition, here.definition);
        assert_eq!(answered.files, here.files);
        assert_eq!(answered.env_files, here.env_files);
    }

    #[test]
    fn the_answer_to_another_question_does_not_count() {
        let desired = desired(&[], vec![project("app", vec![], &[])]);
        let mut facts = facts(None);
        let asked = question(&desired, &facts).asked;
        for (asked, counts) in [(asked, true), (Digest::of(b"other"), false)] {
            let config = "services:\n  main:\n    image: app\n";
            let file = ComposeFile::parse_config(config, &[].into()).unwrap();
            let resolved = Resolved {
                asked,
                answer: Answer::Project(Box::new(file)),
                warnings: vec![],
            };
            facts.resolved = [("app".to_owned(), resolved)].into();
            let resolved = desired.as_resolved(&facts);
            assert_eq!(matches!(resolved, Cow::Owned(_)), counts);
        }
    }

    #[test]
    fn environment_files_of_all_projects_are_asked_for() {
        let projects = ["a", "b"].map(|name| {
            let file = format!("/etc/{name}.env");
            project(name, vec![], &[file.as_str(), "/etc/all.env"])
        });
        let files = desired(&[], projects.into()).environment_files();
        let all = ["/etc/a.env", "/etc/all.env", "/etc/b.env"];
        assert_eq!(files, all.map(str::to_owned).into());
    }
}

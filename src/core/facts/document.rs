//! Stores an observation as a document, to plan from it elsewhere: in a review, in CI, for a bug
//! report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ANY_SIZE, Facts, Observed, PathFact, Probed, Query, READ_BY_COMPOSE, Readings, answer as trees,
};

/// The version of the document's format.
pub const FORMAT: u32 = 1;

/// An observation, with the host and the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Version of this document's format.
    pub format: u32,
    /// The program that created it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU's address as connected to.
    pub host: String,
    /// The query: anything else is unknown. Empty in documents of older versions.
    #[serde(default)]
    pub asked: Query,
    /// What plans depend on.
    pub facts: Facts,
    /// Values that change over time: free space, uptimes, measurements.
    pub readings: Readings,
}

impl Document {
    /// Creates a document from what was observed on `host` in answer to `query`.
    pub fn new(host: &str, query: Query, observed: Observed) -> Self {
        Self {
            format: FORMAT,
            tool: concat!("o3r-deploy ", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host.to_owned(),
            asked: query,
            facts: observed.facts,
            readings: observed.readings,
        }
    }

    /// Returns the observation as it was made.
    pub fn observed(&self) -> Observed {
        Observed {
            facts: self.facts.clone(),
            readings: self.readings.clone(),
        }
    }

    /// Answers `query` from the observation: what it did not cover is unknown, never absent, and
    /// what is not queried is omitted, as a VPU would.
    pub fn answer(self, query: &Query) -> Observed {
        let mut facts = self.facts;
        let mut found = facts.paths;
        facts.paths = query
            .paths
            .iter()
            .map(|(path, size)| (path.clone(), answer(found.remove(path), *size)))
            .collect();
        let reason = unasked("looking at it");
        facts.trees = trees::answer(facts.trees, &self.asked.trees, &query.trees, &reason);
        let mut found = facts.projects;
        facts.projects = query
            .projects
            .iter()
            .map(|project| {
                (
                    project.clone(),
                    found.remove(project).unwrap_or_else(|| unseen(&reason)),
                )
            })
            .collect();
        // Without the template, no unit's settings are shown.
        if let Probed::Known(autostart) = &mut facts.autostart
            && autostart.template.is_some()
        {
            for unit in &query.units {
                let units = autostart.units.entry(unit.clone());
                units.or_insert_with(|| Probed::Unknown(reason.clone()));
            }
        }
        // Values that saving a name would also save are only probed if a name is to be saved.
        let wants = query.device_name.is_some() || !query.device_settings.is_empty();
        let is_asked = query.device_name == self.asked.device_name
            && query.device_settings == self.asked.device_settings;
        if wants
            && !is_asked
            && let Probed::Known(device) = &mut facts.device
        {
            device.saved = Some(Probed::Unknown(reason));
        }
        Observed {
            facts,
            readings: self.readings,
        }
    }
}

fn unasked(what: &str) -> String {
    format!("the observation was made without {what}; observe again with this manifest")
}

/// A project's directory that was not observed.
fn unseen(reason: &str) -> BTreeMap<String, Probed<PathFact>> {
    let names = READ_BY_COMPOSE.iter();
    names
        .map(|name| ((*name).to_owned(), Probed::Unknown(reason.to_owned())))
        .collect()
}

/// What a VPU would answer about a path if a file of `size` bytes is expected there.
fn answer(found: Option<Probed<PathFact>>, size: Option<u64>) -> Probed<PathFact> {
    let unknown = |what: &str| Probed::Unknown(unasked(what));
    match found {
        None => unknown("looking at it"),
        Some(Probed::Known(PathFact::File {
            mode,
            uid,
            size: found,
            sha256,
        })) => {
            let is_asked = size == Some(found) || size == Some(ANY_SIZE);
            if is_asked && sha256.is_none() {
                return unknown("reading it");
            }
            Probed::Known(PathFact::File {
                mode,
                uid,
                size: found,
                sha256: sha256.filter(|_| is_asked),
            })
        }
        Some(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Digest, facts::Autostart};

    fn file(size: u64, hashed: bool) -> Probed<PathFact> {
        Probed::Known(PathFact::File {
            mode: 0o644,
            uid: 989,
            size,
            sha256: hashed.then(|| Digest::of(b"x")),
        })
    }

    #[test]
    fn a_path_that_was_not_queried_is_unknown_and_not_absent() {
        let missing = Probed::Known(PathFact::Missing);
        assert_eq!(answer(Some(missing.clone()), None), missing);
        for (found, size) in [
            (None, None),
            (None, Some(3)),
            (Some(file(3, false)), Some(3)),
        ] {
            let answer = answer(found, size);
            assert!(matches!(answer, Probed::Unknown(_)), "{answer:?}");
        }
    }

    #[test]
    fn a_digest_is_answered_only_if_the_vpu_would_answer_it() {
        assert_eq!(answer(Some(file(3, true)), Some(3)), file(3, true));
        assert_eq!(answer(Some(file(3, true)), Some(4)), file(3, false));
        assert_eq!(answer(Some(file(3, true)), None), file(3, false));
        assert_eq!(answer(Some(file(3, false)), Some(4)), file(3, false));
    }

    #[test]
    fn units_and_a_name_that_were_not_queried_are_unknown() {
        let text = include_str!("../../../tests/cmd/observed.in/seen.json");
        let mut document: Document = serde_json::from_str(text).unwrap();
        document.facts.autostart = Probed::Known(Autostart {
            template: Some("disabled".into()),
            ..Autostart::default()
        });
        let query = Query {
            units: ["app".to_owned()].into(),
            device_name: Some("agv-17".into()),
            ..Query::default()
        };
        let unknown = unasked("looking at it");
        let facts = document.clone().answer(&query).facts;
        let units = &facts.autostart.known().unwrap().units;
        assert_eq!(units["app"], Probed::Unknown(unknown.clone()));
        let device = facts.device.known().unwrap();
        assert_eq!(device.saved, Some(Probed::Unknown(unknown)));

        document.asked = query.clone();
        let facts = document.answer(&query).facts;
        assert_eq!(facts.device.known().unwrap().saved, None);
    }
}

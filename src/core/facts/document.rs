//! An observation as a document, to plan from elsewhere: in a review, in CI, for a bug report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Facts, Observed, PathFact, Probed, Query, READ_BY_COMPOSE, Readings, answer as trees};

/// The version of the document's shape.
pub const FORMAT: u32 = 1;

/// An observation, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Version of this document's shape.
    pub format: u32,
    /// The program that made it, e.g. `o3r-deploy 0.1.0`.
    pub tool: String,
    /// The VPU's address as connected to.
    pub host: String,
    /// What was asked: what is not in here is not known. Nothing, where an older version wrote it.
    #[serde(default)]
    pub asked: Query,
    /// What plans depend on.
    pub facts: Facts,
    /// What changes over time: free space, uptimes, measurements.
    pub readings: Readings,
}

impl Document {
    /// What was observed on `host`, which was asked `query`.
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

    /// The observation as an answer to `query`: what was not asked then is unknown, never absent,
    /// and what is not asked now is left out, as a VPU would.
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
        // Without the template, no unit's text is shown.
        if let Probed::Known(autostart) = &mut facts.autostart
            && autostart.template.is_some()
        {
            for unit in &query.units {
                let units = autostart.units.entry(unit.clone());
                units.or_insert_with(|| Probed::Unknown(reason.clone()));
            }
        }
        // What saving a name would also save is only looked for where a name is to be saved.
        if query.device_name.is_some()
            && query.device_name != self.asked.device_name
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

/// A project's directory in which nobody looked.
fn unseen(reason: &str) -> BTreeMap<String, Probed<PathFact>> {
    let names = READ_BY_COMPOSE.iter();
    names
        .map(|name| ((*name).to_owned(), Probed::Unknown(reason.to_owned())))
        .collect()
}

/// What was found at a path, as said to someone who looks for a file of `size` bytes there.
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
            let is_asked = size == Some(found);
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
    fn what_was_not_asked_is_unknown_and_not_absent() {
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
    fn a_hash_is_said_to_whom_the_vpu_would_say_it() {
        assert_eq!(answer(Some(file(3, true)), Some(3)), file(3, true));
        assert_eq!(answer(Some(file(3, true)), Some(4)), file(3, false));
        assert_eq!(answer(Some(file(3, true)), None), file(3, false));
        assert_eq!(answer(Some(file(3, false)), Some(4)), file(3, false));
    }

    #[test]
    fn units_and_a_name_that_were_not_asked_are_unknown() {
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

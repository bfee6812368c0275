//! Selects what of a plan is shown without `-v`: what changes for the user, and not how `o3r-deploy` keeps track of it.

use super::{sign::Sign, text::Style};
use crate::plan::{Action, Address, Cause, Plan, ResourceKind, Step, Summary, Verb};

/// Fewer bytes to send are not worth a mention.
const WORTH_SHOWING: u64 = 64 << 10;

/// Whether a number of bytes to send is shown: a few are mostly internal ones.
pub fn shows_bytes(bytes: u64, is_all: bool) -> bool {
    bytes >= if is_all { 1 } else { WORTH_SHOWING }
}

/// The essential part of a plan.
pub(super) struct Essential<'a> {
    pub(super) plan: &'a Plan,
    /// Whether each step is hidden.
    hidden: Vec<bool>,
}

impl<'a> Essential<'a> {
    /// Selects the steps; all of them if `is_all`.
    pub(super) fn of(plan: &'a Plan, is_all: bool) -> Self {
        let hidden = if is_all {
            vec![false; plan.steps.len()]
        } else {
            let addresses = plan.steps.iter().map(|step| &step.address);
            internal(&addresses.collect::<Vec<_>>())
        };
        Self { plan, hidden }
    }

    /// The steps that are shown.
    pub(super) fn steps(&self) -> impl Iterator<Item = &'a Step> {
        let steps = self.plan.steps.iter().zip(&self.hidden);
        steps.filter_map(|(step, hidden)| (!hidden).then_some(step))
    }

    /// The number of each step of the plan among those that are shown, from 1.
    fn numbers(&self) -> Vec<Option<usize>> {
        let mut count = 0;
        let number = |hidden: &bool| {
            count += usize::from(!hidden);
            (!hidden).then_some(count)
        };
        self.hidden.iter().map(number).collect()
    }

    fn hidden(&self) -> usize {
        self.hidden.iter().filter(|hidden| **hidden).count()
    }

    /// Counts the steps that are shown.
    pub(super) fn summary(&self) -> Summary {
        let steps = self.plan.steps.iter().zip(&self.hidden);
        let hidden = steps.filter_map(|(step, hidden)| hidden.then_some(step.action));
        without(self.plan.summary, hidden)
    }

    /// Returns the resource to name in place of `address`: the image for its tag; none for a resource that is hidden.
    pub(super) fn stands_for(&self, address: &Address) -> Option<Address> {
        let shown = |address: &Address| self.steps().any(|step| step.address == *address);
        if shown(address) {
            return Some(address.clone());
        }
        let image = image_of(address)?;
        shown(&image).then_some(image)
    }

    /// Explains the signs and says what is not shown; `values` is whether the plan shows current and desired ones.
    pub(super) fn legend(&self, style: Style, values: bool) -> Option<String> {
        if self.plan.steps.is_empty() {
            return None;
        }
        let mut verbs: Vec<Verb> = vec![];
        for step in self.steps() {
            let verb = Verb::of_step(step);
            if !verbs.contains(&verb) {
                verbs.push(verb);
            }
        }
        let signs = verbs.iter().map(|verb| {
            let sign = Sign::Step(*verb).text(style.ascii);
            format!("{sign} {}", verb.name())
        });
        let signs: Vec<String> = signs.collect();
        let mut parts = vec![];
        // A single sign stands beside its verb.
        if signs.len() > 1 {
            parts.push(signs.join(", "));
        }
        if values {
            parts.push("current -> desired".to_owned());
        }
        match self.hidden() {
            0 => {}
            1 => parts.push("-v shows 1 internal step".to_owned()),
            hidden => parts.push(format!("-v shows {hidden} internal steps")),
        }
        (!parts.is_empty()).then(|| format!("legend: {}", parts.join("; ")))
    }
}

/// Returns the number of each step among those that a plan shows, from 1; `None` for an internal step.
pub fn numbers(plan: &Plan, is_all: bool) -> Vec<Option<usize>> {
    Essential::of(plan, is_all).numbers()
}

/// Returns the counts without these steps.
pub(super) fn without(mut summary: Summary, steps: impl Iterator<Item = Action>) -> Summary {
    for action in steps {
        let count = match action {
            Action::Create => &mut summary.create,
            Action::Update => &mut summary.update,
            Action::Replace => &mut summary.replace,
            Action::Remove => &mut summary.remove,
            Action::Run => &mut summary.run,
        };
        *count = count.saturating_sub(1);
    }
    summary
}

/// Returns, for each resource that changes, whether that only serves the change of another one, so that nothing that a user
/// has declared changes; none, if there would be nothing else.
pub(super) fn internal(all: &[&Address]) -> Vec<bool> {
    let is_internal = |address: &&Address| match address.kind() {
        ResourceKind::Release
        | ResourceKind::Upload
        | ResourceKind::Staging
        | ResourceKind::Containers => true,
        ResourceKind::Tag => {
            let image = image_of(address);
            all.iter().any(|other| Some(*other) == image.as_ref())
        }
        _ => false,
    };
    let internal: Vec<bool> = all.iter().map(is_internal).collect();
    if internal.iter().all(|is_internal| *is_internal) {
        return vec![false; all.len()];
    }
    internal
}

/// Returns the image that a tag names.
fn image_of(tag: &Address) -> Option<Address> {
    let is_tag = tag.kind() == ResourceKind::Tag;
    is_tag.then(|| Address::new(ResourceKind::Image, tag.name()))
}

/// Describes the release that a plan records, if its version changes: `release hello: 1.0.0 -> 1.1.0`.
pub(super) fn release_line(plan: &Plan) -> Option<String> {
    let record = plan.steps.iter().find(|step| step.is_record())?;
    let name = record.address.name();
    let causes = std::iter::once(&record.cause).chain(&record.further_causes);
    let version = causes.filter_map(|cause| match cause {
        Cause::Differs {
            attribute,
            found,
            wanted,
        } if attribute == "version" => Some((found, wanted)),
        _ => None,
    });
    let mut version = version.map(|(found, wanted)| format!("release {name}: {found} -> {wanted}"));
    let first =
        || (record.action == Action::Create).then(|| format!("release {name}: first deployment"));
    version.next_back().or_else(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::read(include_bytes!("../../tests/fixtures/plan/format-2.json")).unwrap()
    }

    #[test]
    fn internal_steps_are_hidden_unless_there_is_nothing_else() {
        let mut plan = plan();
        let shown = |plan: &Plan, is_all| {
            let essential = Essential::of(plan, is_all);
            let kinds = essential.steps().map(|step| step.address.kind());
            (kinds.collect::<Vec<_>>(), essential.summary())
        };
        let all = plan.steps.len();
        let (kinds, summary) = shown(&plan, false);
        assert!(!kinds.contains(&ResourceKind::Release), "{kinds:?}");
        let numbers = numbers(&plan, false);
        assert_eq!(numbers.iter().flatten().max(), Some(&kinds.len()));
        assert_eq!(numbers.len(), all);
        let counted =
            summary.create + summary.update + summary.replace + summary.remove + summary.run;
        assert_eq!(counted, kinds.len());
        assert_eq!(shown(&plan, true).0.len(), all);
        plan.steps.retain(Step::is_record);
        assert_eq!(shown(&plan, false).0, [ResourceKind::Release]);
    }

    #[test]
    fn a_tag_is_shown_where_its_image_does_not_change() {
        let mut plan = plan();
        let mut tag = plan.steps[0].clone();
        tag.address = "tag.app:1".parse().unwrap();
        plan.steps.insert(0, tag.clone());
        let essential = Essential::of(&plan, false);
        assert_eq!(
            essential.stands_for(&tag.address),
            Some(tag.address.clone())
        );
        let mut image = tag.clone();
        image.address = "image.app:1".parse().unwrap();
        plan.steps.insert(0, image.clone());
        let essential = Essential::of(&plan, false);
        assert_eq!(essential.stands_for(&tag.address), Some(image.address));
        assert_eq!(essential.stands_for(&"release.app".parse().unwrap()), None);
    }
}

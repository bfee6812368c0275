//! The verbs of steps. Plan documents have actions alone, where a renamed file counts as removed:
//! its address ceases to exist.

use super::{Action, Cause, Step};

/// What a step does, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The verb of an action.
    Action(Action),
    /// The resource is removed, and its contents are kept under another name.
    Rename,
}

impl Verb {
    /// Returns the verb of a step.
    pub fn of_step(step: &Step) -> Self {
        Self::of(step.action, Some(&step.cause))
    }

    /// Returns the verb of an action with this first cause.
    pub fn of(action: Action, cause: Option<&Cause>) -> Self {
        match cause {
            Some(Cause::Differs { wanted, .. })
                if action == Action::Remove && wanted == RENAMED =>
            {
                Self::Rename
            }
            _ => Self::Action(action),
        }
    }

    /// Returns the verb in the past tense.
    pub fn past(self) -> &'static str {
        match self {
            Self::Action(Action::Create) => "created",
            Self::Action(Action::Update) => "updated",
            Self::Action(Action::Replace) => "replaced",
            Self::Action(Action::Remove) => "removed",
            Self::Action(Action::Run) => "ran",
            Self::Rename => "renamed",
        }
    }

    /// Returns the verb as shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Action(action) => action.verb(),
            Self::Rename => "rename",
        }
    }
}

/// The `wanted` value in the cause of a rename.
pub(super) const RENAMED: &str = "renamed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_under_another_name_is_shown_as_renamed() {
        let renamed = Cause::differs("read by docker-compose", "not declared", RENAMED);
        assert_eq!(Verb::of(Action::Remove, Some(&renamed)).name(), "rename");
        for (action, cause) in [
            (Action::Remove, Cause::Undeclared),
            (Action::Remove, Cause::differs("enabled", "yes", "no")),
            (Action::Update, renamed),
        ] {
            assert_eq!(
                Verb::of(action, Some(&cause)),
                Verb::Action(action),
                "{cause:?}"
            );
        }
    }
}

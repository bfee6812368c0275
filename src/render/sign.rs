//! Defines the signs in front of lines. A word next to each says the same, for users who see
//! neither signs nor colours.

use anstyle::{AnsiColor, Style as Ansi};

use super::text::{DIM, GREEN, RED, Style, paint};
use crate::plan::{Action, Verb};

/// The meaning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// As desired.
    Good,
    /// Ended, as desired.
    Ended,
    /// To be looked at.
    Doubtful,
    /// Not as desired.
    Bad,
    /// A step.
    Step(Verb),
}

impl Sign {
    pub(super) fn text(self, ascii: bool) -> &'static str {
        let (sign, plain) = match self {
            Self::Good => ("✓", "ok"),
            Self::Ended => ("○", "o"),
            Self::Doubtful => ("!", "!"),
            Self::Bad => ("✗", "x"),
            Self::Step(Verb::Action(Action::Create)) => ("+", "+"),
            Self::Step(Verb::Action(Action::Update) | Verb::Rename) => ("~", "~"),
            Self::Step(Verb::Action(Action::Replace)) => ("±", "-/+"),
            Self::Step(Verb::Action(Action::Remove)) => ("-", "-"),
            Self::Step(Verb::Action(Action::Run)) => ("▸", ">"),
        };
        if ascii { plain } else { sign }
    }

    fn look(self) -> Ansi {
        match self {
            Self::Good | Self::Step(Verb::Action(Action::Create)) => GREEN,
            Self::Ended => DIM,
            Self::Doubtful
            | Self::Step(Verb::Action(Action::Update | Action::Run) | Verb::Rename) => {
                AnsiColor::Yellow.on_default()
            }
            Self::Bad | Self::Step(Verb::Action(Action::Replace | Action::Remove)) => RED,
        }
    }
}

impl Style {
    /// Renders a sign with its colour.
    pub fn sign(self, sign: Sign) -> String {
        paint(self.color, sign.look(), sign.text(self.ascii))
    }

    /// Renders a sign for a column of signs, with its colour.
    pub(super) fn sign_in_column(self, sign: Sign) -> String {
        let columns = if self.ascii { 2 } else { 1 };
        let blanks = columns - sign.text(self.ascii).chars().count().min(columns);
        format!("{}{}", self.sign(sign), " ".repeat(blanks))
    }

    /// Renders the sign of a step after an indentation of two columns, which a three-column sign
    /// uses.
    pub(super) fn step_sign(self, verb: Verb) -> String {
        let blanks = 3 - Sign::Step(verb).text(self.ascii).chars().count();
        format!("{}{}", " ".repeat(blanks), self.sign(Sign::Step(verb)))
    }
}

/// Replaces the program's own signs with ASCII, for a terminal without Unicode. Keeps letters in
/// other text.
pub fn ascii(text: &str) -> String {
    let pairs = [
        ("…", "..."),
        ("→", "->"),
        ("–", "-"),
        ("×", "x"),
        ("✓", "ok"),
        ("✗", "x"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (sign, plain)| {
        text.replace(sign, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_signs_are_ascii_and_aligned() {
        let style = Style {
            ascii: true,
            ..Style::default()
        };
        for sign in [Sign::Good, Sign::Ended, Sign::Bad] {
            let text = style.sign_in_column(sign);
            assert!(text.is_ascii() && text.len() == 2, "{text:?}");
        }
        let actions = [
            Action::Create,
            Action::Update,
            Action::Replace,
            Action::Remove,
            Action::Run,
        ];
        for verb in actions.map(Verb::Action).into_iter().chain([Verb::Rename]) {
            let text = style.step_sign(verb);
            assert!(text.is_ascii() && text.len() == 3, "{text:?}");
        }
        assert_eq!(ascii("write `KEY=…`: é"), "write `KEY=...`: é");
    }
}

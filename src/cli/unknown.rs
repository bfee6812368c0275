//! Answers commands that do not exist: those that a later version brings, and those of other tools.

use clap::{
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};

/// A command that a later version brings.
#[derive(Debug)]
pub struct Later {
    /// Its name.
    pub name: &'static str,
    /// What to do until then; `{login}` stands for the VPU's user and address.
    pub instead: &'static str,
}

/// Commands that later versions bring. A version that brings one removes its entry.
const LATER: &[Later] = &[
    Later {
        name: "logs",
        instead: "list the containers with `o3r-deploy status`, and read the log of one with:\n\n  \
                  ssh {login} docker logs --tail 100 CONTAINER",
    },
    Later {
        name: "fetch",
        instead: "copy files from the VPU with:\n\n  scp -O -r {login}:PATH .",
    },
];

/// Adds the later commands to a command line, hidden from all help.
pub fn with_later(command: clap::Command) -> clap::Command {
    let later = LATER.iter().map(|later| {
        let rest = clap::Arg::new("rest")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true);
        clap::Command::new(later.name)
            .about("Not supported yet")
            .hide(true)
            .disable_help_flag(true)
            .arg(rest.hide(true))
    });
    command.subcommands(later)
}

/// Returns the later command that a command line names.
pub fn later(matches: &clap::ArgMatches) -> Option<&'static Later> {
    let name = matches.subcommand_name()?;
    LATER.iter().find(|later| later.name == name)
}

/// Words that users of other tools try, and what to do instead.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["down", "stop", "rm", "remove", "delete", "uninstall"],
        "set `state = \"absent\"` or `state = \"stopped\"` in the project's [[compose]], then run: o3r-deploy apply\n  \
         or remove all that a release deployed with: o3r-deploy destroy",
    ),
    (
        &["up", "start", "deploy", "push", "install"],
        "make the VPU match the manifest with: o3r-deploy apply",
    ),
    (
        &["diff", "--dry-run", "--check", "--diff"],
        "show what apply would do with: o3r-deploy plan",
    ),
    (
        &["undo", "revert", "restore"],
        "return to the release before the current one with: o3r-deploy rollback",
    ),
    (
        &["list", "ls", "ps"],
        "show what is deployed and what runs with: o3r-deploy status",
    ),
    (
        &["validate", "lint"],
        "validate the manifest with: o3r-deploy check",
    ),
];

/// Replaces the suggestions of an unknown command or option that another tool has.
pub fn with_hint(mut error: clap::Error) -> clap::Error {
    let kinds = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg];
    let hint = kinds.into_iter().find_map(|kind| {
        let ContextValue::String(word) = error.get(kind)? else {
            return None;
        };
        let mut hints = HINTS.iter();
        hints.find(|(words, _)| words.contains(&word.as_str()))
    });
    let Some((_, hint)) = hint else {
        return error;
    };
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::SuggestedArg);
    let hint = ContextValue::StyledStrs(vec![StyledStr::from(*hint)]);
    error.insert(ContextKind::Suggested, hint);
    error
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    /// Returns the error of a command line as shown to people.
    fn refused(words: &[&str]) -> String {
        let words = ["o3r-deploy"].into_iter().chain(words.iter().copied());
        let command = super::with_later(crate::cli::Cli::command());
        let error = command.try_get_matches_from(words).unwrap_err();
        super::with_hint(error).to_string()
    }

    #[test]
    fn a_word_of_another_tool_is_answered_with_the_command_for_it() {
        for (words, command) in [
            (&["down"][..], "o3r-deploy apply"),
            (&["rm"][..], "o3r-deploy destroy"),
            (&["deploy"][..], "o3r-deploy apply"),
            (&["apply", "--dry-run"][..], "o3r-deploy plan"),
            (&["--check"][..], "o3r-deploy plan"),
            (&["ps"][..], "o3r-deploy status"),
        ] {
            let said = refused(words);
            assert!(
                said.contains(&format!("with: {command}\n"))
                    || said.contains(&format!("run: {command}\n")),
                "{said}"
            );
            assert!(!said.contains("similar"), "{said}");
        }
        assert!(refused(&["check", "--frmat"]).contains("'--format'"));
    }
}

//! Renders argument vectors as POSIX shell text; the only place that quotes a word.

use std::{borrow::Cow, fmt::Write as _};

use serde::{Deserialize, Serialize};

/// The `$0` of the script that runs another command only while the VPU's lock is held.
pub const RUN_NAME: &str = "o3r-run";

/// The `$0` of the script that runs several commands in sequence.
pub const IN_TURN_NAME: &str = "o3r-in-turn";

/// A command as typed words: `argv[0]` is the program, nothing in it is shell syntax.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Argv(Vec<String>);

impl Argv {
    /// Creates a vector with its program.
    pub fn new(program: impl Into<String>) -> Self {
        Self(vec![program.into()])
    }

    /// Creates `sh -c SCRIPT NAME ARGS…`: a checked-in script whose `$0` is `name`.
    ///
    /// The script is passed as one word and its arguments as positional parameters, so that
    /// standard input stays free for a payload (with `sh -s` the shell reads ahead and runs data).
    pub fn script<I, S>(script: &str, name: &str, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self::new("sh").args(["-c", script, name]).args(args)
    }

    /// Appends one word.
    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }

    /// Appends words.
    #[must_use]
    pub fn args<I, S>(mut self, words: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.0.extend(words.into_iter().map(Into::into));
        self
    }

    /// Returns the words.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Returns the name of the checked-in script that this runs, if [`Argv::script`] created it.
    pub fn script_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [sh, dash_c, _, name, ..] if sh == "sh" && dash_c == "-c" => Some(name),
            _ => None,
        }
    }

    /// Returns the commands that this runs in sequence, if `remote::in_turn` created it.
    pub fn in_turn(&self) -> Option<Vec<Self>> {
        if self.script_name() != Some(IN_TURN_NAME) {
            return None;
        }
        let mut rest = &self.0[4..];
        let mut commands = vec![];
        while let Some((count, words)) = rest.split_first() {
            let (words, later) = words.split_at_checked(count.parse().ok()?)?;
            commands.push(Self(words.to_vec()));
            rest = later;
        }
        Some(commands)
    }

    /// Returns the text with which any POSIX shell runs exactly these words.
    pub fn to_shell(&self) -> String {
        join(&self.0)
    }

    /// Returns the text with which any login shell runs exactly these words, including csh and
    /// fish: one line of printable ASCII, in which only single quotes are special.
    ///
    /// `sh` runs it: it decodes the words from a form without line
    /// ends, quotes, backslashes and exclamation marks, which csh and
    /// fish read differently from a POSIX shell within single quotes.
    pub fn to_any_shell(&self) -> String {
        let mut text = r#"sh -c 'eval "exec $(printf %b "$1")"' sh ''"#.to_owned();
        text.pop();
        for byte in self.to_shell().bytes() {
            match byte {
                b' '..=b'~' if !b"'!\\".contains(&byte) => text.push(char::from(byte)),
                // `printf %b` reads at most three digits after the 0.
                _ => {
                    let _ = write!(text, "\\0{byte:03o}");
                }
            }
        }
        text.push('\'');
        text
    }

    /// Returns the text that people read: a script is shown
    /// by name and arguments, without its body.
    pub fn to_display(&self) -> String {
        if let Some(commands) = self.in_turn() {
            let commands: Vec<String> = commands.iter().map(Self::to_display).collect();
            return commands.join(" && ");
        }
        match self.script_name() {
            Some(RUN_NAME) if self.0.len() > 7 => Self(self.0[7..].to_vec()).to_display(),
            Some(_) => join(&self.0[3..]),
            None => join(&self.0),
        }
    }
}

fn join(words: &[String]) -> String {
    words
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Quotes one word for a POSIX shell: unchanged if safe, otherwise in single quotes.
pub fn quote(word: &str) -> Cow<'_, str> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    // Some shells expand a leading `=` or `~`; `NAME=value` at the start is an assignment.
    let plain = !word.is_empty() && word.bytes().all(safe) && !word.contains('=');
    let option = word.starts_with("--") && word.bytes().all(safe);
    if plain || option {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Quotes a word of any bytes except NUL, such as a file name, which need not be text.
pub fn quote_bytes(word: &[u8]) -> Cow<'_, [u8]> {
    if let Ok(text) = std::str::from_utf8(word)
        && quote(text) == text
    {
        return Cow::Borrowed(word);
    }
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_a_script_reaches_csh_and_fish_as_one_line() {
        let script = "if true; then\n\techo \"it's ä $HOME\" '\\' !!\nelse :; fi";
        let argv = Argv::script(script, "name", ["two words", "\r\x01end\n", "\x019"]);
        let text = argv.to_any_shell();
        let (command, encoded) = text.rsplit_once(" sh '").unwrap();
        assert_eq!(command, r#"sh -c 'eval "exec $(printf %b "$1")"'"#);
        let encoded = encoded.strip_suffix('\'').unwrap();
        assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        // The bytes after a backslash mean the same in all of these shells.
        assert!(!encoded.contains(['\'', '!']));
        assert!(
            encoded
                .split('\\')
                .skip(1)
                .all(|part| part.starts_with('0'))
        );
    }

    #[test]
    fn words_are_quoted_only_if_necessary() {
        for (word, want) in [
            ("plain", "plain"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's", r"'it'\''s'"),
            ("$(touch canary)", "'$(touch canary)'"),
            ("A=b", "'A=b'"),
            ("--driver=local", "--driver=local"),
            ("~/share", "'~/share'"),
        ] {
            assert_eq!(quote(word), want, "{word}");
        }
    }
}

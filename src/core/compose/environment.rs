//! Reads the `.env` file that sets a compose file's variables, as each release of docker-compose does.

use std::collections::BTreeMap;

use super::Release;

/// Variables and their values.
pub type Environment = BTreeMap<String, String>;

/// The contents of a `.env` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// The variables that it sets.
    pub values: Environment,
    /// The lines that docker-compose ignores or refuses, and why.
    pub problems: Vec<EnvProblem>,
}

/// A line of a `.env` file that does not set what it seems to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvProblem {
    /// The line, from 1.
    pub line: usize,
    /// How docker-compose reads it, completing "line 3 …".
    pub message: String,
    /// Whether docker-compose refuses the whole file because of it.
    pub refuses: bool,
}

/// Reads a `.env` file as docker-compose 1.29.2 does.
pub fn parse_env(text: &str) -> Environment {
    read_env(text, Release::V1_29).values
}

/// Reads a `.env` file.
pub fn read_env(text: &str, release: Release) -> EnvFile {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match release {
        Release::V1_25 => by_line(text),
        Release::V1_29 => Dotenv { text, at: 0 }.read(),
    }
}

/// Reads as 1.25.4: splits every line at its first `=` and
/// keeps everything else, such as quotes, comments and blanks.
fn by_line(text: &str) -> EnvFile {
    let mut file = EnvFile::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').unzip();
        let name = name.unwrap_or(line);
        let problem = |message: String, refuses| EnvProblem {
            line: index + 1,
            message,
            refuses,
        };
        if name.contains(char::is_whitespace) {
            let message = format!("sets the variable `{name}`, whose name has a blank");
            file.problems.push(problem(message, true));
        }
        let Some(value) = value else {
            let message = format!("has no `=`, and leaves `{name}` unset");
            file.problems.push(problem(message, false));
            continue;
        };
        file.values.insert(name.to_owned(), value.to_owned());
    }
    file
}

/// The parser of python-dotenv 0.17, which 1.29.2 uses for `.env`.
struct Dotenv<'t> {
    text: &'t str,
    at: usize,
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && !is_line_end(c)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

impl<'t> Dotenv<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Consumes characters as long as they fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn read(mut self) -> EnvFile {
        let mut file = EnvFile::default();
        loop {
            self.take(char::is_whitespace);
            if self.rest().is_empty() {
                return file;
            }
            let line = self.text[..self.at].matches('\n').count() + 1;
            match self.binding() {
                Some((Some(name), Some(value))) => {
                    let value = replaced(&value, &file.values);
                    file.values.insert(name.to_owned(), value);
                }
                Some((Some(name), None)) => file.problems.push(EnvProblem {
                    line,
                    message: format!("has no `=`, and leaves `{name}` unset"),
                    refuses: false,
                }),
                Some((None, _)) => {}
                None => {
                    self.take(|c| !is_line_end(c));
                    file.problems.push(EnvProblem {
                        line,
                        message: "is ignored: docker-compose cannot read it".to_owned(),
                        refuses: false,
                    });
                }
            }
        }
    }

    /// Parses a name and its value. A comment has no name; `None` means that the line is invalid.
    fn binding(&mut self) -> Option<(Option<&'t str>, Option<String>)> {
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.at += "export".len();
            self.take(is_blank);
        }
        let name = match self.rest().chars().next()? {
            '#' => None,
            '\'' => Some(self.quoted('\'')?).filter(|name| !name.is_empty()),
            _ => {
                let name = self.take(|c| !matches!(c, '=' | '#') && !c.is_whitespace());
                if name.is_empty() {
                    return None;
                }
                Some(name)
            }
        };
        self.take(is_blank);
        let mut value = None;
        if let Some(after) = self.rest().strip_prefix('=') {
            self.at += 1;
            let _ = after;
            self.take(is_blank);
            value = Some(self.value()?);
        }
        let before_comment = self.at;
        self.take(is_blank);
        if self.rest().starts_with('#') {
            self.take(|c| !is_line_end(c));
        } else {
            self.at = before_comment;
        }
        self.take(is_blank);
        let is_end = self.rest().is_empty() || self.rest().starts_with(is_line_end);
        is_end.then_some((name, value))
    }

    fn value(&mut self) -> Option<String> {
        match self.rest().chars().next() {
            Some('\'') => {
                let inside = self.quoted('\'')?;
                Some(unescaped(inside, |c| matches!(c, '\\' | '\'')))
            }
            Some('"') => {
                let inside = self.quoted('"')?;
                Some(unescaped(inside, |c| {
                    matches!(
                        c,
                        '\\' | '\'' | '"' | 'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v'
                    )
                }))
            }
            _ => {
                let part = self.take(|c| !is_line_end(c));
                Some(without_comment(part).trim_end().to_owned())
            }
        }
    }

    /// Parses a quoted string, which may span lines; a backslash escapes the quote after it.
    fn quoted(&mut self, quote: char) -> Option<&'t str> {
        let inside = &self.rest()[1..];
        let mut is_escaped = false;
        for (at, c) in inside.char_indices() {
            if c == quote && !is_escaped {
                self.at += at + 2;
                return Some(&inside[..at]);
            }
            is_escaped = c == '\\';
        }
        // The regular expression backtracks: an escaped quote may be the closing one.
        let end = inside.rfind(quote)?;
        self.at += end + 2;
        Some(&inside[..end])
    }
}

/// Returns a value without a comment: up to the blanks before the first `#`.
fn without_comment(text: &str) -> &str {
    let mut end = text.len();
    for (at, _) in text.match_indices('#') {
        let before = text[..at].trim_end();
        if before.len() < at {
            end = before.len();
            break;
        }
    }
    &text[..end]
}

fn unescaped(text: &str, is_known: impl Fn(char) -> bool) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && is_known(next) => {
                chars.next();
                plain.push(match next {
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    other => other,
                });
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// Replaces `${NAME}` and `${NAME:-default}` with the values of the lines above.
fn replaced(value: &str, above: &Environment) -> String {
    let mut result = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else { break };
        let (name, default) = match inside[..end].split_once(':') {
            Some((name, default)) => (name, default.strip_prefix('-')),
            None => (&inside[..end], Some("")),
        };
        result.push_str(&rest[..at]);
        if let Some(default) = default {
            result.push_str(above.get(name).map_or(default, String::as_str));
            rest = &inside[end + 1..];
        } else {
            // `${A:b}` is not a variable.
            result.push_str("${");
            rest = inside;
        }
    }
    result.push_str(rest);
    result
}

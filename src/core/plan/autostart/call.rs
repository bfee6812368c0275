//! Reads which compose file the command line of a boot unit starts.

/// Options that take a value and stand before docker-compose's command.
const WITH_VALUE: &[&str] = &[
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--project-directory",
    "--env-file",
    "-H",
    "--host",
    "-c",
    "--context",
    "--profile",
    "--ansi",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
];

/// A call of `docker-compose up`.
#[derive(Default)]
pub(super) struct Call {
    /// `-f`.
    pub(super) files: Vec<String>,
    /// `-p`.
    pub(super) project_name: Option<String>,
    /// `--project-directory`.
    pub(super) directory: Option<String>,
}

impl Call {
    /// Parses a command line; `None` if it is not `docker-compose up`.
    pub(super) fn parse(words: &[String]) -> Option<Self> {
        let mut words = words.iter().map(String::as_str);
        // Prefix characters change how systemd runs the program, not which one.
        let program = words
            .next()?
            .trim_start_matches(['-', '@', ':', '+', '!', '|']);
        match program.rsplit('/').next()? {
            "docker-compose" => {}
            "docker" if words.next() == Some("compose") => {}
            _ => return None,
        }
        let mut call = Self::default();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                return (word == "up").then_some(call);
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, value),
                _ if WITH_VALUE.contains(&word) => (word, words.next()?),
                _ => continue,
            };
            let value = value.to_owned();
            match option {
                "-f" | "--file" => call.files.push(value),
                "-p" | "--project-name" => call.project_name = Some(value),
                "--project-directory" => call.directory = Some(value),
                _ => {}
            }
        }
        None
    }
}

/// Splits a command line as systemd does, as far as these calls need it.
pub(super) fn words(line: &str) -> Vec<String> {
    let unquoted = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    line.split_whitespace().map(unquoted).collect()
}

/// Returns a path as an absolute one, relative to `directory`.
pub(super) fn absolute(path: &str, directory: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    }
}

/// Expands the specifiers for the instance, the unit and the home directory, and a leading `~`.
pub(super) fn expand(text: &str, instance: &str, home: &str) -> String {
    let mut expanded = String::new();
    let mut rest = text
        .strip_prefix('~')
        .map_or_else(|| text.to_owned(), |rest| format!("%h{rest}"));
    while let Some(at) = rest.find('%') {
        expanded.push_str(&rest[..at]);
        let specifier = rest[at + 1..].chars().next();
        match specifier {
            Some('i' | 'I') => expanded.push_str(instance),
            Some('n') => expanded.push_str(&super::unit_name(instance)),
            Some('h') => expanded.push_str(home),
            Some('%') | None => expanded.push('%'),
            Some(other) => expanded.extend(['%', other]),
        }
        rest = rest[at + 1 + specifier.map_or(0, char::len_utf8)..].to_owned();
    }
    expanded + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_are_expanded() {
        assert_eq!(expand("~/%i/%%/%q%", "a", "/h"), "/h/a/%/%q%");
        assert_eq!(expand("%n", "a", "/h"), "oem-dc@a.service");
    }

    #[test]
    fn a_call_is_recognised_with_options_before_its_command() {
        for (line, files, project_name, directory) in [
            ("docker-compose up", "", "", ""),
            ("-/usr/bin/docker compose up -d", "", "", ""),
            ("docker-compose --verbose -f a.yml up", "a.yml", "", ""),
            (
                "docker-compose -f a.yml --file=b.yml up -f c",
                "a.yml b.yml",
                "",
                "",
            ),
            ("docker-compose -H up -p x up", "", "x", ""),
            (
                "docker-compose --project-name=x --project-directory /d --ansi=never up",
                "",
                "x",
                "/d",
            ),
        ] {
            let call = Call::parse(&words(line)).unwrap_or_else(|| panic!("no call: {line}"));
            assert_eq!(call.files.join(" "), files, "{line}");
            assert_eq!(
                call.project_name.unwrap_or_default(),
                project_name,
                "{line}"
            );
            assert_eq!(call.directory.unwrap_or_default(), directory, "{line}");
        }
        for line in [
            "",
            "docker-compose",
            "docker-compose -f up",
            "docker-compose -d down up",
            "docker run compose up",
            "docker",
            "podman-compose up",
        ] {
            assert!(Call::parse(&words(line)).is_none(), "{line}");
        }
    }
}

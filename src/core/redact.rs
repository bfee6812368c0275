//! Removes secrets from the output of docker and from compose files, before any other code sees it.

use std::collections::BTreeMap;

/// The replacement of a secret.
const REDACTED: &str = "***";

/// Keys of mount options whose values are secrets, e.g. of a volume on a Windows share.
const SECRETS: &[&str] = &["password", "pass", "passwd", "password2", "cred", "secret"];

/// Removes passwords from a volume's driver options: `username=me,password=***`.
pub fn redact(options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    options
        .into_iter()
        .map(|(key, value)| {
            let value = if is_secret(&key) {
                REDACTED.to_owned()
            } else {
                value.split(',').map(word).collect::<Vec<_>>().join(",")
            };
            (key, value)
        })
        .collect()
}

/// Removes passwords from a line: `password=***`, `http://***@host/`.
pub fn redact_words(line: &str) -> String {
    let words = line.split(' ').map(|text| {
        let text = text.split(',').map(word).collect::<Vec<_>>().join(",");
        match text
            .split_once("://")
            .map(|(scheme, rest)| (scheme, rest.rsplit_once('@')))
        {
            Some((scheme, Some((_, rest)))) => format!("{scheme}://{REDACTED}@{rest}"),
            _ => text,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn word(word: &str) -> String {
    match word.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={REDACTED}"),
        _ => word.to_owned(),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.trim().to_ascii_lowercase();
    SECRETS.contains(&key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_removed_and_all_else_stays() {
        let options = [
            ("type", "cifs"),
            ("o", "username=me,Password=s3cret,vers=3.0,ro"),
            ("device", "//server/share,x=1"),
            ("password", "s3cret"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let redacted = redact(BTreeMap::from(options));
        let expected = [
            ("device", "//server/share,x=1"),
            ("o", "username=me,Password=***,vers=3.0,ro"),
            ("password", "***"),
            ("type", "cifs"),
        ];
        let found: Vec<(&str, &str)> = redacted
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}

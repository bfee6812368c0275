//! Image references, in docker's grammar.

use std::{fmt, str::FromStr};

use super::{NameError, Word, string_form};

/// The name of an image on the VPU: `[registry[:port]/]repository[:tag]`, never a digest.
///
/// Canonical: a missing tag is `latest`, and `docker.io/library/` is dropped as docker itself drops
/// it, so that two spellings of one name are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    registry: Option<String>,
    repository: String,
    tag: String,
}

/// Docker's limit for a name without its tag.
const MAX_NAME: usize = 255;
/// Docker's limit for a tag.
const MAX_TAG: usize = 128;

impl ImageRef {
    /// Returns the reference with its tag: `palletizer:latest`.
    pub fn canonical(&self) -> String {
        self.to_string()
    }

    /// Returns the reference without its tag, as `docker image ls` shows it.
    pub fn name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// Returns the registry, unless it is the default one.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// Returns the repository without the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl Word for ImageRef {
    const FORMAT: &'static str = "image-reference";
    const PATTERN: &'static str = "^[A-Za-z0-9$][A-Za-z0-9._/:${}-]*$";
    const EXPECTED: &'static str = "an image name";
    const HELP: &'static str = "write `name:tag`, in lower case, with a registry in front if any";
}

impl FromStr for ImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        if text.contains('@') {
            return Err(
                refuse("a digest identifies an image's content, not its name").with_help(
                    "write `name:tag`; to pull by digest, set the reference as `registry`",
                ),
            );
        }
        let (name, tag) = split_tag(text);
        if let Some(tag) = tag
            && let Some(problem) = tag_problem(tag)
        {
            return Err(refuse(problem));
        }
        let (registry, repository) = split_registry(name);
        if let Some(problem) = name_problem(registry, repository, name) {
            return Err(refuse(problem));
        }
        let default = matches!(registry, Some("docker.io" | "index.docker.io"));
        let repository = match repository.strip_prefix("library/") {
            Some(official) if (default || registry.is_none()) && !official.contains('/') => {
                official
            }
            _ => repository,
        };
        Ok(Self {
            registry: registry.filter(|_| !default).map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.unwrap_or("latest").to_owned(),
        })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// An image in a registry by digest: `registry/repository@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedImageRef(String);

impl PinnedImageRef {
    /// Returns the whole reference.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Word for PinnedImageRef {
    const FORMAT: &'static str = "pinned-image-reference";
    const PATTERN: &'static str = "@sha256:|[$][{]";
    const EXPECTED: &'static str = "an image reference with a digest";
    const HELP: &'static str =
        "write `registry/repository@sha256:…`; `docker inspect` shows it as RepoDigests";
}

impl FromStr for PinnedImageRef {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |problem: &str| NameError::new::<Self>(text, problem);
        let Some((name, digest)) = text.split_once('@') else {
            return Err(refuse("it has no digest, so what it names can change"));
        };
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse("after `@` come `sha256:` and 64 hexadecimal digits"));
        }
        let (name, tag) = split_tag(name);
        if let Some(problem) = tag.and_then(tag_problem) {
            return Err(refuse(problem));
        }
        let (registry, repository) = split_registry(name);
        match name_problem(registry, repository, name) {
            Some(problem) => Err(refuse(problem)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for PinnedImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

string_form!(ImageRef, PinnedImageRef);

/// Splits off a tag: the text after the last colon, unless
/// it contains a slash (then the colon precedes a port).
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Splits off a registry: a first component that can only be a host.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn tag_problem(tag: &str) -> Option<&'static str> {
    let starts_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if tag.is_empty() {
        Some("nothing follows the colon")
    } else if !starts_well
        || !tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    {
        Some("a tag has letters, digits, `_`, `.` and `-`, and starts with neither `.` nor `-`")
    } else if tag.len() > MAX_TAG {
        Some("its tag is longer than 128 characters")
    } else {
        None
    }
}

fn name_problem(registry: Option<&str>, repository: &str, name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_NAME {
        return Some("it is longer than 255 characters");
    }
    if let Some(registry) = registry
        && !is_registry(registry)
    {
        return Some("the part before the first slash is not `host` or `host:port`");
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some("a repository is lower case");
    }
    if !repository.split('/').all(is_component) {
        return Some(
            "a repository takes lower-case letters and digits, and `.`, `_`, `__` or `-` between them",
        );
    }
    if registry.is_none() && repository == "sha256" {
        return Some("`sha256:` begins an image id, not a name");
    }
    (repository.len() == 64 && repository.bytes().all(|b| b.is_ascii_hexdigit()))
        .then_some("64 hexadecimal digits are an image id, not a name")
}

/// Whether a text is `host` or `host:port`.
pub(super) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// Whether a text is a single component of a repository's path.
pub(super) fn is_component(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else {
        return false;
    };
    if !is_inner(first) || !is_inner(last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_become_canonical() {
        for (written, canonical) in [
            ("palletizer", "palletizer:latest"),
            ("palletizer:1.4.0", "palletizer:1.4.0"),
            ("docker.io/library/debian:12", "debian:12"),
            ("docker.io/ifm/x", "ifm/x:latest"),
            ("library/debian", "debian:latest"),
            ("192.168.0.10:5000/a/b__c:x", "192.168.0.10:5000/a/b__c:x"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("a---b.c_d:_x", "a---b.c_d:_x"),
        ] {
            let image: ImageRef = written.parse().unwrap();
            assert_eq!(image.canonical(), canonical);
            assert_eq!(canonical.parse::<ImageRef>().unwrap(), image);
        }
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let id = "0123456789abcdef".repeat(4);
        for text in [
            "",
            ":x",
            "a:",
            "A",
            "a/B",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a:-x",
            "a:x y",
            "host:0/a",
            "host:99999/a",
            "-h.x/a",
            "a\n",
            "é",
            &id,
            "a@sha256:00",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_pinned_reference_has_a_digest() {
        let digest = "a".repeat(64);
        assert!(
            format!("192.168.0.10:5000/p@sha256:{digest}")
                .parse::<PinnedImageRef>()
                .is_ok()
        );
        assert!(
            format!("p:1@sha256:{digest}")
                .parse::<PinnedImageRef>()
                .is_ok()
        );
        for text in [
            "p:1".to_owned(),
            "p@sha256:12".to_owned(),
            format!("P@sha256:{digest}"),
        ] {
            assert!(text.parse::<PinnedImageRef>().is_err(), "{text}");
        }
    }
}

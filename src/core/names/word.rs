//! Names without further structure: volumes, projects, releases, hosts, keys.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{NameError, Word, image, printable_problem, string_form};

/// The problem of a word.
type Problem = Cow<'static, str>;

/// Declares a newtype over a string, with the function that returns a string's problem.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $format:literal, $pattern:literal, $expected:literal, $help:literal, $problem:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Word for $name {
            const FORMAT: &'static str = $format;
            const PATTERN: &'static str = $pattern;
            const EXPECTED: &'static str = $expected;
            const HELP: &'static str = $help;
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let problem: fn(&str) -> Option<Problem> = $problem;
                match printable_problem(text).map(Problem::from).or_else(|| problem(text)) {
                    Some(problem) => Err(NameError::new::<Self>(text, problem)),
                    None => Ok(Self(text.to_owned())),
                }
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl PartialEq<String> for $name {
            fn eq(&self, text: &String) -> bool {
                self.0 == *text
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, name: &$name) -> bool {
                *self == name.0
            }
        }

        impl From<&$name> for String {
            fn from(name: &$name) -> Self {
                name.0.clone()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        string_form!($name);
    };
}

word!(
    /// A docker volume's name.
    VolumeName,
    "volume-name",
    "^[A-Za-z0-9$][A-Za-z0-9_.${}-]*$",
    "a volume name",
    "use letters, digits, `_`, `.` and `-`, starting with a letter or digit",
    |text| charset_problem(text, |b| b.is_ascii_alphanumeric(), b"_.-")
);

word!(
    /// A compose project's name, which is also its directory's.
    ProjectName,
    "project-name",
    "^[a-z0-9$][a-z0-9_.${}-]*$",
    "a project name",
    "use lower-case letters, digits, `_` and `-`, starting with a letter or digit",
    |text| charset_problem(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), b"_-")
);

word!(
    /// A release's name: the owner of everything a manifest makes, and part of image tags.
    ReleaseName,
    "release-name",
    "^[a-z0-9$][a-z0-9_.${}-]*$",
    "a release name",
    "use lower-case letters and digits, with `.`, `_` or `-` between them",
    |text| {
        if text.len() > 128 {
            Some("it is longer than 128 characters".into())
        } else if image::is_component(text) {
            None
        } else {
            Some("it is not valid in a docker image name".into())
        }
    }
);

word!(
    /// A release's version; free in form, and fit for a file name.
    ReleaseVersion,
    "release-version",
    "^[A-Za-z0-9_][A-Za-z0-9_.+-]*$",
    "a release version",
    "use letters, digits, `.`, `+`, `_` and `-`, as in `1.4.0`",
    |text| {
        if text.len() > 128 {
            return Some("it is longer than 128 characters".into());
        }
        charset_problem(text, |b| b.is_ascii_alphanumeric() || b == b'_', b"_.+-")
    }
);

word!(
    /// The name of the device in its JSON configuration.
    DeviceName,
    "device-name",
    "^.",
    "a device name",
    "write a line of printable text",
    |_| None
);

word!(
    /// An address to connect to: a host name, an alias of the `ssh_config`, or an IP address.
    HostName,
    "host-name",
    "^[^-]",
    "a host",
    "write a host name, an IP address or an alias of your ssh_config; set the user and the port with the keys \
     `user` and `port`",
    |text| {
        if text.starts_with('-') {
            Some("it starts with `-`, which ssh would read as an option".into())
        } else if text.starts_with('[') {
            Some("it is in brackets".into())
        } else if text.contains("://") {
            Some("it is a URL; expected a host alone".into())
        } else if text.matches(':').count() == 1 {
            Some("it contains a port, for which there is the key `port`".into())
        } else if text.contains(char::is_whitespace) {
            Some("it contains white space".into())
        } else if text.contains(['@', '/']) {
            Some("it contains more than a host".into())
        } else {
            None
        }
    }
);

/// Whether two spellings are the same address.
pub fn is_same_host(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one.to_canonical() == other.to_canonical(),
        _ => one
            .trim_end_matches('.')
            .eq_ignore_ascii_case(other.trim_end_matches('.')),
    }
}

word!(
    /// A user to log in as.
    UserName,
    "user-name",
    "^[A-Za-z0-9_$][A-Za-z0-9_.${}-]*$",
    "a user name",
    "use letters, digits, `_`, `.` and `-`",
    |text| charset_problem(text, |b| b.is_ascii_alphanumeric() || b == b'_', b"_.-")
);

word!(
    /// A device's serial number, leading zeros kept.
    SerialNumber,
    "serial-number",
    "^[0-9A-Za-z${}.-]+$",
    "a serial number",
    "write it as the device shows it, in quotes: \"000018988497\"",
    |text| charset_problem(text, |b| b.is_ascii_alphanumeric(), b"-")
);

word!(
    /// A systemd unit's instance name: an autostarted service of someone.
    ServiceName,
    "service-name",
    "^[A-Za-z0-9$]",
    "a service name",
    "write NAME of `oem-dc@NAME`",
    |text| charset_problem(text, |b| b.is_ascii_alphanumeric(), b"_.:-\\")
);

word!(
    /// An image in this machine's docker: a name or an id.
    EngineRef,
    "engine-reference",
    "^[A-Za-z0-9$]",
    "an image of this machine's docker",
    "write a name or ID that `docker image inspect` finds on this machine",
    |text| charset_problem(text, |b| b.is_ascii_alphanumeric(), b"_.:/@-")
);

word!(
    /// A registry: `host` or `host:port`.
    RegistryHost,
    "registry-host",
    "^[A-Za-z0-9$]",
    "a registry",
    "write `host` or `host:port`, without `http://`",
    |text| (!image::is_registry(text)).then(|| "it is not `host` or `host:port`".into())
);

word!(
    /// A name or a glob (`demo-*`) of things on the VPU.
    NameGlob,
    "name-glob",
    "^.",
    "a name or a glob",
    "write a name, with `*`, `?` or `[…]` for what varies",
    |text| globset::Glob::new(text).is_err().then(|| "its brackets or braces do not close".into())
);

word!(
    /// An ssh public key of the VPU, as in `known_hosts` behind the host: `ssh-ed25519 AAAA…`.
    HostKey,
    "host-key",
    "^[a-z0-9@.$-]+ +[A-Za-z0-9+/${]",
    "an ssh host key",
    "write the key type and the key as in known_hosts: `ssh-ed25519 AAAA…`",
    host_key_problem
);

/// Returns the problem of a name, if its first byte is not in `first`, or another one neither in
/// `first` nor in `more`.
fn charset_problem(text: &str, first: fn(u8) -> bool, more: &[u8]) -> Option<Problem> {
    let fits = |c: char, more: &[u8]| u8::try_from(c).is_ok_and(|b| first(b) || more.contains(&b));
    if let Some(c) = text.chars().next().filter(|&c| !fits(c, &[])) {
        return Some(format!("it starts with `{c}`").into());
    }
    let c = text.chars().find(|&c| !fits(c, more))?;
    Some(format!("it contains `{c}`").into())
}

fn host_key_problem(text: &str) -> Option<Problem> {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else {
        return Some("it is not a key type and a key".into());
    };
    if !["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|prefix| kind.starts_with(prefix))
    {
        return Some("it does not start with a key type".into());
    }
    if kind.contains("-cert-") {
        return Some("it is a certificate".into());
    }
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    // Every key starts with the length of its type in four
    // bytes, which gives these letters in base64.
    if !key.starts_with("AAAA") || !key.bytes().all(is_base64) || !key.len().is_multiple_of(4) {
        return Some("its second word is not a whole key in base64".into());
    }
    let Some((own_kind, rest)) = key_fields(&base64_bytes(key)) else {
        return Some("its second word is not a whole key in base64".into());
    };
    if own_kind != kind.as_bytes() {
        let own_kind = super::escape(&String::from_utf8_lossy(&own_kind));
        return Some(format!("its key is of the type `{own_kind}`").into());
    }
    (!KEY_TYPES.contains(&kind) || rest == 0).then(|| "it is not a key type that sshd has".into())
}

/// The types of host keys that OpenSSH supports.
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Returns the first field of a key, which is its type, and the number of further ones; `None` if
/// one is truncated. A field is its length in four bytes, followed by its bytes (RFC 4251).
fn key_fields(mut key: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut fields = vec![];
    while !key.is_empty() {
        let (length, rest) = key.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(field.to_vec());
        key = rest;
    }
    let others = fields.len().checked_sub(1)?;
    Some((fields.swap_remove(0), others))
}

/// Decodes base64; `text` has only characters of base64.
fn base64_bytes(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bits, mut count, mut bytes) = (0_u32, 0, vec![]);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        bits = (bits << 6) | u32::from(value(byte));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_le_bytes()[0]);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

impl HostKey {
    /// Returns the key's type: `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        self.0.split_ascii_whitespace().next().unwrap_or_default()
    }

    /// Returns the key itself in base64.
    pub fn base64(&self) -> &str {
        self.0.split_ascii_whitespace().nth(1).unwrap_or_default()
    }
}

/// The accepted host keys: written as one key or as a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HostKeys(Vec<HostKey>);

impl HostKeys {
    /// Returns the keys, at least one.
    pub fn as_slice(&self) -> &[HostKey] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for HostKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = Vec<HostKey>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an ssh host key or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(|key| vec![key]).map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Self::Value, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = seq.next_element()? {
                    keys.push(key);
                }
                if keys.is_empty() {
                    return Err(serde::de::Error::invalid_length(
                        0,
                        &"at least one host key",
                    ));
                }
                Ok(keys)
            }
        }

        deserializer.deserialize_any(OneOrMany).map(Self)
    }
}

impl schemars::JsonSchema for HostKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostKeys".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let key = generator.subschema_for::<HostKey>();
        schemars::json_schema!({
            "anyOf": [key, { "type": "array", "items": key, "minItems": 1 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_of_the_program_that_owns_them() {
        assert!("share_1.x-y".parse::<VolumeName>().is_ok());
        assert!("1-a_b".parse::<ProjectName>().is_ok());
        assert!("agv-17".parse::<HostName>().is_ok());
        assert!("fe80::1%eth0".parse::<HostName>().is_ok());
        let url = "ssh://agv-17".parse::<HostName>().unwrap_err();
        assert!(url.to_string().contains("it is a URL"), "{url}");
        assert!("demo-[0-9]*".parse::<NameGlob>().is_ok());
        for text in ["", "_a", "a b", "a/b", "ä", "a\n"] {
            assert!(text.parse::<VolumeName>().is_err(), "{text:?}");
        }
        for text in ["", "A", "-a", "a.b", "a b"] {
            assert!(text.parse::<ProjectName>().is_err(), "{text:?}");
        }
        for text in ["a_", "A", "a/b", "a..b", ""] {
            assert!(text.parse::<ReleaseName>().is_err(), "{text:?}");
        }
        for text in [
            "-oProxyCommand=x",
            "oem@host",
            "a b",
            "",
            "ssh://x",
            "10.0.0.1:22",
            "[fe80::1]",
            "[::1]:22",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
        for text in ["http://a:5000", "a:b", ""] {
            assert!(text.parse::<RegistryHost>().is_err(), "{text:?}");
        }
        assert!("a[".parse::<NameGlob>().is_err());
    }

    #[test]
    fn a_host_key_is_one_or_a_list() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKx4qOKaTLRhJhoDM7Vkj3w0x1WnZ1aBtk8UeVWKpYJf";
        let one: HostKeys = serde_json::from_value(serde_json::json!(key)).unwrap();
        let many: HostKeys = serde_json::from_value(serde_json::json!([key])).unwrap();
        assert_eq!(one, many);
        assert_eq!(one.as_slice()[0].kind(), "ssh-ed25519");
        assert!(one.as_slice()[0].base64().starts_with("AAAA"));
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA…",
            "host ssh-ed25519 AAAA",
            "ssh-rsa A",
            "ssh-foo AAAA",
            "ssh-ed25519 AAAA",
            &key.replace("ssh-ed25519", "ssh-rsa"),
            &key[..key.len() - 4],
        ] {
            assert!(text.parse::<HostKey>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_value::<HostKeys>(serde_json::json!([])).is_err());
    }
}

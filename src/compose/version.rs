//! The file format of a compose file, and which docker-compose takes it.

use super::{
    ComposeFile,
    node::{Node, Value},
};

/// The last minor of format 3 that docker-compose before 1.27 takes.
const LAST_OLD_MINOR: u32 = 7;

/// The file format that a compose file says it is written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// As written, `2.4`.
    pub text: String,
    /// Whether it is a string; docker-compose takes no number.
    pub is_string: bool,
    /// The line.
    pub line: usize,
}

pub(super) fn read(node: &Node) -> Option<Version> {
    let (text, is_string) = match &node.value {
        Value::String(text) => (text.clone(), true),
        Value::Other(text) => (text.clone(), false),
        _ => return None,
    };
    Some(Version {
        text,
        is_string,
        line: node.line,
    })
}

/// Why a docker-compose before 1.27, such as 1.25.4 of the older firmware, refuses a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the file does, completing "the compose file …".
    pub reason: String,
    /// The line, where it is one line's fault.
    pub line: Option<usize>,
}

/// What of a file docker-compose before 1.27 refuses and a later one takes (tried with 1.25.4 and
/// 1.29.2).
pub fn refused_by_old(file: &ComposeFile) -> Option<Refused> {
    let Some(version) = &file.version else {
        return Some(Refused {
            reason: "has no `version:`".to_owned(),
            line: None,
        });
    };
    let (major, minor) = version.text.split_once('.').unwrap_or((&version.text, "0"));
    if major != "3" {
        return None;
    }
    if minor.parse::<u32>().ok()? > LAST_OLD_MINOR {
        return Some(Refused {
            reason: format!("has the version `{}`", version.text),
            line: Some(version.line),
        });
    }
    let runtime = file.services.iter().find_map(|s| s.runtime.as_ref())?;
    Some(Refused {
        reason: format!("sets `runtime:` in version `{}`", version.text),
        line: Some(runtime.line),
    })
}

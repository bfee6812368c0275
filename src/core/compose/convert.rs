//! Converts values as docker-compose does after replacing
//! variables: `"80"` becomes a number if the key takes a number.

use super::{
    Release,
    node::{Kind, Node, Other, Value},
};

/// The type that a value is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Boolean,
    Integer,
    Float,
    Text,
    Bytes,
    Microseconds,
}

/// The keys below a service, with `*` for any one key and `**` for one or more.
const SERVICE: &[(&str, Target)] = &[
    ("blkio_config/weight", Target::Integer),
    ("blkio_config/weight_device/weight", Target::Integer),
    ("build/labels/**", Target::Text),
    ("cpus", Target::Float),
    ("cpu_count", Target::Integer),
    ("cpu_quota", Target::Microseconds),
    ("cpu_period", Target::Microseconds),
    ("cpu_rt_period", Target::Microseconds),
    ("cpu_rt_runtime", Target::Microseconds),
    ("configs/mode", Target::Integer),
    ("secrets/mode", Target::Integer),
    ("healthcheck/retries", Target::Integer),
    ("healthcheck/disable", Target::Boolean),
    ("deploy/labels/*", Target::Text),
    ("deploy/replicas", Target::Integer),
    ("deploy/update_config/parallelism", Target::Integer),
    ("deploy/update_config/max_failure_ratio", Target::Float),
    ("deploy/rollback_config/parallelism", Target::Integer),
    ("deploy/rollback_config/max_failure_ratio", Target::Float),
    ("deploy/restart_policy/max_attempts", Target::Integer),
    ("mem_swappiness", Target::Integer),
    ("labels/**", Target::Text),
    ("oom_kill_disable", Target::Boolean),
    ("oom_score_adj", Target::Integer),
    ("ports/target", Target::Integer),
    ("ports/published", Target::Integer),
    ("scale", Target::Integer),
    ("ulimits/*", Target::Integer),
    ("ulimits/*/soft", Target::Integer),
    ("ulimits/*/hard", Target::Integer),
    ("privileged", Target::Boolean),
    ("read_only", Target::Boolean),
    ("stdin_open", Target::Boolean),
    ("tty", Target::Boolean),
    ("volumes/read_only", Target::Boolean),
    ("volumes/volume/nocopy", Target::Boolean),
    ("volumes/tmpfs/size", Target::Bytes),
];

/// Keys that only 1.29.2 converts.
const SERVICE_NEWER: &[(&str, Target)] = &[
    ("deploy/placement/max_replicas_per_node", Target::Integer),
    ("deploy/resources/limits/cpus", Target::Float),
];

const NETWORK: &[(&str, Target)] = &[
    ("attachable", Target::Boolean),
    ("external", Target::Boolean),
    ("internal", Target::Boolean),
    ("labels/**", Target::Text),
];

/// The keys below volumes, secrets and configs.
const OTHERS: &[(&str, Target)] = &[("external", Target::Boolean), ("labels/**", Target::Text)];

fn fits(pattern: &str, path: &[String]) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    match parts.split_last() {
        Some((&"**", parents)) => {
            path.len() > parents.len() && parents.iter().zip(path).all(|(part, key)| part == key)
        }
        _ => {
            parts.len() == path.len()
                && parts
                    .iter()
                    .zip(path)
                    .all(|(part, key)| *part == "*" || part == key)
        }
    }
}

/// Converts one value below a section; list indices are not part of its path. If it cannot be
/// converted, returns what the key expects.
pub(super) fn convert(
    section: &str,
    path: &[String],
    node: &mut Node,
    release: Release,
) -> Result<(), &'static str> {
    let newer: &[_] = match release {
        Release::V1_25 => &[],
        Release::V1_29 => SERVICE_NEWER,
    };
    let (table, newer) = match section {
        "services" => (SERVICE, newer),
        "networks" => (NETWORK, &[][..]),
        _ => (OTHERS, &[][..]),
    };
    let Some((_, target)) = table
        .iter()
        .chain(newer)
        .find(|(pattern, _)| fits(pattern, path))
    else {
        return Ok(());
    };
    let converted = match &node.value {
        Value::String(text) => from_text(text, *target)?,
        Value::Other(other) if *target == Target::Text && other.kind != Kind::Date => {
            Value::String(python_text(other))
        }
        _ => return Ok(()),
    };
    node.value = converted;
    Ok(())
}

fn python_text(other: &Other) -> String {
    match other.kind {
        Kind::Bool(true) => "True".to_owned(),
        Kind::Bool(false) => "False".to_owned(),
        _ => other.text.clone(),
    }
}

fn from_text(text: &str, target: Target) -> Result<Value, &'static str> {
    let number = |kind: Kind, text: String| Value::Other(Other { text, kind });
    Ok(match target {
        Target::Text => Value::String(text.to_owned()),
        Target::Boolean => {
            let value = match text.to_ascii_lowercase().as_str() {
                "y" | "yes" | "true" | "on" => true,
                "n" | "no" | "false" | "off" => false,
                _ => return Err("`true` or `false`"),
            };
            number(Kind::Bool(value), value.to_string())
        }
        Target::Integer => {
            let value = integer(text).ok_or("an integer")?;
            number(Kind::Int(value), value.to_string())
        }
        Target::Float => {
            let bare = text.trim().replace('_', "");
            let value: f64 = bare.parse().map_err(|_| "a number")?;
            number(Kind::Float(value), text.trim().to_owned())
        }
        Target::Bytes => {
            let value = bytes(text).ok_or("a size such as `64m`")?;
            number(Kind::Int(value), value.to_string())
        }
        Target::Microseconds => {
            let seconds = seconds(text).ok_or("a duration such as `50ms`")?;
            #[expect(clippy::cast_possible_truncation, reason = "Python cuts it off, too")]
            let value = (seconds * 1e6) as i128;
            number(Kind::Int(value), value.to_string())
        }
    })
}

/// Parses like Python's `int(text, base=0)`, and reads a leading zero as octal.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase().replace('_', "");
    let value = if let Some(rest) = lower.strip_prefix("0x") {
        i128::from_str_radix(rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        i128::from_str_radix(rest, 2)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        i128::from_str_radix(rest, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        i128::from_str_radix(&lower[1..], 8)
    } else {
        lower.parse()
    };
    value.ok().map(|value| sign * value)
}

/// Parses a size as docker's Python library does: `64m`, `1.5gb`, `1024`.
pub(super) fn bytes(text: &str) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    let lower = text.to_ascii_lowercase();
    let mut chars = lower.chars().rev();
    let bare = match (chars.next(), chars.next()) {
        (Some('b'), Some(unit)) if unit.is_alphabetic() => &lower[..lower.len() - 1],
        _ => &lower,
    };
    let (digits, factor) = match bare.chars().last()? {
        '0'..='9' => (bare, 1.0),
        unit => {
            let factor = match unit {
                'b' => 1.0,
                'k' => 1024.0,
                'm' => 1024.0 * 1024.0,
                'g' => 1024.0 * 1024.0 * 1024.0,
                't' => 1024.0 * 1024.0 * 1024.0 * 1024.0,
                _ => return None,
            };
            (&bare[..bare.len() - 1], factor)
        }
    };
    let value: f64 = digits.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "Python cuts it off, too")]
    let value = (value * factor) as i128;
    Some(value)
}

/// Parses a duration as docker-compose does: `1h2m3s4ms5us6ns`, in that order.
pub(super) fn seconds(text: &str) -> Option<f64> {
    const UNITS: &[(&str, f64)] = &[
        ("h", 3600.0),
        ("m", 60.0),
        ("s", 1.0),
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ns", 1e-9),
    ];
    let lower = text.trim().to_lowercase();
    let mut rest = lower.as_str();
    let mut least = 0;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let at = UNITS
            .iter()
            .position(|(unit, _)| *unit == &after[..unit_end])?;
        if at < least {
            return None;
        }
        least = at + 1;
        total += value * UNITS[at].1;
        rest = &after[unit_end..];
    }
    Some(total)
}

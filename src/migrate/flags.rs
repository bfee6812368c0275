//! Reads the words of a command line as Python's `argparse` and `typer` do.

use std::collections::BTreeMap;

use o3r_core::closest::did_you_mean;

/// How many values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// None: it is a switch.
    Nothing,
    /// The next word.
    One,
    /// All words up to the next flag.
    Several,
}

/// A flag, without its dashes.
pub(super) type Flag = (&'static str, Takes);

/// What a command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The values of each flag that is given; of a switch, none.
    flags: BTreeMap<&'static str, Vec<String>>,
    /// Words that belong to no flag.
    pub(super) bare: Vec<String>,
}

/// Why a command line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    /// No such flag exists.
    #[error("`{flag}` is no flag of {tool}")]
    Unknown {
        /// The flag, as written.
        flag: String,
        /// The earlier tool.
        tool: &'static str,
        /// The one that is probably meant.
        closest: Option<String>,
    },
    /// A prefix of several flags.
    #[error("`{flag}` may be each of {candidates}")]
    Ambiguous {
        /// The flag, as written.
        flag: String,
        /// The flags that it may be.
        candidates: String,
    },
    /// A flag without its value.
    #[error("`{flag}` has no value")]
    NoValue {
        /// The flag, as written.
        flag: String,
    },
    /// A value that cannot be split into its parts.
    #[error("`{flag} {value}` is not {expected}")]
    BadValue {
        /// The flag, as written.
        flag: String,
        /// Its value.
        value: String,
        /// The form that the earlier tool reads.
        expected: &'static str,
    },
    /// A word that belongs to no flag.
    #[error("`{word}` belongs to no flag")]
    Bare {
        /// The word.
        word: String,
    },
    /// There are no flags.
    #[error("the command line has no flags")]
    Empty,
}

impl Words {
    /// Whether a flag is given.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains_key(flag)
    }

    /// Returns the value of a flag; an empty one counts as none, as for the earlier tools.
    pub(super) fn one(&self, flag: &str) -> Option<&str> {
        let value = self.flags.get(flag)?.first()?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Returns the values of a flag that are not empty.
    pub(super) fn all(&self, flag: &str) -> impl Iterator<Item = &str> {
        let values = self.flags.get(flag).into_iter().flatten();
        values
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// Returns the parts of a comma-separated list that are not empty.
    pub(super) fn list(&self, flag: &str) -> impl Iterator<Item = &str> {
        self.all(flag)
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
    }

    /// Reads words. The continuation signs of shells and batch files are left out.
    pub(super) fn read(
        words: &[String],
        flags: &'static [Flag],
        tool: &'static str,
    ) -> Result<Self, FlagError> {
        let mut read = Self::default();
        let words = words.iter().map(String::as_str);
        let mut words = words.filter(|word| !matches!(*word, "^" | "\\")).peekable();
        let is_flag = |word: &str| word.starts_with("--") || word == "-t";
        while let Some(word) = words.next() {
            if !is_flag(word) {
                read.bare.push(word.to_owned());
                continue;
            }
            let (written, attached) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word, None),
            };
            let (name, takes) = find(written, flags, tool)?;
            let mut values = read.flags.remove(name).unwrap_or_default();
            match takes {
                Takes::Nothing => {}
                Takes::One | Takes::Several => {
                    let next = attached
                        .or_else(|| words.next_if(|word| !is_flag(word)).map(str::to_owned));
                    let first = next.ok_or_else(|| FlagError::NoValue {
                        flag: written.to_owned(),
                    })?;
                    values.push(first);
                    while takes == Takes::Several
                        && let Some(value) = words.next_if(|word| !is_flag(word))
                    {
                        values.push(value.to_owned());
                    }
                }
            }
            read.flags.insert(name, values);
        }
        Ok(read)
    }
}

/// Finds a flag by its name or, as argparse, by a prefix of only one.
fn find(written: &str, flags: &'static [Flag], tool: &'static str) -> Result<Flag, FlagError> {
    let name = match written {
        "-t" => "transfers",
        _ => written.trim_start_matches('-'),
    };
    // `typer` lowers the name of a parameter: `purge_docker_images_on_OVP`.
    let is_exact =
        |flag: &&Flag| flag.0 == name || (name.contains('-') && flag.0 == name.to_lowercase());
    if let Some(flag) = flags.iter().find(is_exact) {
        return Ok(*flag);
    }
    let candidates: Vec<&Flag> = flags
        .iter()
        .filter(|(flag, _)| !name.is_empty() && flag.starts_with(name))
        .collect();
    match candidates.as_slice() {
        [flag] => Ok(**flag),
        [] => Err(FlagError::Unknown {
            flag: written.to_owned(),
            tool,
            closest: did_you_mean(name, flags.iter().map(|(flag, _)| *flag))
                .map(|flag| format!("--{flag}")),
        }),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|(flag, _)| format!("--{flag}"))
                .collect();
            Err(FlagError::Ambiguous {
                flag: written.to_owned(),
                candidates: names.join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        ("IP", Takes::One),
        ("transfers", Takes::One),
        ("transfers_to_vpu", Takes::Several),
        ("remove_images", Takes::Nothing),
    ];

    fn read(line: &str) -> Result<Words, FlagError> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Words::read(&words, FLAGS, "the tool")
    }

    #[test]
    fn flags_are_read_as_argparse_does() {
        let words = read("^ --IP=1.2.3.4 --transfers_to a,b c,d --remove_i -t x>y").unwrap();
        assert_eq!(words.one("IP"), Some("1.2.3.4"));
        let all: Vec<&str> = words.all("transfers_to_vpu").collect();
        assert_eq!(all, ["a,b", "c,d"]);
        assert!(words.has("remove_images") && words.one("remove_images").is_none());
        assert_eq!(words.one("transfers"), Some("x>y"));
        assert!(words.bare.is_empty());
        // An empty value is none; the last one counts where there is only one.
        let words = read("--IP  --transfers a,,b").unwrap();
        assert_eq!(words.one("IP"), None);
        let list: Vec<&str> = words.list("transfers").collect();
        assert_eq!(list, ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let unknown = read("--IPs 1").unwrap_err();
        let expected = FlagError::Unknown {
            flag: "--IPs".into(),
            tool: "the tool",
            closest: Some("--IP".into()),
        };
        assert_eq!(unknown, expected);
        let several = read("--tran x").unwrap_err().to_string();
        assert_eq!(
            several,
            "`--tran` may be each of --transfers, --transfers_to_vpu"
        );
        assert_eq!(
            read("--IP --remove_images").unwrap_err().to_string(),
            "`--IP` has no value"
        );
        assert_eq!(read("x --IP 1").unwrap().bare, ["x"]);
    }
}

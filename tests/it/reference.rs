//! The pages of the reference that are generated from the program: the keys of manifests, and
//! commands with their options.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};
use o3r_deploy::internal::cli::Cli;
use serde_json::Value;

use crate::committed::is_current;

/// Describes the values of a key in a few words: `string`,
/// `` `arm64` or `amd64` ``, `list of strings`.
fn kind(schema: &Value) -> String {
    let several = |all: &[Value], word: fn(&Value) -> String| {
        let words: Vec<String> = all.iter().map(word).collect();
        words.join(" or ")
    };
    if let Some(words) = schema["enum"].as_array() {
        return several(words, |word| format!("`{word}`"));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(kinds) = schema[key].as_array() {
            return several(kinds, kind);
        }
    }
    if let Some(types) = schema["type"].as_array() {
        return several(types, |word| kind(&serde_json::json!({ "type": word })));
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}s", kind(&schema["items"])),
        Some("object") => "table".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "any".to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Whether no version supports the table yet: it, or each of its keys, is marked.
fn is_later(schema: &Value, table: &Value) -> bool {
    let is_marked = |one: &Value| {
        let description = one["description"].as_str().unwrap_or_default();
        description.contains("Not supported yet")
    };
    let mut keys = table["properties"].as_object().into_iter().flatten();
    is_marked(schema) || is_marked(table) || keys.all(|(_, key)| is_marked(key))
}

/// Writes a table of the manifest, with the tables in it: `key` of the manifest, or of the table `within`.
fn section(page: &mut String, key: &str, within: Option<&str>, schema: &Value) {
    let table = if schema["type"] == "array" {
        &schema["items"]
    } else {
        schema
    };
    let name = match within {
        Some(within) => format!("`{key}` in {within}"),
        None if schema["type"] == "array" => format!("[[{key}]]"),
        None => format!("[{key}]"),
    };
    let later = if is_later(schema, table) {
        " (not supported yet)"
    } else {
        ""
    };
    let _ = writeln!(page, "\n## {name}{later}\n");
    if let Some(text) = schema["description"].as_str() {
        let _ = writeln!(page, "{text}\n");
    }
    let Some(keys) = table["properties"].as_object() else {
        return;
    };
    let required = table["required"].as_array();
    let is_required = |key: &str| required.is_some_and(|all| all.iter().any(|one| one == key));
    page.push_str("| key | value | meaning |\n|---|---|---|\n");
    for (key, property) in keys {
        let must = if is_required(key) { ", required" } else { "" };
        let meaning = property["description"].as_str().unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{key}` | {}{must} | {} |",
            kind(property),
            cell(meaning)
        );
    }
    for (key, property) in keys {
        if property["properties"].is_object() {
            section(page, key, Some(&name), property);
        }
    }
}

fn manifest() -> String {
    let schema = std::fs::read_to_string("schemas/deploy.schema.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut page = "# Keys of the manifest\n\n\
        Every key of `deploy.toml`; [the manifest](manifest.md) shows how to use them, and \
        [which are not supported yet](manifest.md#what-is-not-supported-yet). This page is generated from the schema \
        (`o3r-deploy schema`) by `tests/run.sh bless-local`; editors show the same text where you type.\n"
        .to_owned();
    for (key, table) in schema["properties"].as_object().unwrap() {
        match (
            table["type"].as_str(),
            table["additionalProperties"]["properties"].is_object(),
        ) {
            (Some("object"), true) => {
                let mut one = table["additionalProperties"].clone();
                one["description"] = table["description"].clone();
                section(&mut page, &format!("{key}.NAME"), None, &one);
            }
            (Some("object" | "array"), _) => section(&mut page, key, None, table),
            _ => {}
        }
    }
    page
}

/// `-o, --output <FILE>`.
fn option(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.first().map(|name| format!(" <{name}>"));
    let value = value.filter(|_| arg.get_action().takes_values());
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let words: Vec<String> = short.into_iter().chain(long).collect();
    if words.is_empty() {
        let name = arg.get_id().as_str().to_uppercase();
        return format!("`<{name}>`");
    }
    format!("`{}{}`", words.join(", "), value.unwrap_or_default())
}

fn options<'a>(page: &mut String, args: impl Iterator<Item = &'a Arg>) {
    let mut rows = String::new();
    for arg in args.filter(|arg| !arg.is_hide_set()) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let mut more = vec![];
        let values = arg.get_possible_values();
        let values: Vec<String> = values
            .iter()
            .map(|v| format!("`{}`", v.get_name()))
            .collect();
        if arg.get_action().takes_values() && !values.is_empty() {
            more.push(values.join(", "));
        }
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        if arg.get_action().takes_values() && !defaults.is_empty() {
            more.push(format!("default: `{}`", defaults.join(" ")));
        }
        let more = more.join("; ");
        let more = if more.is_empty() {
            more
        } else {
            format!(" ({more})")
        };
        let _ = writeln!(rows, "| {} | {}{} |", option(arg), cell(&help), cell(&more));
    }
    if !rows.is_empty() {
        let _ = write!(page, "\n| option | effect |\n|---|---|\n{rows}");
    }
}

fn commands() -> String {
    let program: Command = Cli::command();
    let mut page = "# Commands\n\n\
        Every command and option, as `o3r-deploy COMMAND --help` shows them; see also the [exit codes](exit-codes.md). This page is \
        generated from the program by `tests/run.sh bless-local`.\n"
        .to_owned();
    for command in program.get_subcommands() {
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(page, "\n## {}\n\n{about}.", command.get_name());
        options(&mut page, command.get_arguments());
    }
    page.push_str("\n## Options of every command\n");
    options(&mut page, program.get_arguments());
    page
}

#[test]
fn headings_name_tables_as_toml_does_and_say_what_is_not_supported() {
    let page = manifest();
    for heading in [
        "## [[compose]]",
        "## `health` in [[compose]]",
        "## [[downloads]] (not supported yet)",
        "## [logs] (not supported yet)",
        "## `keep` in [logs] (not supported yet)",
        "## [apply]",
    ] {
        assert!(page.lines().any(|line| line == heading), "{heading}");
    }
}

#[test]
fn keys_of_manifests_are_current() {
    is_current("docs/manifest-keys.md", &manifest());
}

#[test]
fn commands_are_current() {
    is_current("docs/cli.md", &commands());
}

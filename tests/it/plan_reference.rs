//! The reference of the plan document, generated from its schema and from a run of the program.

use std::{collections::BTreeSet, fmt::Write as _, process::Command};

use serde_json::Value;

use crate::committed::is_current;

/// Words of commands that are longer are shortened in the example: most are scripts.
const WORD: usize = 60;

/// Definitions whose values [errors.md](../../docs/errors.md) lists.
const CODES: &[&str] = &["BlockCode", "NoteCode"];

fn link(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or_default();
    if CODES.contains(&name) {
        return "[code](errors.md)".to_owned();
    }
    format!("[{name}](#{})", name.to_lowercase())
}

/// Describes the values of a field: `list of [Step](#step)`.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return link(reference);
    }
    if let Some(kinds) = schema["anyOf"].as_array() {
        let kinds: Vec<String> = kinds.iter().map(kind).collect();
        return kinds.join(" or ");
    }
    if let Some(value) = schema["const"].as_str() {
        return format!("`\"{value}\"`");
    }
    if let Some(types) = schema["type"].as_array() {
        let types: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
        return types.join(" or ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some(kind) => kind.to_owned(),
        None => "any".to_owned(),
    }
}

fn text(schema: &Value) -> String {
    let description = schema["description"].as_str().unwrap_or_default();
    description.replace('|', "\\|").replace('\n', " ")
}

/// Writes the fields of an object.
fn fields(page: &mut String, schema: &Value) {
    let required: BTreeSet<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let optional = if required.contains(name.as_str()) {
            ""
        } else {
            ", optional"
        };
        let _ = writeln!(
            page,
            "| `{name}` | {}{optional} | {} |",
            kind(field),
            text(field)
        );
    }
}

fn definition(page: &mut String, name: &str, schema: &Value) {
    let _ = write!(page, "\n## {name}\n\n{}\n", text(schema));
    let Some(variants) = schema["oneOf"].as_array() else {
        if schema["properties"].is_object() {
            fields(page, schema);
        } else {
            let _ = writeln!(page, "\nJSON: {}.", kind(schema));
        }
        return;
    };
    let is_object = |variant: &Value| variant["properties"].is_object();
    if !variants.iter().any(is_object) {
        page.push_str("\n| value | meaning |\n|---|---|\n");
        for variant in variants {
            let _ = writeln!(page, "| {} | {} |", kind(variant), text(variant));
        }
        return;
    }
    page.push_str("\n| `kind` | meaning | other fields |\n|---|---|---|\n");
    for variant in variants {
        let others = variant["properties"].as_object().into_iter().flatten();
        let others = others.filter(|(name, _)| *name != "kind");
        let others: Vec<String> = others
            .map(|(name, field)| format!("`{name}` ({}): {}", kind(field), text(field)))
            .collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            kind(&variant["properties"]["kind"]),
            text(variant),
            others.join(" ")
        );
    }
}

/// Shortens the words of commands.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::Array(words) if name == "argv" => {
                        words.iter_mut().for_each(shorten_word);
                    }
                    member => shorten(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten),
        _ => {}
    }
}

fn shorten_word(word: &mut Value) {
    let Value::String(word) = word else { return };
    if word.contains('\n') {
        // Its text changes often, and says nothing about the format.
        "(a script)".clone_into(word);
    } else if word.chars().count() > WORD {
        *word = word.chars().take(WORD).collect::<String>() + "…";
    }
}

/// Returns what the program prints as the plan for a VPU that was observed before.
fn example() -> String {
    let home = tempfile::tempdir().expect("there is a temporary directory");
    let ran = Command::new(env!("CARGO_BIN_EXE_o3r-deploy"))
        .args(["plan", "--observed", "seen.json", "--format", "json"])
        .current_dir("tests/cmd/observed.in")
        .env("HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .output()
        .expect("it starts");
    let mut plan: Value = serde_json::from_slice(&ran.stdout).expect("a plan");
    shorten(&mut plan);
    serde_json::to_string_pretty(&plan).expect("JSON")
}

fn reference() -> String {
    let schema = std::fs::read_to_string("schemas/plan.schema.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let format = o3r_deploy::internal::plan::FORMAT;
    let mut page = format!(
        "# The plan as JSON\n\n\
         `o3r-deploy plan --format json` prints the plan, and `plan -o FILE` saves it for `apply FILE`. `format` is {format}: \
         it changes when a field changes its meaning or goes, and another format is refused; fields may be added without that. \
         A command that fails prints an object with `error` and `exit_code` instead ([exit codes](exit-codes.md), \
         [codes](errors.md)). `o3r-deploy schema plan` prints the schema. This page is generated from it by \
         `tests/run.sh bless-local`; a field that is called optional may be missing.\n\n\
         ## Plan\n\n{}\n",
        text(&schema)
    );
    fields(&mut page, &schema);
    for (name, one) in schema["$defs"].as_object().into_iter().flatten() {
        if !CODES.contains(&name.as_str()) {
            definition(&mut page, name, one);
        }
    }
    let _ = write!(
        page,
        "\n## Example\n\nThe plan of `tests/cmd/observed.in` for a VPU that was observed before. Long words of \
         `argv` are shortened here, and scripts left out.\n\n```json\n{}\n```\n",
        example()
    );
    page
}

#[test]
fn the_plan_document_is_current() {
    is_current("docs/plan-json.md", &reference());
}

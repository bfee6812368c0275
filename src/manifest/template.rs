//! Renders templates with the variables of a manifest.

use std::{collections::HashSet, io};

use camino::Utf8Path;
use minijinja::{Environment, UndefinedBehavior, Value};

use super::{
    FindingCode, Loaded,
    diagnostics::{Diagnostic, Source},
    names::escape,
    variables,
};
use crate::closest::did_you_mean;
use o3r_core::units;

/// The largest template in bytes, and the largest text that one is rendered to: it is kept in memory.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The most instructions of a template: a loop in a loop would not end in time.
const FUEL: u64 = 10_000_000;

/// Renders the content of a file; an unknown variable is an error at its place in the file.
///
/// # Errors
/// It is not text, or not a template that can be rendered.
pub(crate) fn render(
    loaded: &Loaded,
    path: &Utf8Path,
    bytes: &[u8],
) -> Result<Vec<u8>, Box<Diagnostic>> {
    let code = FindingCode::Template;
    let Ok(text) = str::from_utf8(bytes) else {
        let source = Source::new(path.as_str(), String::new());
        let message = format!("{path} is a template and not UTF-8 text");
        let finding = Diagnostic::error(code, &source, message);
        return Err(Box::new(finding.help(
            "leave it out with `exclude`, or place it without `template = true`",
        )));
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_fuel(Some(FUEL));
    let context = Value::from_serialize(&loaded.variables);
    if let Some(at) = variables::start_in_other(text) {
        let source = Source::new(path.as_str(), shown(text));
        let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
        let name = &text[at + 2..end.saturating_sub(1).max(at + 2)];
        let line = source.line_and_column(at).0;
        let message = format!(
            "{path}:{line} `${{{}}}` is no variable of a template",
            escape(name)
        );
        let help = format!(
            "write `{{{{ {} }}}}`; a literal `$` is `{{{{ \"$\" }}}}`",
            escape(name.trim())
        );
        let finding = Diagnostic::error(code, &source, message).label(at..end, "here");
        return Err(Box::new(finding.help(help)));
    }
    let mut rendered = Bounded(vec![]);
    let template = environment.template_from_named_str(path.as_str(), text);
    let done = template.and_then(|template| {
        let written = template.render_captured_to(context, &mut rendered);
        written.map(drop)
    });
    match done {
        Ok(()) => Ok(rendered.0),
        Err(error) => Err(Box::new(finding(loaded, path, text, &error))),
    }
}

/// Returns the variables that a template refers to, such as `vars.line`; none if it is not a template.
pub(crate) fn variables_of(bytes: &[u8]) -> HashSet<String> {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let environment = Environment::new();
    let template = environment.template_from_str(text);
    template.map_or_else(
        |_| HashSet::new(),
        |template| template.undeclared_variables(true),
    )
}

/// Takes as many bytes as a template may have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0.len() + bytes.len()) as u64 > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn finding(loaded: &Loaded, path: &Utf8Path, text: &str, error: &minijinja::Error) -> Diagnostic {
    let source = Source::new(path.as_str(), shown(text));
    let range = error
        .range()
        .filter(|range| text.get(range.clone()).is_some());
    let place = match (&range, error.line()) {
        (Some(range), _) => format!("{path}:{}", source.line_and_column(range.start).0),
        (None, Some(line)) => format!("{path}:{line}"),
        (None, None) => path.to_string(),
    };
    let expression = range.clone().and_then(|range| text.get(range));
    let (message, help) = match (error.kind(), expression) {
        (minijinja::ErrorKind::UndefinedError, Some(name)) => (
            format!("`{}` has no value", escape(name.trim())),
            known(loaded, name.trim()),
        ),
        (minijinja::ErrorKind::WriteFailure, _) => (
            format!("renders more than {}", units::bytes(MAX_BYTES)),
            "make its loops shorter".to_owned(),
        ),
        (minijinja::ErrorKind::OutOfFuel, _) => (
            format!("takes more than {FUEL} steps to render"),
            "make its loops shorter".to_owned(),
        ),
        (kind, _) => {
            let detail = error.detail().map_or(kind.to_string(), ToOwned::to_owned);
            (escape(&detail), SYNTAX.to_owned())
        }
    };
    let finding = Diagnostic::error(FindingCode::Template, &source, format!("{place} {message}"));
    match range {
        Some(range) => finding.label(range, "here"),
        None => finding,
    }
    .help(help)
}

/// How to write what would be read as a part of a template.
const SYNTAX: &str = "correct the template; `{{ \"{{\" }}` stands for `{{`, and text between `{% raw %}` and `{% endraw %}` stays as \
                      written";

/// Returns the text without characters that would move the cursor; of the same length in bytes.
fn shown(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_ascii_control() => ' ',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Lists the variables that have a value.
fn known(loaded: &Loaded, name: &str) -> String {
    if let Some(("env", name)) = name.split_once('.') {
        let name = escape(name);
        return format!(
            "list it: `env = [\"{name}\"]` in [vars]; if it is listed, set it: export {name}=…"
        );
    }
    if let Some(("vpu", key @ ("name" | "serial"))) = name.split_once('.') {
        let table = loaded.chosen.as_ref();
        let table = table.map_or("[vpu]".to_owned(), |name| {
            format!("[vpus.{}]", escape(name))
        });
        return format!("set `{key}` in {table}");
    }
    let tables = loaded.variables.as_object().into_iter().flatten();
    let names = tables.flat_map(|(table, values)| {
        let keys = values.as_object().into_iter().flatten();
        keys.map(move |(key, _)| format!("{table}.{key}"))
    });
    let names: Vec<String> = names.collect();
    match did_you_mean(name, names.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if name.starts_with("vars.") => {
            let key = name.trim_start_matches("vars.");
            match &loaded.chosen {
                Some(vpu) => format!(
                    "set `{key}` in `vars` of [vpus.{}], or in [vars]",
                    escape(vpu)
                ),
                None => format!("set `{key}` in [vars]"),
            }
        }
        None => format!("variables with a value: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    fn rendered(text: &str) -> Result<String, String> {
        let manifest = "[release]\nname = \"app\"\nversion = \"1.4\"\n[vars]\nrobot_id = \"17\"\n";
        let loaded = manifest::parse("deploy.toml", manifest.as_bytes()).unwrap();
        match render(&loaded, "conf/app.toml".into(), text.as_bytes()) {
            Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Err(finding) => {
                let help = finding.help.clone().unwrap_or_default();
                Err(format!("{finding}; {help}"))
            }
        }
    }

    #[test]
    fn variables_are_replaced_and_all_else_stays() {
        let text = "# über ${X} ${user.name} $$\n[robot]\nid = {{ vars.robot_id }}\r\nv = \"{{release.name}}-{{ release.version }}\"\n";
        let wanted = "# über ${X} ${user.name} $$\n[robot]\nid = 17\r\nv = \"app-1.4\"\n";
        assert_eq!(rendered(text).unwrap(), wanted);
        let logic =
            "{% if vars.robot_id == \"17\" %}yes{% else %}no{% endif %}{{ vars.robot_id|int + 1 }}";
        assert_eq!(rendered(logic).unwrap(), "yes18");
    }

    #[test]
    fn what_cannot_be_rendered_is_found_at_its_place() {
        for (text, wanted) in [
            (
                "a\nid = {{ vars.robto_id }}\n",
                "conf/app.toml:2 `vars.robto_id` has no value; did you mean `vars.robot_id`?",
            ),
            (
                "{{ env.HOME }}",
                "conf/app.toml:1 `env.HOME` has no value; list it: `env = [\"HOME\"]` in [vars]; if it is listed, set it: \
                 export HOME=…",
            ),
            (
                "a\n${vars.robot_id}",
                "conf/app.toml:2 `${vars.robot_id}` is no variable of a template; write `{{ vars.robot_id }}`; a literal `$` \
                 is `{{ \"$\" }}`",
            ),
            (
                "{{ vpu.name }}",
                "conf/app.toml:1 `vpu.name` has no value; set `name` in [vpu]",
            ),
        ] {
            assert_eq!(rendered(text).unwrap_err(), wanted);
        }
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let endless = rendered(endless).unwrap_err();
        assert!(endless.contains("steps to render"), "{endless}");
        let long = "{% for a in range(99999) %}{{ \"x\" * 100000 }}{% endfor %}";
        let long = rendered(long).unwrap_err();
        assert!(long.contains("renders more than 1.00 MiB"), "{long}");
        let open = rendered("a\n{{ vars.x").unwrap_err();
        assert!(open.starts_with("conf/app.toml:2 "), "{open}");
        let include = rendered("{% include \"/etc/passwd\" %}").unwrap_err();
        assert!(include.contains("conf/app.toml:1 "), "{include}");
        let loaded = manifest::parse("deploy.toml", b"[release]\nname = \"a\"\n").unwrap();
        let binary = render(&loaded, "a.bin".into(), b"\xff").unwrap_err();
        assert_eq!(binary.message, "a.bin is a template and not UTF-8 text");
    }
}

//! Replaces variables, such as `${release.version}`, in the strings of a document.

use serde_json::Value;

use super::{
    FindingCode,
    diagnostics::{Diagnostic, Source},
    spans::{SpanMap, child},
    variables::{self, Variables},
};

/// Replaces variables in every string.
pub(super) fn interpolate(
    value: &mut Value,
    variables: &Variables<'_>,
    spans: &SpanMap,
    source: &Source,
) -> Vec<Diagnostic> {
    let mut walk = Walk {
        variables,
        spans,
        source,
        findings: Vec::new(),
    };
    walk.value(value, "");
    walk.findings
}

struct Walk<'a> {
    variables: &'a Variables<'a>,
    spans: &'a SpanMap,
    source: &'a Source,
    findings: Vec<Diagnostic>,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value, pointer: &str) {
        match value {
            Value::String(text) if variables::start(text).is_some() => {
                let (spans, source) = (self.spans, self.source);
                let findings = &mut self.findings;
                let replaced = self.variables.replace(text, pointer, &mut |problem| {
                    let code = FindingCode::UnknownVariable;
                    findings.push(
                        Diagnostic::error(code, source, problem.message)
                            .at(pointer)
                            .label(spans.value(pointer), "in this string")
                            .help(problem.help),
                    );
                });
                *text = replaced;
            }
            Value::Array(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    self.value(element, &format!("{pointer}/{index}"));
                }
            }
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    self.value(value, &child(pointer, key));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Replaces the variables of a manifest for the VPU `vpu`, with a `vpus.toml` beside it.
    fn for_vpu(mut value: Value, vpu: Option<&str>) -> (Value, Vec<String>) {
        let source = Source::new("deploy.toml", String::new());
        let environment = |name: &str| (name == "CI").then(|| "yes".to_owned());
        let beside = json!({"vpus": {"b": {"name": "agv-${vars.id}", "vars": {"id": "2"}}}});
        let beside = if vpu.is_some() { &beside } else { &Value::Null };
        let variables = Variables::new(value.clone(), beside, vpu, Some(&environment));
        let spans = SpanMap::default();
        let findings = interpolate(&mut value, &variables, &spans, &source);
        let shown = findings.iter().map(|finding| {
            let help = finding.help.as_deref().unwrap_or_default();
            format!("{finding}; {help}")
        });
        (value, shown.collect())
    }

    fn interpolated(value: Value) -> (Value, Vec<String>) {
        let (value, findings) = for_vpu(value, None);
        let messages = findings
            .iter()
            .filter_map(|one| Some(one.split_once(';')?.0.to_owned()));
        (value, messages.collect())
    }

    #[test]
    fn the_variable_is_replaced_in_every_string_but_the_version() {
        let (value, findings) = interpolated(json!({
            "release": {"name": "app-${release.version}", "version": "1.4"},
            "images": [{"name": "app:${release.version}", "rootfs": {"env": {"V": "${release.version}+${release.version}"}}}],
            "list": ["a", "${release.version}"],
            "number": 7,
        }));
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(
            value,
            json!({
                "release": {"name": "app-1.4", "version": "1.4"},
                "images": [{"name": "app:1.4", "rootfs": {"env": {"V": "1.4+1.4"}}}],
                "list": ["a", "1.4"],
                "number": 7,
            })
        );
    }

    #[test]
    fn other_variables_are_left_to_the_reader_of_the_string() {
        let text = "${HOME} $release.version ${release} $${x}";
        let (value, findings) = interpolated(json!({"release": {"version": "1"}, "a": text}));
        assert_eq!((value["a"].as_str(), findings.len()), (Some(text), 0));
        let (value, findings) =
            interpolated(json!({"release": {"version": "1"}, "a": "$${release.version} $$"}));
        assert_eq!(
            (value["a"].as_str(), findings.len()),
            (Some("${release.version} $$"), 0)
        );
    }

    #[test]
    fn what_cannot_be_replaced_is_found_once() {
        let found =
            |release: Value, text: &str| interpolated(json!({"release": release, "a": text})).1;
        assert_eq!(
            found(json!({}), "${release.version}"),
            ["`${release.version}` is not known"]
        );
        assert_eq!(
            found(
                json!({"version": "1"}),
                "${release.vresion} ${release.major} ${release.ver"
            ),
            [
                "there is no variable `${release.vresion}`",
                "there is no variable `${release.major}`",
                "a variable is not closed"
            ]
        );
        // An invalid version has its own finding.
        for wrong in [json!(1.4), json!("a b"), json!("${release.version}")] {
            assert_eq!(
                found(json!({"version": wrong}), "app:${release.version}"),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn each_vpu_has_its_own_values() {
        let manifest = json!({
            "release": {"name": "app", "version": "1"},
            "vars": {"id": "0", "motd": "robot ${vars.id} of ${release.name}", "env": ["CI"]},
            "vpu": {"serial": "7"},
            "vpus": {
                "a": {"name": "front-${vars.id}", "vars": {"id": "1-${vpu.serial}"}},
                "c": {"vars": {"only": "c"}},
            },
            "path": "~/${vars.id}/${vpu.name}/${env.CI}",
            "motd": "${vars.motd}",
        });
        let (for_a, findings) = for_vpu(manifest.clone(), Some("a"));
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(for_a["path"], "~/1-7/front-1-7/yes");
        assert_eq!(for_a["motd"], "robot 1-7 of app");
        assert_eq!(for_a["vars"]["motd"], "robot 1-7 of app");
        // A VPU of `vpus.toml`; the tables of others keep their own values.
        let (for_b, findings) = for_vpu(manifest.clone(), Some("b"));
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(for_b["path"], "~/2/agv-2/yes");
        assert_eq!(for_b["vpus"]["a"]["name"], "front-1-7");
        // One without a name, and none: then it depends on the VPU.
        let (_, findings) = for_vpu(manifest.clone(), Some("c"));
        assert_eq!(
            findings,
            ["`${vpu.name}` is not known; set `name` in [vpus.c]"]
        );
        let mut several = manifest;
        several["path"] = json!("${vars.only}/${vpu.name}");
        assert_eq!(interpolated(several).1, Vec::<String>::new());
    }

    #[test]
    fn which_vpu_and_release_are_meant_needs_the_environment_and_nothing_else() {
        let mut value = json!({
            "release": {"name": "app-${vars.site}", "version": "${env.TAG}"},
            "vars": {"env": ["TAG"], "site": "${env.TAG}.local"},
            "a": "${env.TAG}",
            "vpu": {"host": "${vars.site}", "vars": {"x": "${env.TAG}"}},
            "vpus": {"b": {"host": "${env.TAG}"}, "c": {"host": "10.0.0.1"}},
        });
        let none = |_: &str| None;
        let variables = Variables::new(value.clone(), &Value::Null, Some("c"), Some(&none));
        let variables = variables.without_environment();
        let source = Source::new("deploy.toml", String::new());
        let findings = interpolate(&mut value, &variables, &SpanMap::default(), &source);
        let found: Vec<&str> = findings.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(found, ["/release/name", "/vpu/host"]);
    }

    #[test]
    fn what_has_no_value_says_where_to_declare_it() {
        let found = |manifest: Value, text: &str| {
            let mut manifest = manifest;
            manifest["release"] = json!({"name": "app", "version": "1"});
            manifest["a"] = json!(text);
            for_vpu(manifest, None).1.join("\n")
        };
        let none = || json!({});
        for (manifest, text, wanted) in [
            (
                json!({"vars": {"robot": "1"}}),
                "${vars.robto}",
                "there is no variable `${vars.robto}`; did you mean `${vars.robot}`?",
            ),
            (
                none(),
                "${vars.x}",
                "there is no variable `${vars.x}`; declare it: `x = \"…\"` in [vars]",
            ),
            (
                none(),
                "${vpu.name}",
                "`${vpu.name}` is not known; set `name` in [vpu]",
            ),
            (
                none(),
                "${vpu.nmae}",
                "there is no variable `${vpu.nmae}`; did you mean `${vpu.name}`?",
            ),
            (
                none(),
                "${env.HOME}",
                "`${env.HOME}` is not listed; list it: `env = [\"HOME\"]` in [vars]",
            ),
            (
                json!({"vars": {"env": ["TAG"]}}),
                "${env.TAG}",
                "`${env.TAG}` is not set in this environment; set it before o3r-deploy runs: export TAG=…",
            ),
            (
                json!({"vars": {"a": "${vars.b}", "b": "x${vars.a}"}}),
                "plain",
                "the value of `${vars.a}` contains itself: vars.a -> vars.b -> vars.a; give one of them a value without the other\n\
                 the value of `${vars.b}` contains itself: vars.b -> vars.a -> vars.b; give one of them a value without the other",
            ),
            (
                json!({"vars": {"line": "1"}}),
                "${var.line}",
                "there is no variable `${var.line}`; did you mean `${vars.line}`?",
            ),
            (
                json!({"vars": {"line": "1"}}),
                "${ vars.line }",
                "there is no variable `${ vars.line }`; write it without blanks: `${vars.line}`",
            ),
            // These have their own finding.
            (json!({"vars": {"a": 7}}), "${vars.a}", ""),
        ] {
            assert_eq!(found(manifest, text), wanted, "{text}");
        }
    }
}

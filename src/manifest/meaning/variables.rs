//! Checks the names of variables.

use crate::closest::did_you_mean;
use crate::manifest::{
    FindingCode, diagnostics::Diagnostic, loaded::Loaded, names::escape, spans::child,
};

/// Returns an error for each name that a template could not use.
pub(super) fn check(loaded: &Loaded) -> Vec<Diagnostic> {
    let manifest = &loaded.manifest;
    let vars = manifest
        .vars
        .values
        .keys()
        .map(|name| ("/vars".to_owned(), name));
    let common = loaded
        .declared_vpu
        .vars
        .keys()
        .map(|name| ("/vpu/vars".to_owned(), name));
    let of_vpus = manifest.vpus.iter().flat_map(|(vpu, table)| {
        let pointer = format!("{}/vars", child("/vpus", vpu));
        table.vars.keys().map(move |name| (pointer.clone(), name))
    });
    let all = vars.chain(common).chain(of_vpus);
    let invalid = all.filter(|(_, name)| !is_name(name));
    let findings = invalid.map(|(table, name)| {
        let message = format!("`{}` is not the name of a variable", escape(name));
        let help = "write letters, digits and `_`, and no digit first, e.g. `robot_id`";
        let code = FindingCode::WrongValue;
        loaded.diagnostic(&child(&table, name), code, message, "this variable", help)
    });
    findings.chain(mistyped(loaded)).collect()
}

/// Returns a warning for each variable of a VPU that is probably meant to override another one.
fn mistyped(loaded: &Loaded) -> Vec<Diagnostic> {
    let manifest = &loaded.manifest;
    let common = loaded.declared_vpu.vars.keys();
    let known: Vec<&str> = manifest
        .vars
        .values
        .keys()
        .chain(common)
        .map(String::as_str)
        .collect();
    let tables = manifest.vpus.iter().flat_map(|(vpu, table)| {
        let pointer = format!("{}/vars", child("/vpus", vpu));
        table.vars.keys().map(move |name| (pointer.clone(), name))
    });
    let unknown = tables.filter(|(_, name)| is_name(name) && !known.contains(&name.as_str()));
    let warnings = unknown.filter_map(|(table, name)| {
        let meant = did_you_mean(name, known.iter().copied())?;
        let message = format!("`{}` overrides no variable of [vars]", escape(name));
        let help = format!("did you mean `{meant}`? Otherwise declare it in [vars], too");
        let code = FindingCode::UnknownVariable;
        let finding = loaded.diagnostic(&child(&table, name), code, message, "this variable", help);
        Some(finding.warning())
    });
    warnings.collect()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    #[test]
    fn a_name_is_one_that_a_template_can_use() {
        let text = "[release]\nname = \"a\"\n[vars]\nok_1 = \"\"\n1x = \"\"\n[vpu]\nvars = { \"a b\" = \"\" }\n\
                    [vpus.x]\nvars = { a-b = \"\", _c = \"\" }\n";
        let loaded = manifest::parse("deploy.toml", text.as_bytes()).unwrap();
        let found = check(&loaded);
        let found: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(found, ["/vars/1x", "/vpu/vars/a b", "/vpus/x/vars/a-b"]);
        let text = "[release]\nname = \"a\"\n[vars]\nline = \"\"\n[vpus.x]\nvars = { lnie = \"\", other = \"\" }\n";
        let loaded = manifest::parse("deploy.toml", text.as_bytes()).unwrap();
        let found = check(&loaded);
        let help = found[0].help.as_deref().unwrap_or_default();
        assert_eq!((found.len(), found[0].is_error()), (1, false));
        assert!(help.starts_with("did you mean `line`?"), "{help}");
    }
}

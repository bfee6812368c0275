//! `check`: validates the manifest and all it points to,
//! for every VPU that it names, without connecting to one.

use std::collections::BTreeMap;

use serde_json::json;

use super::{CommandError, ErrorCode, Exit, session};
use crate::{
    cli::{self, Global, TextOrJson},
    image::LayerCache,
    manifest::{
        self, Diagnostic, Diagnostics, FindingCode, LoadError, Loaded, Manifest, meaning,
        names::escape,
        types::{Vars, Vpu},
        unsupported::unsupported,
    },
    render,
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Check,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let mut vpus = String::new();
    let findings = match manifest::load_with(&global.file, &session::options(global)) {
        Err(LoadError::Invalid(findings)) => findings,
        Err(error) => return Err(session::load_error(error)),
        Ok(loaded) => {
            vpus = checked(&loaded);
            Diagnostics::new(all_findings(global, &loaded, cache, ui).await)
        }
    };
    let failed = findings.has_errors();
    match args.format {
        TextOrJson::Json => {
            let exit = if failed { Exit::Usage } else { Exit::Done };
            let error = json!({
                "code": ErrorCode::InvalidManifest.name(),
                "message": findings.to_string(),
                "help": null,
            });
            ui.data(&render::document(&json!({
                "format": 1,
                "exit_code": exit as u8,
                "error": failed.then_some(error),
                "manifest": global.file.as_str(),
                "findings": findings,
            })));
        }
        TextOrJson::Text if findings.is_empty() => {
            ui.say(&format!("{}: {}{vpus}", global.file, ui.good("valid")));
        }
        TextOrJson::Text if failed => ui.report(&findings),
        TextOrJson::Text => {
            ui.warn(&findings);
            ui.say(&format!("{}: valid{vpus}, with warnings", global.file));
        }
    }
    if failed {
        Err(CommandError::silent(Exit::Usage))
    } else {
        Ok(Exit::Done)
    }
}

/// The most VPUs that are named.
const NAMED: usize = 5;

/// Formats ` for agv-17, agv-18`: the VPUs that the manifest is checked for, if it lists any.
fn checked(loaded: &Loaded) -> String {
    let names: Vec<String> = loaded
        .manifest
        .vpus
        .keys()
        .map(|name| escape(name))
        .collect();
    match names.len() {
        0 => String::new(),
        1..=NAMED => format!(" for {}", names.join(", ")),
        all => format!(
            " for {} and {} more",
            names[..NAMED].join(", "),
            all - NAMED
        ),
    }
}

/// Returns what decides which files and images a VPU gets: VPUs of which it is the same get the same ones.
fn deployed(loaded: &Loaded) -> String {
    let manifest = Manifest {
        vpu: Vpu {
            arch: loaded.manifest.vpu.arch,
            ..Vpu::default()
        },
        vpus: BTreeMap::new(),
        vars: Vars::default(),
        ..loaded.manifest.clone()
    };
    let mut transfers = manifest.transfers.iter().map(|one| one.template);
    let has_templates = transfers.any(|is| is) || manifest.compose.iter().any(|one| one.template);
    let variables = has_templates.then_some(&loaded.variables);
    // Types of a manifest always serialise.
    serde_json::to_string(&(manifest, variables)).unwrap_or_default()
}

/// Returns everything that is wrong with a readable manifest: for the chosen VPU, and for every
/// other one.
async fn all_findings(
    global: &Global,
    loaded: &Loaded,
    cache: &LayerCache,
    ui: Ui,
) -> Vec<Diagnostic> {
    let mut findings = loaded.warnings.clone();
    findings.extend(unsupported(loaded));
    findings.extend(meaning::same_vpus(loaded));
    let resolved = session::resolve(loaded, cache, ui).await;
    let mut found = resolved.err().unwrap_or_default();
    // What was found of the files that several VPUs share.
    let mut seen = BTreeMap::new();
    if loaded.selection().is_err() {
        // Templates are rendered for each VPU below, and for none here.
        found.retain(|finding| finding.code != FindingCode::Template);
    } else {
        seen.insert(deployed(loaded), vec![]);
    }
    findings.extend(found);
    let mut of_others: Vec<(Diagnostic, Vec<String>)> = vec![];
    let others = loaded.manifest.vpus.keys();
    for name in others.filter(|name| loaded.chosen.as_ref() != Some(name)) {
        // Its variables have values of their own.
        let options = manifest::Options {
            vpu: Some(name.clone()),
            ..session::options(global)
        };
        let mut found = match manifest::load_with(&global.file, &options) {
            Ok(other) => {
                let mut found = other.warnings.clone();
                let key = deployed(&other);
                if !seen.contains_key(&key) {
                    let resolved = session::resolve(&other, cache, ui).await;
                    seen.insert(key.clone(), resolved.err().unwrap_or_default());
                }
                found.extend(seen.get(&key).into_iter().flatten().cloned());
                found
            }
            Err(LoadError::Invalid(invalid)) => invalid.into_vec(),
            Err(_) => vec![], // the file changed meanwhile
        };
        found.retain(|finding| !findings.contains(finding));
        for finding in found {
            match of_others.iter_mut().find(|(known, _)| *known == finding) {
                Some((_, names)) => names.push(escape(name)),
                None => of_others.push((finding, vec![escape(name)])),
            }
        }
    }
    // A finding about all VPUs is reported once; any other names the VPUs that it is about.
    let all = loaded.manifest.vpus.len();
    for (mut finding, names) in of_others {
        if names.len() < all {
            finding.message = format!("{}, with --vpu {}", finding.message, names.join(", "));
        }
        findings.push(finding);
    }
    findings
}

//! `check`: validates the manifest and all it points to, without a VPU.

use super::{CommandError, Exit, session};
use crate::{
    cli::{self, Global, TextOrJson},
    manifest::{self, Diagnostic, Diagnostics, LoadError, unsupported::unsupported},
    ui::Ui,
};

pub(super) async fn run(global: &Global, args: &cli::Check, ui: Ui) -> Result<Exit, CommandError> {
    let findings = match manifest::load(&global.file) {
        Err(LoadError::Invalid(findings)) => findings,
        Err(error) => return Err(session::load_error(error)),
        Ok(loaded) => {
            let mut findings = loaded.warnings.clone();
            findings.extend(unsupported(&loaded).into_iter().map(Diagnostic::warning));
            findings.extend(session::resolve(&loaded).await.err().unwrap_or_default());
            Diagnostics::new(findings)
        }
    };
    let failed = findings.has_errors();
    match args.format {
        TextOrJson::Json => {
            let text = serde_json::to_string_pretty(&findings).unwrap_or_default();
            ui.data(&format!("{text}\n"));
        }
        TextOrJson::Text if findings.is_empty() => {
            ui.say(&format!("{}: {}", global.file, ui.good("valid")));
        }
        TextOrJson::Text => {
            ui.report(&findings);
            if !failed {
                ui.say(&format!("{}: valid, with warnings", global.file));
            }
        }
    }
    if failed {
        Err(CommandError::silent(Exit::Usage))
    } else {
        Ok(Exit::Done)
    }
}

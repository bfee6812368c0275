//! `migrate`: writes a manifest that does what a command line of an earlier tool did.

use super::{CommandError, ErrorCode, Exit, written};
use crate::{
    cli::{self, Global},
    image::LayerCache,
    migrate::{self, FlagError},
    scaffold,
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Migrate,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let path = &global.file;
    let folder = written::folder(path)?;
    let name = match &args.name {
        Some(name) => name.to_string(),
        None => scaffold::name_of(folder),
    };
    let migrated = migrate::migrate(&args.command_line, folder, &name, written::SCHEMA);
    let migrated = migrated.map_err(|error| unreadable(&error))?;
    let summary = format!("release {name}");
    written::write(path, &migrated.text, &summary, ui)?;
    for instead in &migrated.instead {
        ui.note(&format!("{}: {}", instead.flag, instead.advice));
    }
    let option = written::option(path);
    let next = format!("next: run: o3r-deploy{option} authorize, then: o3r-deploy{option} plan");
    written::judge(path, &next, cache, ui).await
}

/// Says where the flags of the earlier tools are listed, or which one is meant.
fn unreadable(error: &FlagError) -> CommandError {
    let help = match error {
        FlagError::Unknown {
            closest: Some(flag),
            ..
        } => format!("did you mean `{flag}`? Remove flags that the earlier tool does not have"),
        FlagError::Empty => "write it behind `--`: o3r-deploy migrate -- o3r_docker_manager --IP 192.168.0.69 ...".to_owned(),
        _ => "write the command line as you give it to the earlier tool, quotes included; nothing was written".to_owned(),
    };
    CommandError::message(ErrorCode::BadFlags, error.to_string(), Some(help))
}

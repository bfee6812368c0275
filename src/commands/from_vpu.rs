//! `init --from-vpu`: writes a manifest for what runs on a VPU, with the files that it needs. Overwrites nothing.

use camino::Utf8Path;

use super::{CommandError, ErrorCode, Exit, authorize::Authorized, files, look, written};
use crate::{
    cli::{self, Global},
    deployment,
    image::LayerCache,
    manifest::DEFAULT_API_PORT,
    observe::Query,
    scaffold,
    survey::{self, Survey, SurveyError},
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Init,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let path = &global.file;
    let folder = written::folder(path)?;
    let login = cli::Authorize {
        key: None,
        yes: args.yes,
    };
    let vpu = Authorized::open(global, None, &login, ui).await?;
    let query = Query {
        api_port: DEFAULT_API_PORT,
        ..Query::default()
    };
    let note = |what: &str| ui.note(what);
    let observed = deployment::observe(&vpu.host, &query, &note).await?;
    // Complete before anything appears in the folder.
    let fetched = tempfile::tempdir_in(folder).map_err(|error| files::cannot_write(&error))?;
    let place = Utf8Path::from_path(fetched.path()).unwrap_or(folder);
    let default = scaffold::name_of(folder);
    let surveyed = survey::survey(&vpu.host, &observed, args.name.as_ref(), &default, place).await;
    let survey = surveyed.map_err(|error| failed(error, vpu.address()))?;
    adopt(place, folder)?;
    let text = survey::text(&survey, vpu.address(), written::SCHEMA);
    written::write(path, &text, &summary(&survey), ui)?;
    for what in &survey.notes {
        ui.note(what);
    }
    let (loaded, _) = look::read(global)?;
    vpu.write(loaded.as_ref())?;
    let option = written::option(path);
    let next = format!("next: run: o3r-deploy{option} plan");
    written::judge(path, &next, cache, ui).await
}

/// Moves what was fetched into the folder of the manifest.
///
/// # Errors
/// Something of it is there already: nothing is moved.
fn adopt(from: &Utf8Path, to: &Utf8Path) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| files::cannot_write(&error);
    let entries = from.read_dir_utf8().map_err(failed)?;
    let entries: Result<Vec<_>, _> = entries.collect();
    let entries = entries.map_err(failed)?;
    for entry in &entries {
        let target = to.join(entry.file_name());
        if target.symlink_metadata().is_ok() {
            return Err(CommandError::message(
                ErrorCode::FileExists,
                format!(
                    "{target} exists, and the VPU has a file of that name; nothing was written"
                ),
                Some("run it in an empty folder".to_owned()),
            ));
        }
    }
    for entry in &entries {
        fs_err::rename(entry.path(), to.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

fn summary(survey: &Survey) -> String {
    let names: Vec<&str> = survey
        .projects
        .iter()
        .map(|project| project.name.as_str())
        .collect();
    let recorded = if survey.is_recorded {
        ", as the VPU recorded it"
    } else {
        ""
    };
    format!(
        "release {}{recorded}; projects: {}",
        survey.release,
        names.join(", ")
    )
}

fn failed(error: SurveyError, address: &str) -> CommandError {
    let help = match error {
        SurveyError::Host(error) => return error.into(),
        SurveyError::Io(error) => return files::cannot_write(&error),
        SurveyError::Several(_) => "name one: init --from-vpu --name NAME",
        SurveyError::Nothing => "write a manifest for the files of this folder: o3r-deploy init",
        SurveyError::Unknown { .. } => "examine the VPU with: o3r-deploy doctor",
    };
    CommandError::message(
        ErrorCode::NotDescribed,
        format!("{address}: {error}; nothing was written"),
        Some(help.to_owned()),
    )
}

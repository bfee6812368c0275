//! `status`: shows what is deployed, what runs, and what differs from the manifest. Read-only by
//! construction.

use super::{
    CommandError, ErrorCode, Exit,
    look::{Look, Wanted},
};
use crate::{
    cli::{self, Global, TextOrJson},
    image::LayerCache,
    observe, plan,
    prepare::unprepared,
    render,
    resolve::Resolved,
    status::{Drift, status},
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Status,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let look = Look::open_anyway(global, cache, ui).await?;
    if let Wanted::Unknown(reason) = &look.wanted
        && args.exit_code
    {
        return Err(CommandError::message(
            ErrorCode::NoManifest,
            format!("--exit-code needs a valid manifest: {reason}"),
            None,
        ));
    }
    let observed = look.observe().await?;
    let plan = match &look.wanted {
        // A status prepares no images.
        Wanted::Known(wanted) => {
            let Resolved { desired, images } = &**wanted;
            let offers = unprepared(desired, images).offers;
            Ok(plan::plan(desired, &observed, &offers, look.address()))
        }
        Wanted::Unknown(reason) => Err(reason.clone()),
    };
    let mut status = status(
        look.address(),
        &observed,
        plan.as_ref().map_err(Clone::clone),
    );
    status.failed = observe::history(look.host()).await?.failed();
    match args.format {
        TextOrJson::Json => ui.data(&render::document(&status)),
        TextOrJson::Text => ui.data(&render::status_text(&status, ui.plan_style())),
    }
    Ok(match &status.drift {
        Drift::Known { blocked, .. } if args.exit_code && !blocked.is_empty() => Exit::Blocked,
        Drift::Known { changes, .. } if args.exit_code && !changes.is_empty() => Exit::Changes,
        _ => Exit::Done,
    })
}

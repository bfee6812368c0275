//! `status`: shows what is deployed, what runs, and what differs from the manifest. Read-only by
//! construction.

use super::{
    CommandError, ErrorCode, Exit,
    look::{Look, Wanted},
};
use crate::{
    cli::{self, Global, TextOrJson},
    deployment,
    image::LayerCache,
    observe, plan,
    prepare::{repairs, unprepared},
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
    let needs_manifest = [(args.exit_code, "--exit-code"), (args.verify, "--verify")];
    let mut needs_manifest = needs_manifest.iter().filter(|(is_set, _)| *is_set);
    if let Wanted::Unknown(reason) = &look.wanted
        && let Some((_, option)) = needs_manifest.next()
    {
        return Err(CommandError::message(
            ErrorCode::NoManifest,
            format!("{option} needs a manifest whose files and images are all there: {reason}"),
            None,
        ));
    }
    let mut observed = look.observe().await?;
    let plan = match &look.wanted {
        // A status prepares no images.
        Wanted::Known(wanted) => {
            let Resolved { desired, images } = &**wanted;
            let mut offers = unprepared(desired, images).offers;
            if args.verify {
                let (host, facts) = (look.host(), &observed.facts);
                let note = |what: &str| ui.note(what);
                observed.facts.verified =
                    deployment::verify(host, wanted, facts, cache, &note).await?;
                offers.repairs = repairs(desired, images, &observed.facts, cache)
                    .map_err(deployment::Error::from)?;
            }
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
        _ if args.exit_code && status.has_failing() => Exit::Changes,
        // What could not be compared does not pass as whole.
        _ if args.exit_code && args.verify && !status.unknown.is_empty() => Exit::Changes,
        _ => Exit::Done,
    })
}

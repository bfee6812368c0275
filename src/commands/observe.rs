//! `observe`: saves everything that a plan needs to know of a VPU. Read-only by construction.

use super::{
    CommandError, Exit,
    files::write,
    look::{Look, Wanted},
    plan::from_observed,
};
use crate::{
    cli::{self, Global},
    image::LayerCache,
    observe::Document,
    render,
    ui::Ui,
};

pub(super) async fn run(
    global: &Global,
    args: &cli::Observe,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let look = Look::open(global, cache, ui).await?;
    let observed = look.observe().await?;
    if let Wanted::Unknown(reason) = &look.wanted {
        ui.note(&format!("no paths are inspected: {reason}"));
    }
    let query = look.query(&observed);
    let text = render::document(&Document::new(look.address(), query, observed));
    match &args.output {
        None => ui.data(&text),
        Some(file) => {
            // What runs on a VPU is not for other users of this machine.
            write(file, text.as_bytes(), 0o600)?;
            ui.say(&format!(
                "{file}: the current state of {}; plan from it with: {}",
                look.address(),
                from_observed(global, file)
            ));
        }
    }
    Ok(Exit::Done)
}

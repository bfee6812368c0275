//! `destroy`: plans that nothing of a release stays.

use std::{sync::Arc, time::Duration};

use super::{
    CommandError, ErrorCode, kept,
    session::{Connection, Session},
};
use crate::{
    cli::Global,
    deployment,
    desired::{Desired, Guards, Permits, Release},
    host::Host,
    image::LayerCache,
    manifest::{DEFAULT_API_PORT, Loaded, names::ReleaseName},
    observe::{self, Query},
    prepare::Sizes,
    resolve::{self, LocalImages, Resolved},
    ui::Ui,
};

/// Connects, and plans that nothing of a release stays: of the manifest's, if none is named.
pub(super) async fn open(
    global: &Global,
    name: Option<&ReleaseName>,
    permits: Permits,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Session, CommandError> {
    let (connection, loaded) = kept::connect(global, ui).await?;
    let mut resolved = nothing_of(&connection, loaded.as_ref(), name).await?;
    resolved.desired.permits = permits;
    let sizes = Sizes::Exact;
    Ok(Session::on(
        connection,
        Arc::new(resolved),
        cache,
        sizes,
        ui,
    ))
}

/// Returns the end of a release that the VPU has: of the manifest's, if none is named, or of the only one.
async fn nothing_of(
    connection: &Connection,
    loaded: Option<&Loaded>,
    asked_for: Option<&ReleaseName>,
) -> Result<Resolved, CommandError> {
    let (host, address) = (&connection.host, &connection.address);
    let releases = observe::history(host).await?;
    let asked = kept::asked(asked_for, loaded);
    let lost = kept::lost_records(host, &releases, asked).await?;
    if !lost.is_empty() {
        return Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("{address}: {}", kept::record_is_lost(&lost)),
            Some(kept::REBUILD.into()),
        ));
    }
    let name = kept::name(&releases, asked, address)?;
    let (Some(history), Ok(name)) = (releases.0.get(&name), name.parse::<ReleaseName>()) else {
        return Err(CommandError::message(
            ErrorCode::UnknownRelease,
            format!("{address} has nothing that o3r-deploy deployed as {name}"),
            None,
        ));
    };
    let header = history
        .current()
        .and_then(|number| history.kept.get(&number));
    let header = header.and_then(|header| header.as_ref().ok());
    let release = Release {
        name,
        version: header.map_or(String::new(), |header| header.version.clone()),
        source: None,
    };
    let guards = match loaded {
        Some(loaded) => resolve::guards(&loaded.manifest.vpu),
        None => guards_of(host).await?,
    };
    let apply = loaded.map(|loaded| &loaded.manifest.apply);
    let of_header = header.and_then(|header| header.watchdog);
    let watchdog = match apply {
        Some(apply) => apply.watchdog.after(),
        None => of_header.map(Duration::from_secs),
    };
    let desired = Desired::destruction(release, guards);
    let (keep, keep_size) = header.map_or((desired.keep_releases, None), |header| {
        (header.keep, header.keep_size)
    });
    Ok(Resolved {
        desired: Desired {
            watchdog,
            keep_releases: keep,
            keep_size,
            ..desired
        },
        images: LocalImages::default(),
    })
}

/// Without a manifest, any VPU is the intended one.
async fn guards_of<H: Host>(host: &H) -> Result<Guards, CommandError> {
    let observed = observe::observe(host, &Query::default()).await;
    let observed = observed.map_err(deployment::Error::from)?;
    Ok(Guards {
        arch: observed.facts.system.arch,
        serial: None,
        firmware: None,
        api_port: DEFAULT_API_PORT,
    })
}

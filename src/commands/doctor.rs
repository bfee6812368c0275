//! `doctor`: examines this machine, the link and the VPU. Changes nothing.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::{
    CommandError, Exit, again,
    files::write,
    look::{self, Look},
    plan::from_observed,
    target,
};
use crate::{
    cli::{self, Global, TextOrJson},
    device,
    doctor::{self, Area, Check, Needs, Report, Verdict},
    host::DirectHost,
    image::LayerCache,
    manifest::{DEFAULT_API_PORT, Loaded},
    observe::{self, Document, Query},
    render,
    ui::Ui,
};

/// How long the device's API may take to answer if there is no login.
const API_TIMEOUT: Duration = Duration::from_secs(5);

/// What can be sent to others to look into a failure: an observation, from which `plan --observed` works, with the report.
#[derive(Serialize)]
struct Bundle {
    #[serde(flatten)]
    observation: Option<Document>,
    doctor: Report,
}

pub(super) async fn run(
    global: &Global,
    args: &cli::Doctor,
    cache: &LayerCache,
    ui: Ui,
) -> Result<Exit, CommandError> {
    let read = look::read(global);
    let loaded = read.as_ref().ok().and_then(|(loaded, _)| loaded.clone());
    let loaded = loaded.as_ref();
    let mut checks = doctor::machine(&needs(loaded), cache.dir()).await;
    checks.extend(manifest(global, &read));
    let host = target::ssh_options(global, loaded).map(|options| options.host);
    let found = match (look::anyway(read, global), &host) {
        // Without the VPU's address, there is nothing to connect to.
        (Err(_), _) => None,
        (_, Err(error)) => Some(Err(no_login(error))),
        (Ok(read), _) => {
            let found = Look::open_by(read, global, cache, ui).await;
            Some(found.map_err(|error| no_login(&error)))
        }
    };
    let host = host.unwrap_or_default();
    let mut observation = None;
    let mut exit = Exit::Done;
    match found {
        None => {}
        Some(Ok(look)) => {
            checks.extend(link(&look).await?);
            // After the link was measured.
            let (observed, extra, failed) =
                tokio::join!(look.observe(), doctor::ask(look.host()), failed(&look));
            let observed = observed?;
            checks.extend(doctor::vpu(&observed, &extra?, SystemTime::now()));
            checks.extend(failed?);
            let query = look.query(&observed);
            observation = Some(Document::new(look.address(), query, observed));
        }
        Some(Err(check)) => {
            exit = Exit::Unreachable;
            checks.push(check);
            checks.extend(without_login(&host, loaded).await);
        }
    }
    let report = Report::new(&host, checks);
    if exit == Exit::Done && report.count(Verdict::Problem) > 0 {
        exit = Exit::Blocked;
    }
    match args.format {
        TextOrJson::Json => ui.data(&render::document(&report)),
        TextOrJson::Text => ui.data(&render::doctor_text(&report, ui.plan_style())),
    }
    if let Some(file) = &args.bundle {
        let has_observation = observation.is_some();
        let bundle = Bundle {
            observation,
            doctor: report,
        };
        // What runs on a VPU is not for other users of this machine.
        write(file, render::document(&bundle).as_bytes(), 0o600)?;
        ui.say(&if has_observation {
            let plan = from_observed(global, file);
            format!("{file}: this report and the state of {host}; plan from it with: {plan}")
        } else {
            format!("{file}: this report; the VPU could not be observed")
        });
    }
    Ok(exit)
}

fn needs(loaded: Option<&Loaded>) -> Needs {
    let Some(loaded) = loaded else {
        return Needs::default();
    };
    let manifest = &loaded.manifest;
    Needs {
        docker: manifest.images.iter().any(|image| image.engine.is_some()),
        arch: Some(manifest.vpu.arch().into()),
        identity: manifest.vpu.identity.is_some(),
    }
}

/// Judges the manifest; nothing if there is none.
fn manifest(global: &Global, read: &Result<look::Read, CommandError>) -> Option<Check> {
    let problem = |found: &str| {
        Check::problem(
            Area::Machine,
            "manifest",
            found,
            "plan and apply reject it",
            again("check"),
        )
    };
    match read {
        Ok((None, _)) => None,
        Ok((Some(_), Some(reason))) => {
            let reason = reason.split("; see: ").next().unwrap_or(reason);
            Some(problem(reason))
        }
        Ok((Some(loaded), None)) => {
            let file = &global.file;
            Some(match loaded.warnings.as_slice() {
                [] => Check::ok(Area::Machine, "manifest", format!("{file} is valid")),
                warnings => Check::warning(
                    Area::Machine,
                    "manifest",
                    format!("{file} is valid, with {} warnings", warnings.len()),
                    &warnings[0].message,
                    again("check"),
                ),
            })
        }
        Err(error) => Some(problem(&said(error, "message"))),
    }
}

/// Returns a member of an error's document.
fn said(error: &CommandError, member: &str) -> String {
    let document = error.document();
    let text = document.get(member).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

async fn link(look: &Look) -> Result<Vec<Check>, CommandError> {
    let mut checks = vec![Check::ok(Area::Link, "login", "works")];
    checks.extend(doctor::link(look.host()).await?);
    Ok(checks)
}

/// Reports why there is no login.
fn no_login(error: &CommandError) -> Check {
    let (message, help) = (said(error, "message"), said(error, "help"));
    Check::problem(
        Area::Link,
        "login",
        message,
        "the VPU was not examined",
        help,
    )
}

/// Asks the device's API whether the device is there at all.
async fn without_login(host: &str, loaded: Option<&Loaded>) -> Option<Check> {
    if host.is_empty() {
        return None;
    }
    let port = loaded.map_or(DEFAULT_API_PORT, |loaded| loaded.manifest.vpu.api_port());
    let direct = DirectHost::new(host);
    let query = Query {
        api_port: port,
        ..Query::default()
    };
    let asked = tokio::time::timeout(API_TIMEOUT, device::observe(&direct, &query)).await;
    let device = asked.ok().and_then(|(device, _)| device.known().cloned());
    Some(match device {
        Some(device) => Check::ok(
            Area::Link,
            "device",
            format!(
                "a VPU answers on port {port}: serial {}, firmware {}",
                device.serial, device.firmware
            ),
        ),
        None => Check::warning(
            Area::Link,
            "device",
            format!("the device's API does not answer on {host}, port {port}"),
            "the VPU is off, still starting, at another address, or behind a jump host",
            format!("check the cable and the power; try: ping {host}; ip route get {host}"),
        ),
    })
}

/// Reports applies that failed and were not rolled back.
async fn failed(look: &Look) -> Result<Option<Check>, CommandError> {
    let failed = observe::history(look.host()).await?.failed();
    let names: Vec<String> = failed.iter().map(|apply| apply.release.clone()).collect();
    Ok((!names.is_empty()).then(|| {
        Check::warning(
            Area::Vpu,
            "applies",
            format!(
                "the last apply of {} failed and was not rolled back",
                names.join(", ")
            ),
            "the VPU has neither the old nor the new release as a whole",
            again("apply"),
        )
    }))
}

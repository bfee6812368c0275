//! Observes a VPU within a time limit, and reports what it waits for.

use std::{collections::BTreeSet, time::Duration};

use o3r_core::facts::Facts;

use super::Error;
use crate::{
    desired::Desired,
    digest::Digest,
    host::{Host, HostError},
    observe::{self, Observed, Query, Remembered, docker_answers},
    plan, render,
};

/// When docker is asked for a sign of life while a look runs: an ordinary look takes a second or two.
const ASKED_AFTER: [u64; 5] = [20, 60, 180, 300, 590];

/// How long it may take to give one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How often it may give none.
const SILENT: u32 = 2;

/// After how long it is said that docker-compose is waited for; an ordinary answer takes a second or two.
const SLOW_COMPOSE: Duration = Duration::from_secs(10);

/// Observes a VPU. After 30 s that is said, and after 70 s in which docker gave no sign of life it ends.
pub(crate) async fn observe<H: Host>(
    host: &H,
    query: &Query,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Observed, Error> {
    // On the heap: it holds several conversations with the VPU at once.
    let look = Box::pin(observe::observe(host, query));
    tokio::select! {
        observed = look => Ok(observed?),
        error = watch(host, note) => Err(error),
    }
}

async fn watch<H: Host>(host: &H, note: &(dyn Fn(&str) + Sync)) -> Error {
    let start = tokio::time::Instant::now();
    let mut silent = 0;
    for seconds in ASKED_AFTER {
        tokio::time::sleep_until(start + Duration::from_secs(seconds)).await;
        let answers = match docker_answers(host, SIGN_OF_LIFE).await {
            Ok(answers) => answers,
            Err(error) => return error.into(),
        };
        let took = render::duration(start.elapsed());
        if answers {
            silent = 0;
            note(&format!("inspecting the VPU: {took} so far"));
            continue;
        }
        silent += 1;
        if silent >= SILENT {
            return Error::DockerHangs { took };
        }
        note(&format!(
            "docker info on the VPU has not answered for {took}"
        ));
    }
    Error::Silent
}

/// Observes what a desired state needs of a VPU, and has its docker-compose read the projects.
pub(crate) async fn look<H: Host>(
    host: &H,
    desired: &Desired,
    remembered: &Remembered,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Observed, Error> {
    let mut observed = observe(host, &desired.query(), note).await?;
    let undeclared = observe::undeclared(host, desired, &observed).await?;
    observed.facts.undeclared.clone_from(&undeclared);
    let with_undeclared = desired.with_undeclared(&observed);
    let query = with_undeclared.query();
    if query != desired.query() {
        // What the release made and no longer declares is known only now.
        observed = observe(host, &query, note).await?;
        observed.facts.undeclared = undeclared;
    }
    let desired = &*with_undeclared;
    let undeclared = plan::undeclared_data(desired, &observed.facts);
    observed.facts.data = observe::data(host, undeclared).await?;
    observe::identify(&mut observed.facts, desired.config_digests());
    resolve_projects(host, desired, &mut observed, remembered, note).await?;
    if desired.contents.are_on_vpu() {
        let home = observed.facts.system.home.clone();
        observed.facts.kept = observe::kept(host, &home, desired.contents_of_files()).await?;
    }
    observed.facts.lost_files = lost_files(host, desired, &observed.facts).await?;
    Ok(observed)
}

/// Asks for the files that a rollback would restore; returns those that it could not.
async fn lost_files<H: Host>(
    host: &H,
    desired: &Desired,
    facts: &Facts,
) -> Result<BTreeSet<String>, HostError> {
    let needed = plan::files_to_restore(desired, facts);
    let all = needed.iter().flat_map(|(path, (sha256, kept))| {
        let places = std::iter::once(path).chain(kept);
        places.map(|place| (*sha256, place.clone()))
    });
    let whole = observe::whole(host, all).await?;
    let is_lost = |path: &String, (sha256, kept): &(Digest, Vec<String>)| {
        let mut places = std::iter::once(path).chain(kept);
        !places.any(|place| whole.contains(&(*sha256, place.clone())))
    };
    let lost = needed
        .into_iter()
        .filter(|(path, needed)| is_lost(path, needed));
    Ok(lost.map(|(path, _)| path).collect())
}

/// Has docker-compose on the VPU read the projects, unless it just read the same ones.
async fn resolve_projects<H: Host>(
    host: &H,
    desired: &Desired,
    observed: &mut Observed,
    remembered: &Remembered,
    note: &(dyn Fn(&str) + Sync),
) -> Result<(), HostError> {
    let questions = desired.questions(&observed.facts);
    let resolve = observe::resolve_all(host, &questions, remembered);
    let waiting = async {
        tokio::time::sleep(SLOW_COMPOSE).await;
        note("waiting for docker-compose on the VPU, which reads the compose projects");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        resolved = resolve => observed.facts.resolved = resolved?,
        () = waiting => {}
    }
    Ok(())
}

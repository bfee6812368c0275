//! Checks a manifest's declarations about booting.

use super::Checker;
use crate::{
    compose::Service,
    manifest::{FindingCode, names::FirmwareRange, types::Compose},
};
use o3r_core::restart_policy::RestartPolicy;

/// The first firmware that is documented to start containers by their restart policy alone.
const BY_POLICY: [u64; 3] = [1, 21, 0];

pub(super) fn check(checker: &mut Checker<'_>) {
    let manifest = &checker.loaded.manifest;
    for (index, name) in manifest.autostart.disable.iter().enumerate() {
        let declared = manifest.compose.iter();
        let declared = declared
            .into_iter()
            .position(|c| c.name.as_str() == name.as_str());
        let Some(project) = declared else {
            continue;
        };
        let finding = checker.loaded.diagnostic(
            &format!("/autostart/disable/{index}"),
            FindingCode::AutostartDeclared,
            format!("`{name}` is a project of this manifest, not a service of others"),
            "disabled here",
            "remove it, and write `autostart = false` in its [[compose]]",
        );
        let place = checker
            .loaded
            .spans
            .value(&format!("/compose/{project}/name"));
        checker.findings.push(finding.label(place, "declared here"));
    }
}

/// Returns the message and help for a service without a suitable restart policy in a project that
/// starts at boot, if the firmware is known to depend on restart policies.
pub(super) fn policy_problem(
    firmware: Option<&FirmwareRange>,
    compose: &Compose,
    service: &Service,
) -> Option<(String, &'static str)> {
    let by_policy = firmware.is_some_and(|range| range.is_at_least(BY_POLICY));
    let starts = compose.autostart == Some(true) && service.scale != Some(0);
    if !by_policy
        || !starts
        || service
            .restart
            .as_ref()
            .is_some_and(RestartPolicy::survives_boot)
    {
        return None;
    }
    let has = match &service.restart {
        Some(policy) => format!("restarts `{}` by `{policy}`", service.name),
        None => format!("does not restart `{}`", service.name),
    };
    Some((
        format!(
            "{has}, and firmware from 1.21 on starts containers after a boot by restart policy"
        ),
        "add `restart: unless-stopped` to the service, or it does not start at boot",
    ))
}

//! Checks that a project can pass the health gate that the manifest declares.

use std::time::Duration;

use super::Project;
use crate::{
    closest::did_you_mean,
    compose::Service,
    manifest::{
        FindingCode,
        types::{Compose, ComposeState, Health},
    },
};

/// The longest time of a gate: an apply gives a command an hour.
const LONGEST: Duration = Duration::from_secs(55 * 60);

impl Project<'_, '_> {
    pub(super) fn health(&mut self, services: &[Service], compose: &Compose) {
        let Some(health) = &compose.health else {
            return;
        };
        if compose.state != ComposeState::Running {
            let message = format!("`health` has no effect: `{}` is not started", compose.name);
            let help = "remove it, or set `state = \"running\"`";
            self.health_finding("", message, help, true);
        }
        if let Some(text) = &health.log_contains
            && (text.is_empty() || text.contains('\n'))
        {
            let message = "`log_contains` is not one line of text".to_owned();
            let help = "write a part of a line that the application logs when it is ready";
            self.health_finding("/log_contains", message, help, false);
        }
        self.health_command(health, services);
        self.health_times(health, services);
    }

    fn health_command(&mut self, health: &Health, services: &[Service]) {
        if health.command.first().is_some_and(String::is_empty) {
            let message = "`command` has no program".to_owned();
            let help =
                "the first word is the program, as in `[\"curl\", \"-f\", \"localhost:8000\"]`";
            self.health_finding("/command", message, help, false);
        }
        let Some(service) = &health.service else {
            return;
        };
        if health.command.is_empty() {
            let message = "`service` has no effect without `command`".to_owned();
            let help = "add the `command` that is to run in the service's container";
            self.health_finding("/service", message, help, false);
        }
        let names = || services.iter().map(|service| service.name.as_str());
        if !names().any(|name| name == service) {
            let message = format!("the compose file has no service `{service}`");
            let help = match did_you_mean(service, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name the service in whose container `command` is to run".to_owned(),
            };
            self.health_finding("/service", message, &help, false);
        }
    }

    fn health_times(&mut self, health: &Health, services: &[Service]) {
        let settle = health.settle.get();
        let (key, limit) = match &health.timeout {
            Some(timeout) => ("/timeout", timeout.get()),
            None => ("/settle", LONGEST),
        };
        if limit > LONGEST || settle > LONGEST {
            let message = "a health gate may take 55 minutes at most".to_owned();
            self.health_finding(key, message, "write a shorter time", false);
            return;
        }
        let Some(timeout) = &health.timeout else {
            return;
        };
        if limit < settle {
            let message = format!(
                "`timeout` of {timeout} is shorter than `settle` of {}",
                health.settle
            );
            let help = "a project is healthy at the earliest when `settle` is over: write a longer `timeout`";
            self.health_finding(key, message, help, false);
            return;
        }
        let slowest = services
            .iter()
            .filter_map(|service| Some((service.health_seconds?, service)))
            .max_by_key(|(seconds, _)| *seconds);
        if let Some((seconds, service)) = slowest
            && Duration::from_secs(seconds) > limit
        {
            let message = format!(
                "`timeout` of {timeout} is shorter than the health check of `{}` may take: {seconds} s",
                service.name
            );
            let help = "docker needs start_period + retries x (interval + timeout): write a longer `timeout` here, or \
                        shorter times in `healthcheck:`";
            self.health_finding(key, message, help, true);
        }
    }

    /// A finding at a key of `health`.
    fn health_finding(&mut self, key: &str, message: String, help: &str, is_warning: bool) {
        let table = self.pointer.replace("/file", "/health");
        let loaded = self.checker.loaded;
        let pointer = format!("{table}{key}");
        let finding = loaded.diagnostic(&pointer, FindingCode::Health, message, "here", help);
        self.checker.findings.push(if is_warning {
            finding.warning()
        } else {
            finding
        });
    }
}

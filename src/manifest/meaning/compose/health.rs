//! Checks that a project can pass the health gate that the manifest declares.

use std::time::Duration;

use super::Project;
use crate::{
    closest::did_you_mean,
    compose::Service,
    manifest::{
        FindingCode, list_of_words,
        names::escape,
        types::{Compose, ComposeState, Health},
    },
};

/// The longest time limit of a gate: an apply allows an hour for a command.
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
        let text = health.log_contains.as_deref().unwrap_or("ready");
        let problem = if text.is_empty() {
            Some("is empty")
        } else {
            text.contains('\n').then_some("is not one line of text")
        };
        if let Some(problem) = problem {
            let message = format!("`log_contains` {problem}");
            let help = "write a part of a line that the application logs when it is ready";
            self.health_finding("/log_contains", message, help, false);
        }
        self.health_command(health, services);
        self.health_times(health, services);
    }

    fn health_command(&mut self, health: &Health, services: &[Service]) {
        let key = format!("{}/command", self.health_table());
        let is_written = self.checker.loaded.spans.contains(&key);
        let program = health.command.first().map_or("", String::as_str);
        if is_written && program.is_empty() {
            let message = "`command` has no program".to_owned();
            let help =
                "the first word is the program, as in `[\"curl\", \"-f\", \"localhost:8000\"]`";
            self.health_finding("/command", message, help, false);
        }
        if health.command.len() == 1 && program.trim().contains(' ') {
            let message = format!("`command` runs a program of the name `{}`", escape(program));
            let help = match list_of_words(program) {
                Some(list) => format!("write `{list}`"),
                None => "write each word as a separate string".to_owned(),
            };
            self.health_finding("/command", message, &help, true);
        }
        let Some(service) = &health.service else {
            return;
        };
        if health.command.is_empty() && !is_written {
            let message = "`service` has no effect without `command`".to_owned();
            let help = "add the `command` to run in the service's container";
            self.health_finding("/service", message, help, false);
        }
        let names = || services.iter().map(|service| service.name.as_str());
        if !names().any(|name| name == service) {
            let message = format!("the compose file has no service `{service}`");
            let help = match did_you_mean(service, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "name the service in whose container `command` runs".to_owned(),
            };
            self.health_finding("/service", message, &help, false);
        }
    }

    fn health_times(&mut self, health: &Health, services: &[Service]) {
        let settle = health.settle.get();
        let timeout = health.timeout.as_ref();
        let times = [("/timeout", timeout), ("/settle", Some(&health.settle))];
        let mut is_too_long = false;
        for (key, time) in times {
            if time.is_some_and(|time| time.get() > LONGEST) {
                let message = "a health gate may take 55 minutes at most".to_owned();
                self.health_finding(key, message, "write a shorter time", false);
                is_too_long = true;
            }
        }
        let Some(timeout) = timeout.filter(|_| !is_too_long) else {
            return;
        };
        let (key, limit) = ("/timeout", timeout.get());
        if limit < settle {
            let message = format!(
                "`timeout` of {timeout} is shorter than `settle` of {}",
                health.settle
            );
            let help =
                "a project cannot be healthy before `settle` is over: write a longer `timeout`";
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

    /// Returns the pointer of `health`.
    fn health_table(&self) -> String {
        self.pointer.replace("/file", "/health")
    }

    /// Adds a finding at a key of `health`.
    fn health_finding(&mut self, key: &str, message: String, help: &str, is_warning: bool) {
        let table = self.health_table();
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

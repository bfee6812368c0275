//! What docker's restart policies mean, by the words that docker and compose files have for them.

/// Whether dockerd starts a container with this policy again after a boot, if it ran before it.
/// `on-failure` is for containers that fail while dockerd runs.
pub fn survives_boot(policy: &str) -> bool {
    matches!(policy, "always" | "unless-stopped")
}

//! Handles the differences of podman behind docker's name.

use crate::observe::Podman;

/// Where podman keeps images, in any home directory or root's.
const ROOT: &str = "/containers/storage";

/// Registries that podman prepends to a name without one: its own for locally built or loaded
/// images, and docker's if docker's program requested the name.
const REGISTRIES: [&str; 3] = ["localhost/", "docker.io/library/", "docker.io/"];

/// Whether podman answered. `program` is true if its own program says so, `root` is where the
/// engine keeps images; to docker's program, podman's service shows no other sign.
pub(super) fn podman(program: bool, root: &str) -> Option<Podman> {
    match program {
        true => Some(Podman::Program),
        false if root.ends_with(ROOT) => Some(Podman::Service),
        false => None,
    }
}

/// Returns a name in docker's form.
pub(super) fn bare(tag: &str) -> String {
    let mut registries = REGISTRIES.iter();
    let name = registries.find_map(|registry| tag.strip_prefix(registry));
    name.unwrap_or(tag).to_owned()
}

/// Returns an ID in docker's form: podman's own program omits the algorithm.
pub(super) fn whole_id(id: String) -> String {
    let is_hex = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { format!("sha256:{id}") } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_recognised_by_its_program_or_its_directory() {
        assert_eq!(
            podman(true, "/home/oem/.local/share/containers/storage"),
            Some(Podman::Program)
        );
        assert_eq!(
            podman(false, "/var/lib/containers/storage"),
            Some(Podman::Service)
        );
        assert_eq!(podman(false, "/var/lib/docker"), None);
        assert_eq!(podman(false, ""), None);
    }

    #[test]
    fn names_have_docker_s_form() {
        assert_eq!(
            bare("localhost/o3r-deploy/app:276a5d72e39e"),
            "o3r-deploy/app:276a5d72e39e"
        );
        assert_eq!(bare("docker.io/library/app:1"), "app:1");
        assert_eq!(bare("docker.io/ifm/app:1"), "ifm/app:1");
        assert_eq!(bare("ghcr.io/ifm/app:1"), "ghcr.io/ifm/app:1");
    }

    #[test]
    fn ids_have_their_algorithm() {
        let hex = "27".repeat(32);
        assert_eq!(whole_id(hex.clone()), format!("sha256:{hex}"));
        assert_eq!(whole_id(format!("sha256:{hex}")), format!("sha256:{hex}"));
        assert_eq!(whole_id("none".to_owned()), "none");
    }
}

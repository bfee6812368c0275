//! Compares image names, ignoring docker's defaults.

/// Returns the short form of a name: without `docker.io/library/`, but always with a tag.
fn familiar(name: &str) -> String {
    let mut rest = name;
    // podman and buildah prefix local names with `localhost/`.
    for prefix in ["docker.io/", "index.docker.io/", "library/", "localhost/"] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    let last = rest.rsplit('/').next().unwrap_or(rest);
    if last.contains([':', '@']) {
        rest.to_owned()
    } else {
        format!("{rest}:latest")
    }
}

/// Whether `found`, a name in an archive, refers to the image `wanted`.
pub(crate) fn same(found: &str, wanted: &str) -> bool {
    familiar(found) == familiar(wanted)
}

/// Whether `found` is only a tag, as OCI archives may have: `1.0`, `latest`.
pub(crate) fn is_bare_tag(found: &str) -> bool {
    !found.contains(['/', ':', '@'])
}

/// Whether `found` is the tag of the image `wanted`, whatever its repository.
pub(crate) fn is_tag_of(found: &str, wanted: &str) -> bool {
    let wanted = familiar(wanted);
    is_bare_tag(found) && wanted.rsplit_once(':').is_some_and(|(_, tag)| tag == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_defaults_are_ignored_in_names() {
        assert!(same("docker.io/library/busybox:latest", "busybox"));
        assert!(same("localhost/app:1", "app:1"));
        assert!(same("10.0.0.1:5000/app", "10.0.0.1:5000/app:latest"));
        assert!(!same("app:1", "app:2"));
        assert!(!same("other/app:1", "app:1"));
    }

    #[test]
    fn a_bare_tag_is_not_a_name() {
        assert!(!same("1", "app:1"));
        assert!(is_tag_of("1", "app:1"));
        assert!(is_tag_of("latest", "registry:5000/app"));
        assert!(!is_tag_of("2", "app:1"));
        assert!(!is_tag_of("tools:1", "app:1"));
    }
}

//! Compares image names that differ only in what docker adds by itself.

/// The name with docker's defaults written out short: no `docker.io/library/`, always a tag.
pub(super) fn familiar(name: &str) -> String {
    let mut rest = name;
    // `localhost/` is what podman and buildah put before a local name.
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

/// Whether `found`, a name inside an archive, names the image `wanted`. OCI archives may carry a
/// bare tag.
pub(super) fn same(found: &str, wanted: &str) -> bool {
    let wanted = familiar(wanted);
    familiar(found) == wanted || wanted.rsplit_once(':').is_some_and(|(_, tag)| tag == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_do_not_matter() {
        assert!(same("docker.io/library/busybox:latest", "busybox"));
        assert!(same("localhost/app:1", "app:1"));
        assert!(same("1", "app:1"));
        assert!(same("10.0.0.1:5000/app", "10.0.0.1:5000/app:latest"));
        assert!(!same("app:1", "app:2"));
        assert!(!same("other/app:1", "app:1"));
    }
}

//! The desired state that a manifest's local files result in.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use o3r_deploy::internal::{
    desired::{Desired, Entry},
    image::LayerCache,
    manifest::{Diagnostics, FindingCode, LoadError, load},
    resolve::resolve,
};

/// Resolves a manifest of one compose project with these files next to it.
fn resolved(project: &str, files: &[&str]) -> Desired {
    let directory = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(directory.path()).unwrap();
    for file in files {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "version: \"2.4\"\nservices:\n  a:\n    image: a:1\n").unwrap();
    }
    let manifest = format!(
        "[release]\nname = \"app\"\n[[images]]\nname = \"a:1\"\n[[compose]]\nname = \"app\"\n{project}"
    );
    fs::write(base.join("deploy.toml"), manifest).unwrap();
    let loaded = load(&base.join("deploy.toml")).unwrap();
    let cache = LayerCache::new(Utf8PathBuf::from(base).join("scratch"));
    resolve(&loaded, &cache).unwrap().desired
}

fn names(desired: &Desired) -> Vec<&str> {
    let files = desired.projects[0].files.iter();
    files.map(|file| file.relative.as_str()).collect()
}

#[test]
fn regression_a_file_that_is_named_twice_is_placed_once() {
    let files = ["docker-compose.yml", "conf/app.json", "conf/b"];
    for state in ["running", "absent"] {
        let project =
            format!("extra_files = [\"conf/\", \"conf/app.json\"] \nstate = \"{state}\"\n");
        let desired = resolved(&project, &files);
        let mut found = names(&desired);
        found.sort_unstable();
        let mut once = found.clone();
        once.dedup();
        assert_eq!(found, once, "{state}");
    }
}

/// docker-compose on the VPU, which is asked before anything is touched, knows whether the VPU's
/// login sets the variable.
#[test]
fn regression_a_required_variable_that_only_the_login_may_set_does_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(directory.path()).unwrap();
    let compose = "version: \"2.4\"\nservices:\n  a:\n    image: a:1\n    environment: [\"A=${MUST:?set it}\"]\n";
    fs::write(base.join("docker-compose.yml"), compose).unwrap();
    let manifest =
        "[release]\nname = \"app\"\n[[images]]\nname = \"a:1\"\n[[compose]]\nname = \"app\"\n";
    fs::write(base.join("deploy.toml"), manifest).unwrap();
    let loaded = load(&base.join("deploy.toml")).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    let cache = LayerCache::new(Utf8PathBuf::from(base).join("scratch"));
    let resolved = resolve(&loaded, &cache).unwrap();
    assert!(resolved.desired.projects[0].services.contains_key("a"));
}

#[test]
fn a_file_that_is_not_an_image_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(directory.path()).unwrap();
    fs::write(base.join("app.tar"), "no archive").unwrap();
    let manifest = "[release]\nname = \"app\"\n[[images]]\nname = \"a:1\"\narchive = \"app.tar\"\n";
    fs::write(base.join("deploy.toml"), manifest).unwrap();
    let loaded = load(&base.join("deploy.toml")).unwrap();
    let cache = LayerCache::new(base.join("scratch"));
    let Err(findings) = resolve(&loaded, &cache) else {
        panic!("it is no image");
    };
    let codes: Vec<FindingCode> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [FindingCode::LocalFile]);
}

#[test]
fn a_compose_file_that_is_refused_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(directory.path()).unwrap();
    fs::write(base.join("docker-compose.yml"), "services: [").unwrap();
    let manifest = "[release]\nname = \"app\"\n[[compose]]\nname = \"app\"\n";
    fs::write(base.join("deploy.toml"), manifest).unwrap();
    let Err(LoadError::Invalid(findings)) = load(&base.join("deploy.toml")) else {
        panic!("it is no YAML");
    };
    assert_eq!(findings.as_slice()[0].code, FindingCode::ComposeRefused);
}

/// Whoever removes an application may not have its images any more.
#[test]
fn what_removes_all_of_its_projects_needs_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let manifest = |states: &[&str]| {
        let projects = states.iter().enumerate().map(|(number, state)| {
            format!("[[compose]]\nname = \"p{number}\"\nstate = \"{state}\"\n")
        });
        let projects: String = projects.collect();
        let image = "[[images]]\nname = \"app:1\"\narchive = \"gone.tar\"\n";
        let text = format!("[release]\nname = \"app\"\n\n{image}\n{projects}");
        let path = dir.join("deploy.toml");
        std::fs::write(&path, text).unwrap();
        let compose = "version: \"2.4\"\nservices:\n  web:\n    image: app:1\n";
        std::fs::write(dir.join("docker-compose.yml"), compose).unwrap();
        let loaded = load(&path).unwrap();
        resolve(&loaded, &LayerCache::new(dir.join("cache")))
    };
    let resolved = manifest(&["absent", "absent"]).unwrap();
    assert!(resolved.desired.images.is_empty());
    std::fs::write(dir.join("gone.tar"), "no archive").unwrap();
    for states in [&["absent", "running"][..], &[]] {
        let Err(findings) = manifest(states) else {
            panic!("{states:?}: the image is missing");
        };
        let help = findings[0].help.clone().unwrap_or_default();
        assert_eq!(
            help.contains("delete its [[images]] entry"),
            !states.is_empty(),
            "{help}"
        );
    }
}

/// Resolves a manifest with one file beside it, which may use `PATH`: a variable that is always set.
fn with_environment(manifest: &str, file: &str, text: &str) -> Result<Desired, String> {
    let directory = tempfile::tempdir().unwrap();
    let base = Utf8Path::from_path(directory.path()).unwrap();
    fs::write(base.join(file), text).unwrap();
    let head = "[release]\nname = \"app\"\n[vars]\nenv = [\"PATH\"]\npath = \"x ${env.PATH}\"\n";
    fs::write(base.join("deploy.toml"), format!("{head}{manifest}")).unwrap();
    let loaded = load(&base.join("deploy.toml")).unwrap();
    let cache = LayerCache::new(Utf8PathBuf::from(base).join("scratch"));
    let resolved = resolve(&loaded, &cache);
    let told = |findings: Vec<_>| Diagnostics::new(findings).render_plain(100);
    resolved.map(|resolved| resolved.desired).map_err(told)
}

#[test]
fn a_rendered_file_with_a_secret_is_only_for_its_owner() {
    let transfer = "[[transfers]]\nsrc = \"a.conf\"\ndst = \"~/a.conf\"\ntemplate = true\n";
    let mode = |manifest: &str, text: &str| {
        let desired = with_environment(manifest, "a.conf", text).unwrap();
        let Some(Entry::File(file)) = desired.transfers[0].entries.get("") else {
            panic!("{:?}", desired.transfers[0].entries)
        };
        (file.mode, file.secret)
    };
    assert_eq!(mode(transfer, "a = {{ release.name }}\n"), (0o644, false));
    for text in [
        "{{ env.PATH }}",
        "{{ env.PATH|upper }}",
        "{{ vars.path|lower }}",
    ] {
        assert_eq!(mode(transfer, text), (0o600, true), "{text}");
    }
    let open = format!("{transfer}mode = \"0640\"\n");
    assert_eq!(mode(&open, "{{ env.PATH }}"), (0o640, true));
}

#[test]
fn a_configuration_of_the_device_has_no_secret_and_shows_none() {
    let path = std::env::var("PATH").unwrap();
    let file = "[device]\nconfig = \"o3r.json\"\ntemplate = true\n";
    for text in [
        "{\"a\": \"{{ env.PATH }}\"}",
        "{\"a\": \"{{ env.PATH }}\",}",
    ] {
        let told = with_environment(file, "o3r.json", text).unwrap_err();
        assert!(
            told.contains("has a value of this machine's environment"),
            "{told}"
        );
        assert!(!told.contains(&path), "{told}");
    }
    let table = "[device]\nconfig = { a = \"${env.PATH}\" }\n";
    let told = with_environment(table, "none", "").unwrap_err();
    assert!(
        told.contains("has a value of this machine's environment"),
        "{told}"
    );
    let table = "[device]\ntemplate = true\nconfig = { a = \"{{ release.name }}\" }\n";
    let told = with_environment(table, "none", "").unwrap_err();
    assert!(told.contains("`template` is only for a file"), "{told}");
}

//! The desired state of tests that need none.

use o3r_deploy::internal::desired::{
    Contents, Desired, Guards, ManifestRef, Orphans, Permits, Release,
};

/// Returns a release called `app` without resources, for a VPU of this architecture.
pub fn nothing(arch: &str) -> Desired {
    Desired {
        manifest: ManifestRef::default(),
        release: Release {
            name: "app".parse().unwrap(),
            version: String::new(),
            source: None,
        },
        guards: Guards {
            arch: arch.into(),
            serial: None,
            firmware: None,
            api_port: 80,
        },
        directories: vec![],
        volumes: vec![],
        images: vec![],
        transfers: vec![],
        projects: vec![],
        device_name: None,
        disabled: vec![],
        watchdog: None,
        keep_releases: 2,
        keep_size: None,
        stamp: None,
        orphans: Orphans::Remove,
        permits: Permits::default(),
        contents: Contents::Here,
        left: vec![],
    }
}

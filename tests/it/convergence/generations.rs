//! A release that the VPU keeps: an ordinary plan returns to it, whatever was deployed since.

use o3r_deploy::internal::{
    generation::Generation,
    plan::{BlockCode, PayloadSource},
};

use super::*;

/// The contents that a VPU keeps whole.
pub(super) fn whole(world: &World) -> BTreeSet<Digest> {
    let store = format!("{}/.o3r-deploy/store", world.home);
    let files = world.files_below(&store).into_iter();
    let whole = files.filter_map(|(path, bytes)| {
        let digest = Digest::from_hex(&path[store.len() + 1..])?;
        (Digest::of(&bytes) == digest).then_some(digest)
    });
    whole.collect()
}

/// The release of this number, as the VPU keeps it, with the projects of `declared`.
fn kept(vpu: &FakeVpu, number: usize, declared: &Desired) -> Desired {
    let path = format!("/home/oem/.o3r-deploy/generations/app/{number}");
    let text = vpu.world(|world| world.files[&path].bytes.clone());
    let text = String::from_utf8(text).unwrap();
    let generation = Generation::read(&text).unwrap();
    let present = declared.projects.iter();
    let present = present.filter(|project| project.state != ProjectState::Absent);
    let mut projects: Vec<Project> = present.cloned().collect();
    for (project, files) in projects.iter_mut().zip(&generation.files) {
        project.files.clone_from(files);
    }
    generation.desired(projects)
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn what_is_kept_comes_back(first in shapes(), second in changes(), newer in any::<bool>()) {
        // A project that the release removed is not part of what is kept.
        prop_assume!(first.state != ProjectState::Absent);
        run(async {
            let vpu = FakeVpu::default();
            let old = desired(&first);
            converge(&vpu, &old).await;
            let mut next = desired(&first.with(&second));
            if newer {
                next.release.version = "2".to_owned();
            }
            converge(&vpu, &next).await;
            let back = kept(&vpu, 1, &old);
            assert!(back.contents.are_on_vpu());
            assert_eq!(back.digest(), old.digest());
            let plan = plan_for(&vpu, &back).await;
            assert_eq!(plan.blocked, vec![]);
            let sent = plan.steps.iter().flat_map(|step| &step.actions);
            let sent = sent.filter_map(|command| command.stdin.as_ref());
            for payload in sent {
                let inline = matches!(payload.source, PayloadSource::Inline { .. });
                assert!(inline, "{payload:?}");
            }
            let report = execute(&vpu, &back, &plan).await;
            assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
            converged(&vpu, &back).await;
            converged(&vpu, &old).await;
        });
    }
}

#[test]
fn what_is_not_whole_blocks() {
    run(async {
        let vpu = FakeVpu::default();
        let old = desired(&BASE);
        converge(&vpu, &old).await;
        converge(
            &vpu,
            &desired(&Shape {
                extra: 7,
                image: 1,
                ..BASE
            }),
        )
        .await;
        vpu.world(|world| {
            let store = "/home/oem/.o3r-deploy/store";
            let paths: Vec<String> = world.files_below(store).into_keys().collect();
            for path in paths {
                world.write(&path, b"rotten", 0o600);
            }
            world
                .images
                .remove(&image_content(0).config_digest.to_string());
        });
        let plan = plan_for(&vpu, &kept(&vpu, 1, &old)).await;
        let codes: BTreeSet<BlockCode> = plan.blocked.iter().map(|blocked| blocked.code).collect();
        assert_eq!(
            codes,
            [BlockCode::ContentsMissing, BlockCode::ImageMissing].into()
        );
        let files = plan
            .blocked
            .iter()
            .map(|blocked| blocked.address.to_string());
        let files: Vec<String> = files.collect();
        assert_eq!(files, ["image.app:1", "file.app/conf/app.conf"]);
    });
}

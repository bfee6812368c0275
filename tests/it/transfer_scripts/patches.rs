//! Large files that changed little are built from their old versions.

use o3r_deploy::internal::{
    blocks::{BlockSums, block_size},
    image::LayerCache,
    observe::{self, Observed},
    plan::{Note, NoteCode},
    prepare::{Preparation, Sizes, outdated},
};

use o3r_testing::archives::noise;

use super::*;

const TRANSFERS: &str = "[[transfers]]\nsrc = \"data/\"\ndst = \"~/data\"\n";

/// Bytes of a file of noise.
const SIZE: usize = 3_000_007;

fn changed(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    new.splice(1_000_000..1_000_000, *b"some more bytes");
    new[2_500_000] ^= 1;
    new.truncate(2_900_000);
    new
}

impl Bench {
    /// Observes the VPU with the block sums of large files, over a link of 1 MB/s.
    async fn looked(&self, kind: Kind, desired: &Desired) -> Observed {
        let mut observed = observe::observe(&self.sandbox.host, &desired.query())
            .await
            .unwrap();
        observed.readings.speeds.link = Some(1_000_000);
        for file in outdated(desired, &observed.facts) {
            let bytes = fs::read(&file.path).unwrap();
            let sums = BlockSums::of(&bytes, block_size(file.size));
            // This busybox has neither split nor cksum, but it has the tools that build the file.
            let said = observe::blocks(&self.sandbox.host, &file.path, file.size).await;
            let expected = (!kind.busybox).then(|| sums.clone());
            assert_eq!(said.unwrap(), expected, "{kind:?}");
            observed.readings.blocks.insert(file.path, sums);
        }
        observed
    }

    fn prepared(&self, desired: &Desired, observed: &Observed) -> (Payloads, Plan) {
        let cache = LayerCache::new(Utf8PathBuf::from_path_buf(self.site("cache")).unwrap());
        let preparation = Preparation::new(cache, Sizes::Exact);
        let local = LocalImages::default();
        let prepared = preparation
            .prepare(desired, &local, observed, &|_, _| {})
            .unwrap();
        let plan = plan::plan(desired, observed, &prepared.offers, "local");
        assert_eq!(plan::lint::lint(&plan), Vec::<String>::new());
        (prepared.payloads, plan)
    }
}

fn hashing() -> impl Iterator<Item = Kind> {
    KINDS.iter().copied().filter(|kind| kind.hashes())
}

#[tokio::test]
async fn only_changed_blocks_are_sent() {
    for kind in o3r_testing::variants(hashing(), 1) {
        let bench = Bench::new(kind);
        let old = noise(1, SIZE);
        Bench::write(&bench.site(&format!("data/{ODD}")), &old);
        Bench::write(&bench.site("data/small"), "old");
        Bench::write(&bench.site(&format!("data/{ODD}.o3r-new")), "a neighbour");
        bench.apply(&bench.desired(TRANSFERS)).await;
        let new = changed(&old);
        Bench::write(&bench.site(&format!("data/{ODD}")), &new);
        Bench::write(&bench.site("data/small"), "new");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bench.site(&format!("data/{ODD}")), mode).unwrap();
        let desired = bench.desired(TRANSFERS);
        let observed = bench.looked(kind, &desired).await;
        let (payloads, plan) = bench.prepared(&desired, &observed);
        assert!(plan.bytes_to_send() < 50_000, "{}", plan.bytes_to_send());
        let built = |note: &Note| note.code == NoteCode::FilePatched;
        assert!(plan.notes.iter().any(built), "{:?}", plan.notes);
        let report = bench.execute_sending(&payloads, &plan).await;
        assert!(
            matches!(report.outcome, Outcome::Done),
            "{kind:?}: {report:?}"
        );
        let path = bench.there(&format!("data/{ODD}"));
        assert!(fs::read(&path).unwrap() == new, "{kind:?}");
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(fs::read(bench.there("data/small")).unwrap(), b"new");
        assert!(bench.plan(&desired).await.is_empty(), "{kind:?}");
        assert!(!bench.there(".o3r-deploy/staging").exists());
    }
}

#[tokio::test]
async fn an_old_version_that_changed_meanwhile_is_not_used() {
    for kind in o3r_testing::variants(hashing(), 1) {
        let bench = Bench::new(kind);
        let old = noise(1, SIZE);
        Bench::write(&bench.site("data/large"), &old);
        bench.apply(&bench.desired(TRANSFERS)).await;
        let new = changed(&old);
        Bench::write(&bench.site("data/large"), &new);
        let desired = bench.desired(TRANSFERS);
        let observed = bench.looked(kind, &desired).await;
        let (payloads, plan) = bench.prepared(&desired, &observed);
        let upload = &plan.steps[0].actions[0];
        // A truncated or wrong payload leaves nothing.
        let mut bytes = vec![];
        let payload = upload.stdin.as_ref().unwrap();
        payloads.open(payload, |_| {}).unwrap()(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, payload.bytes);
        for cut in [0, 100, bytes.len() / 2, bytes.len() * 3 / 4] {
            let stdin = Stdin::Bytes(bytes[..cut].to_vec());
            let output = bench.sandbox.host.run(&upload.argv, stdin).await.unwrap();
            assert_ne!(output.code, 0, "{kind:?} {cut}: {output:?}");
        }
        let mut spoilt = old.clone();
        spoilt[2_000_000] ^= 1;
        Bench::write(&bench.there("data/large"), &spoilt);
        let output = bench
            .sandbox
            .host
            .run(&upload.argv, Stdin::Bytes(bytes))
            .await;
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("changed meanwhile"), "{kind:?}: {said}");
        let staged = fs::read_dir(bench.there(".o3r-deploy/staging/new/0")).unwrap();
        assert_eq!(staged.count(), 0, "{kind:?}");
        // It is sent whole instead.
        let report = bench.execute_sending(&payloads, &plan).await;
        assert!(
            matches!(report.outcome, Outcome::Done),
            "{kind:?}: {report:?}"
        );
        assert!(fs::read(bench.there("data/large")).unwrap() == new);
        assert!(bench.plan(&desired).await.is_empty(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_missing_or_grown_file_has_no_block_sums() {
    for kind in o3r_testing::variants(KINDS, 1) {
        let bench = Bench::new(*kind);
        let path = bench.there("nothing");
        let blocks = observe::blocks(&bench.sandbox.host, path.to_str().unwrap(), 5).await;
        assert_eq!(blocks.unwrap(), None);
        // It has grown since it was observed.
        Bench::write(&path, noise(1, 100_000));
        let blocks = observe::blocks(&bench.sandbox.host, path.to_str().unwrap(), 50_000).await;
        assert_eq!(blocks.unwrap(), None);
    }
}

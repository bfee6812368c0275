//! Parts of images that arrive.

use o3r_deploy::internal::remote::{self, State};

use super::*;

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn parts_arrive_the_same(
        there in tree(&[".o3r-deploy/arriving/part", ".o3r-deploy/arriving/other"]),
        // The bytes that have arrived, the bytes that come, and whether the total is known.
        arrivals in prop::collection::vec((0..6_u64, text(), any::<Option<bool>>()), 1..5),
    ) {
        run(async {
            for kind in o3r_testing::variants(KINDS, 1) {
                let both = Both::new(kind, &there);
                let path = format!("{}/part", State { home: &both.home }.arriving());
                for (have, sent, known) in &arrivals {
                    let bytes = have + sent.len() as u64;
                    // More bytes are expected than arrive.
                    let bytes = known.map(|all| if all { bytes } else { bytes + 1 });
                    let command = remote::receive_part(&path, *have, bytes);
                    both.run(&command, sent.as_bytes()).await?;
                }
            }
            Ok(())
        })?;
    }
}

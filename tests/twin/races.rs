//! Applies that start in the same instant.

use crate::support::{App, Running, Site, Twin};

/// Runs that find what a few do not; `O3R_APPLY_RACES` sets another number.
const RACES: u32 = 3;

/// Each of two applies succeeds, or says that the other one works; what is there is one of their releases, whole.
#[test]
fn two_applies_at_once_leave_one_release() {
    let races = std::env::var("O3R_APPLY_RACES").map_or(RACES, |races| races.parse().unwrap());
    let twin = Twin::up();
    let sites = [Site::new(&twin), Site::new(&twin)];
    let mut refused = 0;
    for race in 0..races {
        let apps = ["one", "other"].map(|whose| {
            let mut app = App::new("1.0.0");
            app.setting = format!("{whose} {race}");
            app
        });
        let applies = [0, 1].map(|at| {
            apps[at].write(&sites[at]);
            sites[at].start(&["apply", "--yes"])
        });
        let ended = applies.map(Running::finish);
        for ran in &ended {
            assert!(matches!(ran.code, Some(0 | 7)), "race {race}: {ran:?}");
            if ran.code == Some(7) {
                ran.says("another apply is working on this VPU")
                    .says("nothing was done");
                refused += 1;
            }
        }
        assert!(
            ended.iter().any(|ran| ran.code == Some(0)),
            "race {race}: {ended:?}"
        );
        let there: Vec<usize> = (0..2)
            .filter(|at| sites[*at].run(&["plan", "--exit-code"]).code == Some(0))
            .collect();
        assert_eq!(there.len(), 1, "race {race}: {ended:?}");
        assert_eq!(ended[there[0]].code, Some(0), "race {race}: {ended:?}");
        apps[there[0]].runs_on(&twin);
    }
    println!("{races} races, in {refused} of which one apply was refused");
}

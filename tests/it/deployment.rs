//! The library as a program uses it, on the in-memory VPU.

use camino::Utf8Path;
use o3r_deploy::{
    ApplyOptions, BlockCode, Deployment, Error, Event, FindingCode, LoadError, LoadOptions, Locked,
    Log, Observer, Outcome, Phase, Vpu,
};
use o3r_testing::vpu::{FakeVpu, Fault};
use tempfile::TempDir;

const MANIFEST: &str = "[release]\nname = \"app\"\nversion = \"1\"\n\
    [[directories]]\npath = \"~/share\"\n[[volumes]]\nname = \"share\"\npath = \"~/share\"\n";

/// Loads a manifest from a new folder.
fn loaded(manifest: &str) -> (TempDir, Result<Deployment, Error>) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    std::fs::write(path.join("deploy.toml"), manifest).unwrap();
    let deployment = Deployment::load(path.join("deploy.toml"), path.join("cache"));
    (folder, deployment)
}

fn vpu() -> (TempDir, Vpu<FakeVpu>) {
    let (folder, deployment) = loaded(MANIFEST);
    // A process applies to an address only once at a time, and tests may be threads of one process.
    let address = folder.path().to_str().unwrap().to_owned();
    let vpu = deployment.unwrap().on(FakeVpu::default(), &address);
    (folder, vpu)
}

fn options() -> ApplyOptions {
    ApplyOptions::new("a test")
}

#[tokio::test]
async fn a_plan_is_applied_and_then_nothing_is_left() {
    let (_folder, vpu) = vpu();
    let planned = vpu.plan().await.unwrap();
    assert_eq!(planned.plan.steps.len(), 3);
    let report = vpu.apply(&planned, options()).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    assert_eq!(report.completed, 3);
    assert!(vpu.plan().await.unwrap().plan.is_empty());
    let status = vpu.status().await.unwrap();
    let releases = status.releases.unwrap();
    assert_eq!(releases[0].name, "app");
}

#[tokio::test]
async fn a_plan_of_another_state_is_not_applied() {
    let (_folder, vpu) = vpu();
    let planned = vpu.plan().await.unwrap();
    let report = vpu.apply(&planned, options()).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Done));
    let again = vpu.apply(&planned, options()).await;
    assert!(matches!(again, Err(Error::Stale)), "{:?}", again.err());
}

/// What a dead apply left running ends when the lock is taken, after the plan was made and shown.
#[tokio::test]
async fn what_a_dead_apply_left_running_is_seen_before_anything_is_done() {
    let manifest = format!(
        "{MANIFEST}[[transfers]]\nsrc = \"conf/\"\ndst = \"~/share/conf/\"\ndelete = true\n"
    );
    let (mut stale, mut at) = (0, 0);
    loop {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(path.join("conf")).unwrap();
        std::fs::write(path.join("conf/a.json"), "{}").unwrap();
        std::fs::write(path.join("deploy.toml"), &manifest).unwrap();
        let deployment = Deployment::load(path.join("deploy.toml"), path.join("cache")).unwrap();
        let vpu = deployment.on(FakeVpu::default(), path.as_str());
        let planned = vpu.plan().await.unwrap();
        vpu.host().inject(Some(Fault::LinkLostDuring(at)));
        let first = vpu.apply(&planned, options()).await;
        vpu.host().inject(None);
        if first.is_ok_and(|report| matches!(report.outcome, Outcome::Done)) {
            break;
        }
        let before = vpu.host().world(|world| world.clone());
        let planned = vpu.plan().await.unwrap();
        match vpu.apply(&planned, options()).await {
            Err(Error::Stale) => {
                stale += 1;
                let commands = vpu.host().commands();
                assert_eq!(commands, [""; 0], "nothing is done by a plan of before");
            }
            Ok(report) => {
                assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
                let now = vpu.host().world(|world| world.clone());
                assert!(now.files.len() >= before.files.len());
            }
            Err(error) => panic!("{error}"),
        }
        let planned = vpu.plan().await.unwrap();
        let report = vpu.apply(&planned, options()).await.unwrap();
        assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
        assert!(vpu.plan().await.unwrap().plan.is_empty());
        at += 1;
    }
    assert!(stale >= 3, "{stale} of {at} commands changed something");
}

#[tokio::test]
async fn a_blocked_plan_is_not_applied() {
    let (_folder, vpu) = vpu();
    vpu.host()
        .world(|world| world.write("/home/oem/share", b"", 0o644));
    let planned = vpu.plan().await.unwrap();
    let Err(Error::Blocked(blocked)) = vpu.apply(&planned, options()).await else {
        panic!("a file is where the directory is to be");
    };
    assert_eq!(blocked[0].code, BlockCode::WrongKind);
    assert!(vpu.host().world(|world| world.volumes.is_empty()));
}

#[tokio::test]
async fn a_failed_step_is_the_outcome_of_a_report() {
    let (_folder, vpu) = vpu();
    let planned = vpu.plan().await.unwrap();
    let commands = vpu.host().commands().len();
    // Taking the lock and observing again come first.
    let mut failed = None;
    for number in commands..commands + 40 {
        vpu.host().inject(Some(Fault::Fails(number)));
        match vpu.apply(&planned, options()).await {
            Ok(report) => {
                failed = Some(report);
                break;
            }
            Err(error) => drop(error),
        }
    }
    let report = failed.expect("some command is one of a step");
    let Outcome::Failed(failure) = report.outcome else {
        panic!("{report:?}");
    };
    assert!(failure.address.contains("share"), "{failure:?}");
}

/// The VPU's lock would take the second apply for the first one after a lost connection.
#[tokio::test]
async fn one_process_applies_to_a_vpu_once_at_a_time() {
    let (_folder, vpu) = vpu();
    let planned = vpu.plan().await.unwrap();
    let both = tokio::join!(
        vpu.apply(&planned, options()),
        vpu.apply(&planned, options())
    );
    assert!(both.0.is_ok(), "{:?}", both.0.err());
    let second = both.1;
    assert!(matches!(second, Err(Error::Locked(Locked::Busy { .. }))));
    // It is possible again afterwards.
    let again = vpu.plan().await.unwrap();
    assert!(vpu.apply(&again, options()).await.is_ok());
}

#[tokio::test]
async fn waits_are_noted_and_the_log_is_written() {
    let (folder, vpu) = vpu();
    let noted = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let heard = std::sync::Arc::clone(&noted);
    let vpu = vpu.noting(move |line| heard.lock().unwrap().push(line.to_owned()));
    let planned = vpu.plan().await.unwrap();
    let logs = Utf8Path::from_path(folder.path()).unwrap().join("logs");
    let log = std::sync::Arc::new(Log::create(&logs, std::time::SystemTime::now()).unwrap());
    let mut options = options();
    options.log = std::sync::Arc::clone(&log);
    vpu.host().leave_at_work(4321, "docker load");
    let report = vpu.apply(&planned, options).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Done), "{report:?}");
    let noted = noted.lock().unwrap();
    assert!(noted.iter().any(|line| line.contains("4321")), "{noted:?}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(text.contains("share"), "{text}");
}

#[tokio::test]
async fn an_apply_is_interrupted_in_order() {
    let (_folder, vpu) = vpu();
    let planned = vpu.plan().await.unwrap();
    let (_sender, interrupts) = tokio::sync::watch::channel(1);
    let mut options = options();
    options.interrupts = Some(interrupts);
    let report = vpu.apply(&planned, options).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Interrupted { .. }));
    assert!(vpu.host().world(|world| world.volumes.is_empty()));
}

/// Interrupts when a step of the switch starts, and notes what is reported.
struct InterruptsSwitch {
    sender: tokio::sync::watch::Sender<u32>,
    told: std::sync::Mutex<Vec<String>>,
}

impl Observer for InterruptsSwitch {
    fn event(&self, event: Event<'_>) {
        let told = match event {
            Event::Started(step) if step.phase == Phase::Switch => {
                let _ = self.sender.send(1);
                format!("started {}", step.address)
            }
            Event::Ending(step) => format!("waits for {}", step.address),
            Event::Done(step) if step.phase == Phase::Switch => format!("done {}", step.address),
            _ => return,
        };
        self.told.lock().unwrap().push(told);
    }
}

#[tokio::test]
async fn the_first_interrupt_lets_a_step_of_the_switch_end() {
    let manifest = format!("{MANIFEST}[vpu]\nname = \"agv\"\n");
    let (folder, deployment) = loaded(&manifest);
    let address = folder.path().to_str().unwrap().to_owned();
    let vpu = deployment.unwrap().on(FakeVpu::default(), &address);
    let planned = vpu.plan().await.unwrap();
    let (sender, interrupts) = tokio::sync::watch::channel(0);
    let observer = std::sync::Arc::new(InterruptsSwitch {
        sender,
        told: std::sync::Mutex::default(),
    });
    let mut options = options();
    options.observer = observer.clone();
    options.interrupts = Some(interrupts);
    let report = vpu.apply(&planned, options).await.unwrap();
    let Outcome::Interrupted { begun, .. } = report.outcome else {
        panic!("{report:?}");
    };
    assert!(!begun, "the step came to its end");
    let told = observer.told.lock().unwrap();
    assert_eq!(
        *told,
        ["started vpu.name", "waits for vpu.name", "done vpu.name"]
    );
}

#[test]
fn the_deployed_state_is_always_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    let twice = format!("{MANIFEST}[[volumes]]\nname = \"share\"\npath = \"~/other\"\n");
    std::fs::write(path.join("deploy.toml"), twice).unwrap();
    let mut options = LoadOptions::default();
    options.words_only = true;
    let loaded = Deployment::load_with(path.join("deploy.toml"), &options, path.join("cache"));
    assert!(matches!(loaded, Err(Error::Load(LoadError::Invalid(_)))));
}

#[test]
fn findings_in_a_manifest_have_codes_and_places() {
    let (_folder, deployment) = loaded("[release]\nname = \"app\"\nvesion = \"1\"\n");
    let Err(Error::Load(LoadError::Invalid(findings))) = deployment else {
        panic!("a key is misspelt");
    };
    let finding = &findings.as_slice()[0];
    assert_eq!(finding.code, FindingCode::UnknownKey);
    assert_eq!(finding.line_and_column(), (3, 1));

    let (_folder, deployment) = loaded(&format!("{MANIFEST}[logs]\nlevel = \"info\"\n"));
    assert!(matches!(deployment, Err(Error::Load(_))));
}

#[test]
fn the_manifest_says_how_to_reach_its_vpu() {
    let options = |manifest| loaded(manifest).1.unwrap().ssh_options();
    assert_eq!(options(MANIFEST).host, "192.168.0.69");
    let with = format!("[vpu]\nhost = \"10.0.0.7\"\nport = 2222\nuser = \"me\"\n{MANIFEST}");
    let found = options(&with);
    assert_eq!(
        (found.host.as_str(), found.port, found.user.as_deref()),
        ("10.0.0.7", Some(2222), Some("me"))
    );
}

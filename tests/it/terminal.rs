//! Output on terminals of 80 and of 40 columns, and in an ASCII locale.

use std::process::Command;

use o3r_deploy::internal::{
    plan::{Plan, Summary},
    render::{self, Details, Style},
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_o3r-deploy");

/// Renders at 80 columns, at 40, and at 80 in ASCII.
fn on_terminals(render: impl Fn(Style) -> String) -> String {
    let style = |width, ascii| Style {
        width: Some(width),
        ascii,
        ..Style::default()
    };
    let wide = render(style(80, false));
    let narrow = render(style(40, false));
    let ascii = render(style(80, true));
    assert!(ascii.is_ascii(), "{ascii}");
    for (text, width) in [(&wide, 80), (&narrow, 40)] {
        for line in text.lines() {
            let columns = line.chars().count();
            // Words without blanks, such as paths, and commands to copy cannot be broken.
            let breakable = line.trim_start().contains(' ') && !line.contains("docker run");
            assert!(columns <= width || !breakable, "{columns}: {line}");
        }
    }
    format!("80 columns\n\n{wide}\n40 columns\n\n{narrow}\nASCII\n\n{ascii}")
}

fn step(id: usize, phase: &str, action: &str, address: &str, cause: &Value) -> Value {
    json!({
        "id": id, "address": address, "action": action, "phase": phase, "cause": cause, "depends_on": [],
        "source": null, "actions": [], "commands": [], "bytes_to_send": 0,
    })
}

fn plan(steps: &[Value], rest: &Value, summary: Summary) -> Plan {
    let mut plan = json!({
        "format": 2,
        "tool": "o3r-deploy",
        "vpu": {
            "host": "192.168.0.69", "name": "agv-17-front", "serial": "000018988497", "firmware": "1.4.30-5230",
            "arch": "arm64", "docker": "20.10.25", "compose": "1.29.2",
        },
        "manifest": { "path": "deploy.toml", "sha256": "ed".repeat(32) },
        "fingerprint": format!("sha256:{}", "ab".repeat(32)),
        "steps": steps,
        "blocked": [],
        "notes": [],
        "not_restorable": [],
        "unmanaged": [],
        "summary": summary,
    });
    for (key, value) in rest.as_object().unwrap() {
        plan[key] = value.clone();
    }
    serde_json::from_value(plan).unwrap()
}

fn missing() -> Value {
    json!({ "kind": "missing" })
}

#[test]
fn a_first_apply() {
    let mut image = step(2, "stage", "create", "image.localization:1.4.2", &missing());
    image["detail"] =
        "load, 3 of 4 layers missing, about 210 MiB of 448 MiB to send as a delta of \
                       localization:1.4.1"
            .into();
    image["bytes_to_send"] = (210 << 20).into();
    let mut file = step(
        3,
        "switch",
        "create",
        "file.localization/docker-compose.yml",
        &missing(),
    );
    file["bytes_to_send"] = 334.into();
    let steps = [
        step(1, "stage", "create", "directory.~/share", &missing()),
        image,
        file,
        step(4, "switch", "run", "compose.localization", &missing()),
        step(5, "settle", "create", "release.localization", &missing()),
    ];
    let rest = json!({
        "notes": [{ "code": "wrong-clock", "text": "the VPU's clock is 3 h 12 min behind this machine's" }],
        "not_restorable": [{ "address": "volume.share", "reason": "no release of this manifest is recorded on the VPU" }],
        "unmanaged": ["volume.old", "volume.older", "volume.oldest-of-all"],
    });
    let summary = Summary {
        create: 4,
        run: 1,
        ..Summary::default()
    };
    let plan = plan(&steps, &rest, summary);
    insta::assert_snapshot!(on_terminals(|style| render::text(&plan, style)));
}

#[test]
fn a_drift() {
    let differs = json!({
        "kind": "differs", "attribute": "options",
        "found": "type=none,o=bind,device=/home/oem/share-of-the-release-before-this-one",
        "wanted": "type=none,o=bind,device=/home/oem/share",
    });
    let mut files = step(2, "stage", "update", "transfer.~/config", &missing());
    files["changes"] = json!([
        { "path": "camera/calibration-of-the-front-camera.json", "change": "changed", "found": "6c363e843fc1", "wanted": "8cb62afecaa3" },
        { "path": "notes.txt", "change": "deleted", "found": null, "wanted": null },
    ]);
    let because = json!({ "kind": "depends_on", "address": "volume.share" });
    let undeclared = json!({
        "kind": "differs", "attribute": "read by docker-compose", "found": "not declared", "wanted": "renamed",
    });
    let mut renamed = step(3, "switch", "remove", "file.localization/.env", &undeclared);
    renamed["detail"] = "kept as .env.o3r-found".into();
    let steps = [
        step(1, "stage", "replace", "volume.share", &differs),
        files,
        renamed,
        step(4, "switch", "update", "compose.localization", &because),
    ];
    let summary = Summary {
        update: 2,
        replace: 1,
        remove: 1,
        unchanged: 9,
        ..Summary::default()
    };
    let plan = plan(&steps, &json!({}), summary);
    let diff = "@@ -1 +1 @@\n-{ \"fx\": 581.4 }\n+{ \"fx\": 583.1 }\n".to_owned();
    let details = Details::from([(
        (
            plan.steps[1].address.clone(),
            plan.steps[1].changes[0].path.clone(),
        ),
        diff,
    )]);
    insta::assert_snapshot!(on_terminals(|style| render::text_with(
        &plan, style, &details
    )));
}

#[test]
fn a_blocked_plan() {
    let rest = json!({
        "blocked": [{
            "address": "transfer.~/config", "code": "not-writable",
            "reason": "user `oem` has no write permission for /home/oem/config (owner root, mode 0755)",
            "remedy": "change its owner with a container of any image that has chown:\n\
                       docker run --rm -v /home/oem/config:/d IMAGE chown -R 989:989 /d",
        }],
    });
    let summary = Summary {
        unchanged: 4,
        blocked: 1,
        ..Summary::default()
    };
    let plan = plan(&[], &rest, summary);
    insta::assert_snapshot!(on_terminals(|style| render::text(&plan, style)));
}

/// Returns what a command prints for a terminal of that width, into a pipe.
fn printed(args: &[&str], folder: &str, columns: &str, locale: &str) -> String {
    let mut command = Command::new(PROGRAM);
    let output = command
        .args(args)
        .current_dir(folder)
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("COLUMNS", columns)
        .env("NO_COLOR", "1")
        .env_remove("LC_CTYPE")
        .env_remove("LANG")
        .env("LC_ALL", locale)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!("{}{}", text(output.stdout), text(output.stderr))
}

#[test]
fn findings_in_a_manifest() {
    let check = |columns, locale| {
        let args = ["-f", "typos.toml", "check"];
        printed(&args, "tests/cmd/check.in", columns, locale)
    };
    let (narrow, ascii) = (check("40", "C.UTF-8"), check("80", "POSIX"));
    assert!(ascii.is_ascii(), "{ascii}");
    insta::assert_snapshot!(format!("40 columns\n\n{narrow}\nASCII\n\n{ascii}"));
}

/// On a terminal of 40 columns; output into a pipe is not broken.
#[test]
fn only_a_terminal_breaks_lines() {
    let folder = "tests/cmd/observed.in";
    let args = ["plan", "--observed", "seen.json"];
    let on_terminal = |more: &str| {
        let line = format!("stty rows 24 cols 40; {PROGRAM} {}{more}", args.join(" "));
        let mut command = Command::new("script");
        let output = command
            .args(["-qec", &line, "/dev/null"])
            .current_dir(folder)
            .env("HOME", env!("CARGO_TARGET_TMPDIR"))
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .env_remove("COLUMNS")
            .output();
        let output = output.expect("`script` is there, of Debian's bsdutils");
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    };
    let head = "192.168.0.69 (serial 000018988497, firmware 1.4.30-5230, arm64, docker 20.10.25)";
    let broken =
        "192.168.0.69 (serial 000018988497,\n  firmware 1.4.30-5230, arm64, docker\n  20.10.25)\n";
    let seen = on_terminal("");
    assert!(seen.starts_with(broken), "{seen}");
    let piped = on_terminal(" | cat");
    assert!(piped.starts_with(head), "{piped}");
    let signs = printed(&args, folder, "40", "C");
    assert!(signs.starts_with(head) && signs.is_ascii(), "{signs}");
}

#[test]
fn the_changed_lines_of_a_file_of_a_project() {
    let size = json!({ "kind": "differs", "attribute": "size", "found": "334 bytes", "wanted": "387 bytes" });
    let address = "file.hello/docker-compose.yml";
    let steps = [step(1, "switch", "update", address, &size)];
    let summary = Summary {
        update: 1,
        ..Summary::default()
    };
    let plan = plan(&steps, &json!({}), summary);
    let key = (address.parse().unwrap(), String::new());
    let diff = "@@ -1 +1 @@\n-a\n+b\n".to_owned();
    let shown = render::text_with(&plan, Style::default(), &[(key, diff)].into());
    assert!(
        shown.contains("                @@ -1 +1 @@\n                -a\n                +b\n"),
        "{shown}"
    );
}

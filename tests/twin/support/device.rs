//! Talks to the device's own API as other tools do.

use std::process::Command;

use super::{Twin, run};

/// Calls the device's API as another tool does: a Python expression with the device as `d`.
pub(crate) fn api(twin: &Twin, expression: &str) -> String {
    twin.root(&format!(
        "python3 -c 'import xmlrpc.client, json; \
         d = xmlrpc.client.ServerProxy(\"http://127.0.0.1/api/rpc/v1/com.ifm.efector/\"); \
         print({expression})'"
    ))
}

/// Makes the API fail as asked, until `off`.
pub(crate) fn inject(twin: &Twin, fault: &str) {
    twin.root(&format!(
        "mkdir -p /run/o3r-api; echo '{fault}' >/run/o3r-api/inject"
    ));
}

/// Reads the configuration at a pointer with ifm's own client, from this machine.
pub(crate) fn ifm3dpy(twin: &Twin, pointer: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/twin");
    let python = run(&mut Command::new(format!("{folder}/ifm3dpy.sh"))).exits(0);
    let program = format!(
        "import json; from ifm3dpy.device import O3R; print(json.dumps(O3R('{}').resolve_config('{pointer}')))",
        twin.address
    );
    let mut command = Command::new(python.stdout.trim());
    run(command.args(["-c", &program]))
        .exits(0)
        .stdout
        .trim()
        .to_owned()
}

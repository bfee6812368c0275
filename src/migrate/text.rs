//! Renders a migrated manifest.

use std::fmt::Write as _;

use super::{Copied, Draft, Image, Source};
use crate::scaffold::quoted;

/// The column of comments behind a key.
const COMMENT: usize = 40;

/// Renders a draft; `command` is the command line that it stands for.
pub(super) fn text(draft: &Draft, command: &str, schema: &str) -> String {
    let mut out = format!(
        "#:schema {schema}\n\n# Migrated from:\n#   {command}\n\
         # `o3r-deploy check` validates this file, `plan` shows what `apply` would change on the VPU.\n"
    );
    vpu(&mut out, draft);
    let _ = write!(
        out,
        "\n[release]\nname = {}\nversion = \"0.1.0\"\n",
        quoted(&draft.release)
    );
    if let Some((config, is_network)) = &draft.device {
        let _ = write!(out, "\n[device]\nconfig = {config}\n");
        if *is_network {
            out.push_str("network = true\n");
        }
    }
    for path in &draft.directories {
        let _ = write!(out, "\n[[directories]]\npath = {}\n", quoted(path));
    }
    for volume in &draft.volumes {
        let (name, path) = (quoted(&volume.name), quoted(&volume.path));
        let _ = write!(out, "\n[[volumes]]\nname = {name}\npath = {path}\n");
    }
    for each in &draft.images {
        image(&mut out, each);
    }
    for each in &draft.transfers {
        copied(&mut out, "", "transfers", each);
    }
    projects(&mut out, draft);
    if !draft.disable.is_empty() {
        let names: Vec<String> = draft.disable.iter().map(|name| quoted(name)).collect();
        let _ = write!(out, "\n[autostart]\ndisable = [{}]\n", names.join(", "));
    }
    later(&mut out, draft);
    if !draft.instead.is_empty() {
        out.push_str("\n# Without a key here:\n");
        for instead in &draft.instead {
            let _ = writeln!(out, "#   {}: {}", instead.flag, instead.advice);
        }
    }
    out
}

fn vpu(out: &mut String, draft: &Draft) {
    out.push_str("\n[vpu]\n");
    match &draft.host {
        Some(host) => {
            let _ = writeln!(out, "host = {}", quoted(host));
        }
        None => key(
            out,
            "# host",
            "\"192.168.0.69\"",
            "default: $IFM3D_IP, then this address",
        ),
    }
    let keys = [
        ("name", &draft.vpu_name),
        ("identity", &draft.identity),
        ("firmware", &draft.firmware),
    ];
    for (name, value) in keys {
        if let Some(value) = value {
            let _ = writeln!(out, "{name} = {}", quoted(value));
        }
    }
    out.push_str("# `o3r-deploy authorize` lets you log in, and writes the host key and the serial number here.\n");
}

/// Writes a key with a comment.
fn key(out: &mut String, name: &str, value: &str, comment: &str) {
    let line = format!("{name} = {value}");
    let _ = writeln!(out, "{line:<COMMENT$} # {comment}");
}

fn image(out: &mut String, image: &Image) {
    let name = quoted(&image.name);
    let _ = write!(out, "\n[[images]]\nname = {name}\n");
    match &image.source {
        Source::Rootfs(file) => key(
            out,
            "rootfs",
            &format!("{{ file = {} }}", quoted(file)),
            "a file system, as `docker build -o type=tar` writes it",
        ),
        Source::Archive(file) => {
            let _ = writeln!(out, "archive = {}", quoted(file));
        }
        Source::Engine => key(out, "engine", &name, "from this machine's docker"),
    }
}

fn copied(out: &mut String, prefix: &str, table: &str, copied: &Copied) {
    let _ = write!(
        out,
        "\n{prefix}[[{table}]]\n{prefix}src = {}\n",
        quoted(&copied.src)
    );
    match &copied.comment {
        Some(comment) => key(out, &format!("{prefix}dst"), &quoted(&copied.dst), comment),
        None => {
            let _ = writeln!(out, "{prefix}dst = {}", quoted(&copied.dst));
        }
    }
}

fn projects(out: &mut String, draft: &Draft) {
    for project in &draft.projects {
        let (name, file) = (quoted(&project.name), quoted(&project.file));
        let _ = write!(out, "\n[[compose]]\nname = {name}\nfile = {file}\n");
        if !project.extra_files.is_empty() {
            let files: Vec<String> = project
                .extra_files
                .iter()
                .map(|file| quoted(file))
                .collect();
            let _ = writeln!(out, "extra_files = [{}]", files.join(", "));
        }
        if !project.is_started {
            key(out, "state", "\"stopped\"", "no flag starts it");
        }
        if project.autostart {
            out.push_str("autostart = true\n");
        }
    }
}

/// Writes what a later version supports, as comments.
fn later(out: &mut String, draft: &Draft) {
    let login = draft.login();
    if let Some((path, into)) = &draft.logs {
        let _ = write!(
            out,
            "\n# Not supported yet; until then: scp -O -r {login}:{} FOLDER\n\
             # [logs]\n# paths = [{}]\n# into = {}\n# on_apply = true\n",
            path.trim_start_matches("~/"),
            quoted(path),
            quoted(into)
        );
    }
    for each in &draft.downloads {
        let src = each.src.trim_start_matches("~/");
        let _ = write!(
            out,
            "\n# Not supported yet; until then: scp -O -r {login}:{src} {}",
            each.dst
        );
        copied(out, "# ", "downloads", each);
    }
    if draft.mounts_usb {
        let _ = write!(
            out,
            "\n# Not supported yet; until then: ssh {login} mount\n# [usb]\n# mount = true\n"
        );
    }
}

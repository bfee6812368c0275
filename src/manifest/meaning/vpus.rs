//! Finds VPUs of one manifest that differ only in their names, mostly because of a copied table.

use crate::manifest::{
    FindingCode,
    diagnostics::Diagnostic,
    loaded::Loaded,
    names::{HostName, escape, is_same_host},
    spans::child,
    types::Vpu,
};

/// The default ssh port.
const SSH_PORT: u16 = 22;

/// Returns a warning for each VPU that has the address, a
/// host key or the serial number of an earlier one.
pub fn same_vpus(loaded: &Loaded) -> Vec<Diagnostic> {
    let names = loaded.manifest.vpus.keys();
    let vpus: Vec<(&String, Loaded)> = names
        .filter_map(|name| Some((name, loaded.for_vpu(name)?)))
        .collect();
    let mut findings = Vec::new();
    for (index, (name, vpu)) in vpus.iter().enumerate() {
        for (key, what, is_same) in SAME {
            let has_same =
                |(_, other): &&(&String, Loaded)| is_same(&other.manifest.vpu, &vpu.manifest.vpu);
            if let Some((earlier, _)) = vpus[..index].iter().find(has_same) {
                findings.push(finding(vpu, (earlier, name), key, what));
            }
        }
    }
    findings
}

/// A property that two VPUs must not share: the key, its words, and whether they do.
type Same = (&'static str, &'static str, fn(&Vpu, &Vpu) -> bool);

const SAME: [Same; 3] = [
    ("host", "address", have_one_address),
    ("host_key", "host key", have_one_key),
    ("serial", "serial number", have_one_serial),
];

fn have_one_address(one: &Vpu, other: &Vpu) -> bool {
    let port = |vpu: &Vpu| vpu.port.unwrap_or(SSH_PORT);
    port(one) == port(other)
        && match (&one.host, &other.host) {
            (Some(one), Some(other)) => is_same_host(one.as_str(), other.as_str()),
            // Both have the factory address; pins distinguish
            // VPUs that are connected one after the other.
            (None, None) => one.may_be(other),
            _ => false,
        }
}

fn have_one_key(one: &Vpu, other: &Vpu) -> bool {
    let keys = |vpu: &Vpu| vpu.host_key.as_ref().map(|keys| keys.as_slice().to_vec());
    let (Some(one), Some(other)) = (keys(one), keys(other)) else {
        return false;
    };
    // Text after a key is a comment.
    let bare = |key: &str| {
        let words: Vec<&str> = key.split_whitespace().take(2).collect();
        words.join(" ")
    };
    let mut one = one.iter();
    one.any(|one| {
        let mut other = other.iter();
        other.any(|other| bare(one.as_str()) == bare(other.as_str()))
    })
}

fn have_one_serial(one: &Vpu, other: &Vpu) -> bool {
    one.serial.is_some() && one.serial == other.serial
}

fn finding(vpu: &Loaded, (earlier, name): (&str, &str), key: &str, what: &str) -> Diagnostic {
    let (earlier, shown) = (escape(earlier), escape(name));
    let host = vpu.manifest.vpu.host.as_ref().map(HostName::as_str);
    let value = match (key, host) {
        ("host", Some(host)) => format!(": {}", escape(host)),
        ("host", None) => ": the factory address".to_owned(),
        _ => String::new(),
    };
    let pointer = format!("/vpu/{key}");
    let pointer = if vpu.is_written(&pointer) {
        pointer
    } else {
        child("/vpus", name)
    };
    let message = format!("the VPUs `{earlier}` and `{shown}` have the same {what}{value}");
    let label = format!("also that of `{earlier}`");
    let help = format!("correct `{key}` of one of them, or remove its table");
    vpu.diagnostic(&pointer, FindingCode::SameVpu, message, label, help)
        .warning()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;

    fn found(vpus: &str) -> Vec<String> {
        let text = format!("[release]\nname = \"app\"\n{vpus}");
        let loaded = manifest::parse("deploy.toml", text.as_bytes()).unwrap();
        let findings = same_vpus(&loaded);
        let shown = findings.iter().map(|finding| {
            let (line, _) = finding.line_and_column();
            format!("{line}: {}", finding.message)
        });
        shown.collect()
    }

    #[test]
    fn vpus_that_differ_only_in_their_names_are_found() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        for (vpus, wanted) in [
            (
                "[vpus.a]\nhost = \"10.0.0.1\"\n[vpus.b]\nhost = \"10.0.0.1\"\nport = 22\n"
                    .to_owned(),
                "6: the VPUs `a` and `b` have the same address: 10.0.0.1",
            ),
            (
                format!(
                    "[vpus.a]\nhost = \"x\"\nhost_key = \"{key}\"\n[vpus.b]\nhost = \"y\"\nhost_key = \"{key} me\"\n"
                ),
                "8: the VPUs `a` and `b` have the same host key",
            ),
            (
                "[vpus.a]\nhost = \"x\"\nserial = \"1\"\n[vpus.b]\nhost = \"y\"\nserial = \"1\"\n"
                    .to_owned(),
                "8: the VPUs `a` and `b` have the same serial number",
            ),
            (
                "[vpus.a]\n[vpus.b]\n".to_owned(),
                "4: the VPUs `a` and `b` have the same address: the factory address",
            ),
            (
                "[vpu]\nhost = \"10.0.0.1\"\n[vpus.a]\n[vpus.b]\n".to_owned(),
                "4: the VPUs `a` and `b` have the same address: 10.0.0.1",
            ),
        ] {
            assert_eq!(found(&vpus), [wanted], "{vpus}");
        }
    }

    #[test]
    fn vpus_that_are_distinguishable_are_not_found() {
        for vpus in [
            "[vpus.a]\nhost = \"10.0.0.1\"\n[vpus.b]\nhost = \"10.0.0.1\"\nport = 2222\n",
            "[vpus.a]\nhost = \"10.0.0.1\"\n[vpus.b]\nhost = \"10.0.0.2\"\n",
            "[vpus.a]\nserial = \"1\"\n[vpus.b]\nserial = \"2\"\n",
            "[vpus.a]\n",
        ] {
            assert_eq!(found(vpus), [""; 0], "{vpus}");
        }
    }
}

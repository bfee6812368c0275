//! Derives the reason of a failed login, and the side that failed, from ssh's messages.

use std::time::Duration;

use super::{
    super::{
        HostError,
        error::{PINNED, PresentedKey},
    },
    SshOptions,
    client::Configured,
    key_files,
    known_hosts::Destination,
    link::Greeting,
};
use o3r_core::names::escape;

/// The shell's exit code for a program that does not exist.
const COMMAND_NOT_FOUND: i32 = 127;

/// The most lines of ssh's messages that are shown, and the most characters of each.
const LINES: usize = 12;
const LINE_WIDTH: usize = 400;

/// What a failed login is classified with.
pub(super) struct Context<'a> {
    pub(super) options: &'a SshOptions,
    pub(super) configured: &'a Configured,
}

/// The meaning of ssh's messages, with the lines to show.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    KeyChanged,
    KeyUnknown,
    KeyRevoked(String),
    JumpHost(String),
    Refused(String),
    Unreachable(String),
    Other(String, Option<String>),
}

/// Converts ssh's messages, and its exit code if it ended, to an error. OpenSSH has no error codes:
/// its messages have been stable since 2000, and in English whatever the locale.
pub(super) async fn login_error(context: &Context<'_>, said: &str, code: Option<i32>) -> HostError {
    let Context {
        options,
        configured,
    } = context;
    if code == Some(COMMAND_NOT_FOUND) {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return HostError::Start {
            program: "ssh".into(),
            source,
        };
    }
    let host = options.host.clone();
    let pinned = !options.host_keys.is_empty();
    match verdict(said, configured.is_proxied(), pinned) {
        Verdict::KeyChanged => {
            let (presented, scan) = presented_key(configured).await;
            HostError::HostKeyChanged {
                host,
                expected_by: if pinned { PINNED } else { "in known_hosts" },
                presented,
                scan,
            }
        }
        Verdict::KeyUnknown => {
            let (presented, scan) = presented_key(configured).await;
            HostError::HostKeyUnknown {
                host,
                presented,
                scan,
            }
        }
        Verdict::KeyRevoked(reason) => HostError::HostKeyRevoked { host, reason },
        Verdict::JumpHost(reason) => HostError::JumpHost { host, reason },
        Verdict::Refused(mut reason) => {
            let mut troubles = key_files::troubles(context).await;
            if !troubles.is_empty() {
                // ssh's own words on such a key say less.
                let rest = reason.lines().filter(|line| !key_files::is_of_a_key(line));
                troubles.extend(rest.map(str::to_owned));
                reason = troubles.join("\n");
            }
            let user = configured.user().to_owned();
            HostError::Refused { host, user, reason }
        }
        Verdict::Unreachable(reason) => HostError::Unreachable { host, reason },
        Verdict::Other(reason, help) => HostError::Login { host, reason, help },
    }
}

/// Describes an ssh that timed out, with its messages so far.
pub(super) fn timed_out(context: &Context<'_>, said: &str, limit: Duration) -> HostError {
    let mut reason = format!(
        "it answers, but the login did not complete within {} s",
        limit.as_secs()
    );
    let lines = lines(said);
    if !lines.is_empty() {
        reason = format!("{reason}: {}", shown(&lines));
    }
    let host = context.options.host.clone();
    HostError::Unreachable { host, reason }
}

/// Describes a login whose first command did not run, with the output in its place.
pub(super) fn no_command(context: &Context<'_>, greeting: &Greeting, said: &str) -> HostError {
    let user = escape(context.configured.user());
    let host = context.options.host.clone();
    let (what, words) = match greeting {
        Greeting::Silent => ("starts no command", ""),
        Greeting::Endless => ("prints without end before its first command", ""),
        Greeting::Other(words) => ("runs no commands", words.as_str()),
    };
    let lines = lines(&format!("{said}\n{words}"));
    let mut reason = format!("the login shell of {user} {what}");
    if !lines.is_empty() {
        reason = format!("{reason}: {}", shown(&lines));
    }
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    let help = account_help(&says).map_or_else(
        || {
            format!(
                "check the user's shell and its startup files, `command=` in authorized_keys and `ForceCommand` in \
                 sshd_config; try: ssh {user}@{host} true"
            )
        },
        str::to_owned,
    );
    HostError::Login {
        host,
        reason,
        help: Some(help),
    }
}

/// Classifies ssh's messages, for a host behind a proxy or not, with a pinned key or without.
fn verdict(said: &str, is_proxied: bool, pinned: bool) -> Verdict {
    let lines = lines(said);
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    let all = shown(&lines);
    // These occur before the host's own banner: the proxy or jump host failed.
    let before = says("kex_exchange_identification:") || says("during banner exchange");
    if is_proxied && before {
        return before_the_host(&lines);
    }
    if says("REVOKED HOST KEY DETECTED") || says("revoked by file") {
        let told = |line: &&String| line.contains("revoked");
        let line = lines.iter().find(told).or(lines.first());
        return Verdict::KeyRevoked(line.cloned().unwrap_or_default());
    }
    if says("REMOTE HOST IDENTIFICATION HAS CHANGED") || (pinned && says("host key is known for")) {
        return Verdict::KeyChanged;
    }
    if says("host key is known for") {
        return Verdict::KeyUnknown;
    }
    if says("Unable to negotiate") || says("no matching") {
        if pinned && says("no matching host key type") {
            return Verdict::KeyChanged;
        }
        let help = algorithm_help(&lines);
        return Verdict::Other(all, help);
    }
    if says("Host key verification failed") {
        let help = "check the key with: ssh -v HOST true".to_owned();
        return Verdict::Other(all, Some(help));
    }
    if let Some(help) = account_help(&says) {
        return Verdict::Other(all, Some(help.to_owned()));
    }
    if says("Permission denied") || offered_too_many_keys(said) {
        return Verdict::Refused(all);
    }
    if lines.is_empty() {
        return Verdict::Other("ssh ended without a message".to_owned(), None);
    }
    if says("Connection closed by") || says("Connection reset by") {
        let help = "sshd on the VPU closed the connection: it may still be starting, have too many connections \
                    (MaxStartups), or refuse this user or address; try again in a minute, then check its log: \
                    journalctl -u ssh";
        return Verdict::Other(all, Some(help.to_owned()));
    }
    Verdict::Unreachable(all)
}

/// Whether sshd disconnected before the right key was offered.
pub(super) fn offered_too_many_keys(said: &str) -> bool {
    said.contains("Too many authentication failures")
}

/// Classifies a failure before the host was reached; the jump host's own messages usually precede
/// ssh's.
fn before_the_host(lines: &[String]) -> Verdict {
    let ours = |line: &&String| {
        let mut words = ["kex_exchange_identification:", "UNKNOWN port 65535"].into_iter();
        words.any(|words| line.contains(words))
    };
    let theirs: Vec<String> = lines.iter().filter(|line| !ours(line)).cloned().collect();
    let mut reason = shown(if theirs.is_empty() { lines } else { &theirs });
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    if says("administratively prohibited") {
        reason.push_str(
            "\nits sshd forbids forwarding (AllowTcpForwarding or PermitOpen in sshd_config, `restrict` in \
             authorized_keys)",
        );
    } else if says("open failed: connect failed") {
        return Verdict::Unreachable(format!("from its jump host: {reason}"));
    }
    Verdict::JumpHost(reason)
}

/// What to do if the login is valid but the account or the system is not ready.
fn account_help(says: &impl Fn(&str) -> bool) -> Option<&'static str> {
    let text = if says("not permitted to log in yet") || says("is booting up") {
        "wait until the VPU has started, and try again"
    } else if says("going down") || says("shutting down") || says("will be powered off") {
        "the VPU shuts down: start it, and try again"
    } else if says("account has expired") {
        "renew the account; on the VPU, as root: chage -E -1 USER"
    } else if says("assword change required")
        || says("assword has expired")
        || says("change your password")
    {
        "set a new password: log in with ssh on a terminal, or on the VPU, as root: passwd USER"
    } else if says("account is currently not available") {
        "the login shell of this user refuses logins; on the VPU, as root: usermod -s /bin/sh USER"
    } else if says("Cannot assign requested address") || says("bad configuration option") {
        "correct your ssh_config"
    } else {
        return None;
    };
    Some(text)
}

/// Parses `Unable to negotiate with A port 22: no matching KIND found. Their offer: B,C`, and names
/// the option for that kind.
fn algorithm_help(lines: &[String]) -> Option<String> {
    let line = lines.iter().find(|line| line.contains("Their offer: "))?;
    let (_, offer) = line.split_once("Their offer: ")?;
    let kinds = [
        ("key exchange method", "KexAlgorithms"),
        ("host key type", "HostKeyAlgorithms"),
        ("cipher", "Ciphers"),
        ("MAC", "MACs"),
    ];
    let has = |kind: &str| line.contains(&format!("no matching {kind}"));
    let (_, option) = kinds.iter().find(|(kind, _)| has(kind))?;
    let first = offer.split([',', ' ']).next()?;
    Some(format!(
        "this ssh no longer offers an algorithm that the VPU's sshd has; allow one for this host in ssh_config: \
         {option} +{first}"
    ))
}

/// Splits ssh's messages into lines to show, without ASCII art, frames and control characters.
fn lines(said: &str) -> Vec<String> {
    let lines = said.split(['\n', '\r']).map(str::trim);
    let told = lines.filter(|line| {
        let is_frame = line.chars().all(|c| "@*-+| ".contains(c));
        let is_of_no_use = line.starts_with("debug")
            || line.starts_with("Warning: Permanently added")
            || line.starts_with("** ");
        !is_frame && !is_of_no_use
    });
    told.map(|line| escape(&line.chars().take(LINE_WIDTH).collect::<String>()))
        .collect()
}

/// Joins the last lines.
fn shown(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The key that the VPU presents and the command that shows it, if they can be determined.
async fn presented_key(configured: &Configured) -> (Option<PresentedKey>, Option<String>) {
    match Destination::of(configured) {
        Some(there) => (there.presented().await, there.scan()),
        None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n";

    fn direct(said: &str) -> Verdict {
        verdict(said, false, true)
    }

    fn proxied(said: &str) -> Verdict {
        verdict(said, true, true)
    }

    #[test]
    fn a_revoked_key_is_neither_unknown_nor_changed() {
        let marked = format!(
            "{FRAME}@       WARNING: REVOKED HOST KEY DETECTED!               @\n{FRAME}\
             The ED25519 host key for o3r-vpu is marked as revoked.\n\
             This could mean that a stolen key is being used to impersonate this host.\n\
             ED25519 host key for o3r-vpu was revoked and you have requested strict checking.\n\
             Host key verification failed.\n"
        );
        let by_file = "Host key ED25519 SHA256:abc revoked by file /etc/revoked\nHost key verification failed.\n";
        for said in [&marked, by_file] {
            for pinned in [true, false] {
                let verdict = verdict(said, false, pinned);
                let Verdict::KeyRevoked(reason) = verdict else {
                    panic!("{verdict:?}")
                };
                assert!(reason.contains("revoked"), "{reason}");
            }
        }
    }

    #[test]
    fn failures_of_the_jump_host_are_attributed_to_it() {
        let closed = "kex_exchange_identification: Connection closed by remote host\r\n\
                      Connection closed by UNKNOWN port 65535\r\n";
        for (said, reason) in [
            (
                "No ED25519 host key is known for 127.0.0.73 and you have requested strict checking.\r\n\
                 Host key verification failed.\r\n",
                "No ED25519 host key is known for 127.0.0.73",
            ),
            (
                "Host key for 127.0.0.73 has changed and you have requested strict checking.\r\n\
                 Host key verification failed.\r\n",
                "Host key for 127.0.0.73 has changed",
            ),
            (
                "nobody1@127.0.0.73: Permission denied (publickey).\r\n",
                "nobody1@127.0.0.73: Permission denied (publickey).",
            ),
            (
                "channel 0: open failed: administratively prohibited: open failed\r\nstdio forwarding failed\r\n",
                "forbids forwarding",
            ),
            ("", "kex_exchange_identification: Connection closed"),
        ] {
            let verdict = proxied(&format!("{said}{closed}"));
            let Verdict::JumpHost(told) = verdict else {
                panic!("{said}: {verdict:?}")
            };
            assert!(told.contains(reason), "{told}");
        }
        let silent = "Connection timed out during banner exchange\r\nConnection to UNKNOWN port 65535 timed out\r\n";
        assert!(matches!(proxied(silent), Verdict::JumpHost(_)));
        // Hosts that the jump host cannot reach, and messages of the VPU behind it.
        let off = "channel 0: open failed: connect failed: No route to host\r\nstdio forwarding failed\r\n";
        let Verdict::Unreachable(reason) = proxied(&format!("{off}{closed}")) else {
            panic!()
        };
        assert!(reason.contains("from its jump host: channel 0"), "{reason}");
        let unknown = "No ED25519 host key is known for o3r-vpu and you have requested strict checking.\n\
                       Host key verification failed.\n";
        assert_eq!(proxied(unknown), Verdict::KeyChanged);
        assert_eq!(verdict(unknown, true, false), Verdict::KeyUnknown);
        assert!(matches!(
            proxied("oem@127.0.0.1: Permission denied (publickey).\n"),
            Verdict::Refused(_)
        ));
    }

    #[test]
    fn ssh_s_reason_is_shown_with_matching_help() {
        for (said, reason, help) in [
            (
                "\"System is booting up. Unprivileged users are not permitted to log in yet. Please come back later.\"\n\n\
                 Connection closed by 127.0.0.73 port 22\n",
                "System is booting up",
                "wait until the VPU has started",
            ),
            (
                "Unable to negotiate with 127.0.0.73 port 22: no matching key exchange method found. Their offer: \
                 diffie-hellman-group14-sha1,ext-info-s\n",
                "no matching key exchange method",
                "KexAlgorithms +diffie-hellman-group14-sha1",
            ),
            (
                "Your account has expired; please contact your system administrator.\nConnection closed by A port 22\n",
                "Your account has expired",
                "chage -E -1",
            ),
            (
                "Password change required but no TTY available.\n",
                "Password change required",
                "passwd USER",
            ),
            (
                "Connection reset by 127.0.0.73 port 22\n",
                "Connection reset",
                "MaxStartups",
            ),
        ] {
            let verdict = direct(said);
            let Verdict::Other(told, Some(helps)) = &verdict else {
                panic!("{verdict:?}")
            };
            assert!(told.contains(reason), "{told}");
            assert!(helps.contains(help), "{helps}");
        }
        let banner = "Authorised\x1b[2J use\x07 only\nssh: connect to host 10.0.0.9 port 22: No route to host\n";
        let Verdict::Unreachable(told) = direct(banner) else {
            panic!()
        };
        assert!(
            told.contains("No route to host") && !told.contains('\x1b'),
            "{told:?}"
        );
        let endless = "x".repeat(100_000) + &"\nline".repeat(10_000);
        let Verdict::Unreachable(told) = direct(&endless) else {
            panic!()
        };
        assert!(told.len() < LINES * LINE_WIDTH, "{}", told.len());
    }

    #[test]
    fn an_unexpected_key_is_unknown_without_a_pin_and_changed_with_one() {
        let said = "No ED25519 host key is known for 10.0.0.9 and you have requested strict checking.\n\
                    Host key verification failed.\n";
        assert_eq!(verdict(said, false, false), Verdict::KeyUnknown);
        assert_eq!(direct(said), Verdict::KeyChanged);
        let rsa = "Unable to negotiate with 10.0.0.9 port 22: no matching host key type found. Their offer: ssh-rsa\n";
        assert_eq!(direct(rsa), Verdict::KeyChanged);
        assert!(matches!(
            verdict(rsa, false, false),
            Verdict::Other(_, Some(_))
        ));
    }
    /// The messages of OpenSSH 9.2.
    #[test]
    fn every_unusable_key_has_its_own_help() {
        let denied = "oem@10.0.0.9: Permission denied (publickey).\n";
        for (said, shows, helps) in [
            (
                "Warning: Identity file id not accessible: No such file or directory.\n",
                "id not accessible: No such file",
                "set a key file that exists",
            ),
            (
                "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\nPermissions 0644 for 'id' are too open.\n\
                 It is required that your private key files are NOT accessible by others.\n\
                 This private key will be ignored.\nLoad key \"id\": bad permissions\n",
                "0644 for 'id' are too open",
                "chmod 600",
            ),
            (
                "Load key \"id\": error in libcrypto\n",
                "Load key \"id\"",
                "damaged, or has a format",
            ),
            (
                "Received disconnect from 10.0.0.9 port 22:2: Too many authentication failures\n\
                 Disconnected from 10.0.0.9 port 22\n",
                "Too many authentication failures",
                "IdentitiesOnly yes",
            ),
            (
                "",
                "Permission denied",
                "o3r-deploy authorize\notherwise set your key as `identity`",
            ),
        ] {
            let tail = if said.starts_with("Received") {
                ""
            } else {
                denied
            };
            let verdict = direct(&format!("{FRAME}{said}{tail}"));
            let Verdict::Refused(reason) = verdict else {
                panic!("{said}: {verdict:?}")
            };
            assert!(
                reason.contains(shows) && !reason.contains("@@@"),
                "{reason}"
            );
            let (host, user) = ("10.0.0.9".to_owned(), "oem".to_owned());
            let help = HostError::Refused { host, user, reason }.help().unwrap();
            assert!(help.contains(helps), "{said}: {help}");
        }
    }
}

//! Identifies the process and machine that apply, to tell later whether they still run.

use fs_err as fs;

/// A process of this or another machine, as recorded in the lock on a VPU: boot id, PID namespace (a container has its
/// own), process id and start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    boot: String,
    namespace: String,
    pid: String,
    started: String,
}

impl Client {
    /// This process; `None` if the machine has no /proc.
    pub(super) fn this() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let pid = std::process::id().to_string();
        Some(Self {
            boot: boot.trim().to_owned(),
            namespace: namespace.to_str()?.to_owned(),
            started: started(&pid)?,
            pid,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::to_owned);
        let client = Self {
            boot: words.next()?,
            namespace: words.next()?,
            pid: words.next()?,
            started: words.next()?,
        };
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        (is_number(&client.pid) && is_number(&client.started) && words.next().is_none())
            .then_some(client)
    }

    /// One line.
    pub(super) fn line(&self) -> String {
        let Self {
            boot,
            namespace,
            pid,
            started,
        } = self;
        format!("{boot} {namespace} {pid} {started}")
    }

    /// Whether the process of this line has ended, or is this one; false for a process of another machine.
    pub(super) fn is_gone_or_us(line: &str) -> bool {
        let (Some(other), Some(this)) = (Self::parse(line), Self::this()) else {
            return false;
        };
        let here = other.boot == this.boot && other.namespace == this.namespace;
        // A process that we may not look at is there.
        let runs = || match started(&other.pid) {
            Some(started) => started == other.started,
            None => fs::metadata(format!("/proc/{}", other.pid)).is_ok(),
        };
        here && (other == this || !runs())
    }
}

/// The start time of a process in clock ticks since boot.
fn started(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; field 22 is the 20th behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // One that has ended and was not waited for does nothing any more.
    if fields.next()? == "Z" {
        return Some("-".to_owned());
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let this = Client::this().unwrap();
        assert!(Client::is_gone_or_us(&this.line()), "us");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        let running = Client {
            started: started(&pid).unwrap(),
            pid,
            ..this.clone()
        };
        assert!(!Client::is_gone_or_us(&running.line()));
        let reused = Client {
            started: "1".into(),
            ..running.clone()
        };
        assert!(Client::is_gone_or_us(&reused.line()));
        for other in [
            Client {
                boot: "another".into(),
                ..reused.clone()
            },
            Client {
                namespace: "pid:[1]".into(),
                ..reused
            },
        ] {
            assert!(!Client::is_gone_or_us(&other.line()), "{other:?}");
        }
        child.kill().unwrap();
        assert!(child.try_wait().is_ok());
        let _ = child.wait();
        assert!(Client::is_gone_or_us(&running.line()));
        for line in ["", "a b c d", "a b 1", "a b ../1 2", "a b 1 2 3"] {
            assert!(!Client::is_gone_or_us(line), "{line}");
        }
    }
}

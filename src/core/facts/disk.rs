//! A file system of the VPU: its size, and what is free on it.

use serde::{Deserialize, Serialize};

/// A file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Size in bytes.
    pub total: u64,
    /// Bytes that our user can still write.
    pub free: u64,
    /// How many files can still be created; `None` where the file system does not count them.
    pub inodes: Option<u64>,
    /// Its device, such as `/dev/mmcblk0p5`; some have a word such as `overlay`.
    pub device: String,
    /// Where it is mounted.
    pub mount: String,
}

impl Disk {
    /// Parses `KILOBYTES FREE INODES DEVICE MOUNT`, as the probes print it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        let mut kilobytes = || words.next()?.parse::<u64>().ok()?.checked_mul(1024);
        let (total, free) = (kilobytes()?, kilobytes()?);
        Some(Self {
            total,
            free,
            inodes: words.next()?.parse().ok(),
            device: words.next()?.to_owned(),
            mount: words.next()?.to_owned(),
        })
    }

    /// Whether both are one file system: a bind mount shows it at two places, and an overlay shows the numbers of the
    /// one below it.
    pub fn is_same(&self, other: &Self) -> bool {
        self.mount == other.mount
            || (self.device.starts_with('/') && self.device == other.device)
            || (self.total, self.free) == (other.total, other.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_system_has_one_mount_device_or_size() {
        let disk = |text| Disk::parse(text).unwrap();
        let home = disk("100 50 - /dev/mmcblk0p5 /home/my disk");
        assert_eq!(home.mount, "/home/my disk");
        assert_eq!(
            (home.total, home.free, home.inodes),
            (102_400, 51_200, None)
        );
        for (text, is_same) in [
            ("100 50 7 overlay /", true),
            ("100 49 7 overlay /", false),
            ("100 49 7 tmpfs /home/my disk", true),
            ("100 49 7 /dev/mmcblk0p5 /var/lib/docker", true),
            ("100 49 7 /dev/mmcblk0p6 /var/lib/docker", false),
        ] {
            assert_eq!(home.is_same(&disk(text)), is_same, "{text}");
        }
        assert_eq!(disk("100 50 7 tmpfs /").inodes, Some(7));
        for text in ["", "100 50", "a 50 - tmpfs /", "100 50 - tmpfs"] {
            assert_eq!(Disk::parse(text), None, "{text}");
        }
    }
}

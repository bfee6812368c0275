//! Names the platform of an image and decides whether it fits the VPU's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An operating system and a processor architecture in docker's terms, for example `linux/arm64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, `linux` for everything an O3R VPU runs.
    pub os: String,
    /// Processor architecture in Go's terms: `arm64`, `amd64`.
    pub architecture: String,
    /// Architecture variant (`v7`, `v8`), if any.
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on `architecture`, in Go's terms or as `uname -m` prints it.
    pub fn linux(architecture: &str) -> Self {
        Self::new("linux", architecture, None)
    }

    /// Normalises known spellings: `aarch64` is `arm64`, `x86_64` is `amd64`, and the variant `v8`
    /// is implied by `arm64`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "aarch64" => "arm64",
            "x86_64" | "x86-64" => "amd64",
            "armhf" | "armv7l" => "arm",
            other => other,
        };
        let implied = if architecture == "arm64" { "v8" } else { "" };
        let variant = variant.filter(|v| !v.is_empty() && *v != implied);
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// Whether an image for `self` runs on `wanted`: an empty field fits anything, and an older
    /// 32-bit arm variant runs on a newer one.
    pub fn fits(&self, wanted: &Self) -> bool {
        let fits = |have: &str, want: &str| have.is_empty() || have == want;
        fits(&self.os, &wanted.os)
            && fits(&self.architecture, &wanted.architecture)
            && match (&self.variant, &wanted.variant) {
                (Some(have), Some(want)) => {
                    have == want || (wanted.architecture == "arm" && have < want)
                }
                _ => true,
            }
    }

    /// Fills empty fields from another platform.
    #[must_use]
    pub(crate) fn or(self, other: &Self) -> Self {
        let or = |own: String, other: &String| if own.is_empty() { other.clone() } else { own };
        let variant = if self.architecture.is_empty() {
            self.variant.or_else(|| other.variant.clone())
        } else {
            self.variant
        };
        Self {
            os: or(self.os, &other.os),
            architecture: or(self.architecture, &other.architecture),
            variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_normalised_and_variants_compared() {
        let arm64 = Platform::linux("aarch64");
        assert_eq!(arm64.to_string(), "linux/arm64");
        assert_eq!(arm64, Platform::new("linux", "arm64", Some("v8")));
        assert!(!Platform::linux("x86_64").fits(&arm64));
        assert!(!Platform::new("windows", "arm64", None).fits(&arm64));
        let v6 = Platform::new("linux", "arm", Some("v6"));
        let v7 = Platform::new("linux", "arm", Some("v7"));
        assert!(v6.fits(&v7) && !v7.fits(&v6));
        assert!(v6.fits(&Platform::linux("arm")));
        let unsaid = Platform::new("", "", None);
        assert!(unsaid.fits(&arm64));
        assert_eq!(unsaid.or(&arm64), arm64);
    }
}

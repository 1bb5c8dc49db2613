//! What an image says of itself: its configuration, its labels, its names.

use anyhow::Result;
use serde_json::{Value, json};

use super::layer::Layer;
use crate::cross::Arch;
use crate::workspace;

/// Which user the image is for, and where the capabilities come from (docs/kubernetes.md, Rights).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// User 0; the container runtime gives what the Pod adds.
    Root,
    /// Another user; the binary's file carries them.
    FileCapabilities,
}

impl Profile {
    pub(super) const ALL: [Self; 2] = [Self::Root, Self::FileCapabilities];

    /// The user's number, and the group's.
    pub(super) fn user(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::FileCapabilities => USER,
        }
    }

    /// What the binary's file permits who runs it.
    pub(super) fn permitted(self) -> u64 {
        match self {
            Self::Root => 0,
            Self::FileCapabilities => CAP_NET_ADMIN | CAP_NET_RAW,
        }
    }
}

/// What is the same for all images of a commit.
#[derive(Debug, Clone)]
pub(super) struct Describe {
    pub(super) version: String,
    pub(super) revision: String,
    /// The commit's time, in seconds since 1970.
    pub(super) time: u64,
    /// The commit's time as RFC 3339 writes it.
    pub(super) created: String,
}

impl Describe {
    /// As git and Cargo say.
    pub(super) fn of_commit() -> Result<Self> {
        Ok(Self {
            version: workspace::version()?,
            revision: workspace::revision()?,
            time: workspace::commit_time()?,
            created: workspace::commit_date()?,
        })
    }

    /// The name of a profile's image in the layout.
    pub(super) fn tag(&self, profile: Profile) -> String {
        match profile {
            Profile::Root => self.version.clone(),
            Profile::FileCapabilities => format!("{}-file-capabilities", self.version),
        }
    }

    /// The keys that OCI has defined, for labels and annotations.
    pub(super) fn labels(&self) -> Value {
        json!({
            "org.opencontainers.image.title": "mooring",
            "org.opencontainers.image.description": DESCRIPTION,
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.revision": self.revision,
            "org.opencontainers.image.created": self.created,
            "org.opencontainers.image.source": SOURCE,
            "org.opencontainers.image.url": SOURCE,
            "org.opencontainers.image.documentation": format!("{SOURCE}/blob/main/docs/kubernetes.md"),
            "org.opencontainers.image.vendor": VENDOR,
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        })
    }

    /// The image's configuration (application/vnd.oci.image.config.v1+json).
    pub(super) fn config(&self, profile: Profile, arch: Arch, layers: &[&Layer]) -> Value {
        let user = profile.user();
        let diffs: Vec<_> = layers.iter().map(|layer| format!("sha256:{}", layer.diff)).collect();
        let history = layers.iter().map(|_| {
            json!({ "created": self.created, "created_by": "cargo xtask image", "author": VENDOR })
        });
        json!({
            "created": self.created,
            "author": VENDOR,
            "architecture": arch.of_images(),
            "os": "linux",
            "config": {
                "User": format!("{user}:{user}"),
                "Env": ["PATH=/"],
                "Entrypoint": ["/mooring"],
                "Cmd": ["run", "-c", "/etc/mooring/mooring.toml"],
                "WorkingDir": "/",
                "StopSignal": "SIGTERM",
                "Labels": self.labels(),
            },
            "rootfs": { "type": "layers", "diff_ids": diffs },
            "history": history.collect::<Vec<_>>(),
        })
    }
}

/// The user of Mooring and its group, where it is not root. The number is that of "nonroot" in other images.
pub(super) const USER: u32 = 65_532;
/// Where the control socket is.
pub(super) const FOLDER: &str = "run/mooring";
/// Where the source is.
pub(super) const SOURCE: &str = env!("CARGO_PKG_REPOSITORY");
/// Who makes it.
pub(super) const VENDOR: &str = "The Mooring authors";
const DESCRIPTION: &str = "Userspace NAT appliance for Pods that own persistent addresses";
/// linux/capability.h
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_NET_RAW: u64 = 1 << 13;

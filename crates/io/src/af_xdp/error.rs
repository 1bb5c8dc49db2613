//! Why there is no AF_XDP on a device.

use std::io;

use thiserror::Error;

use crate::link::LinkError;
use crate::{af_packet, rights};

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The device cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The packet socket beside could not be opened.
    #[error(transparent)]
    Packet(#[from] af_packet::OpenError),
    /// There is no memory for frames.
    #[error("no memory for the frames of AF_XDP sockets: {0}")]
    Memory(#[source] io::Error),
    /// The process may not lock so much memory.
    #[error(
        "the frames of AF_XDP sockets on `{device}` exceed the limit of locked memory (RLIMIT_MEMLOCK)"
    )]
    LockedMemory {
        /// The device's name.
        device: String,
    },
    /// The process may not do what it takes.
    #[error("no permission to {step} for `{device}` (CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF)")]
    NotPermitted {
        /// The device's name.
        device: String,
        /// What was refused.
        step: &'static str,
    },
    /// Somebody else has a program there, or a socket on a queue.
    #[error("another program has XDP on `{device}`")]
    InUse {
        /// The device's name.
        device: String,
    },
    /// The kernel, or the device's driver, does not know how.
    #[error(
        "cannot {step} for `{device}`: the kernel or the device's driver has no XDP of its own"
    )]
    Unsupported {
        /// The device's name.
        device: String,
        /// What it does not know.
        step: &'static str,
    },
    /// Packets fit in no buffer.
    #[error("the MTU of `{device}`, {mtu}, is too long for AF_XDP: {longest} at most")]
    TooLong {
        /// The device's name.
        device: String,
        /// In bytes.
        mtu: u32,
        /// The longest that is carried, in bytes.
        longest: u32,
    },
    /// The kernel refused for another reason.
    #[error("cannot {step} for `{device}`: {source}")]
    Refused {
        /// The device's name.
        device: String,
        /// What it did not do.
        step: &'static str,
        /// Its reason.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn of(device: &str, step: &'static str, source: io::Error) -> Self {
        let device = device.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { device, step },
            Some(libc::ENOBUFS) => Self::LockedMemory { device },
            Some(libc::EBUSY) => Self::InUse { device },
            Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOSYS | libc::ENOPROTOOPT) => {
                Self::Unsupported { device, step }
            }
            _ => Self::Refused { device, step, source },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link(error) => error.hint(),
            Self::Packet(error) => error.hint(),
            Self::LockedMemory { .. } => {
                Some("raise it (ulimit -l, LimitMEMLOCK=), or add CAP_IPC_LOCK".to_owned())
            }
            Self::NotPermitted { .. } => Some(rights::advice("BPF")),
            Self::InUse { device } => {
                Some(format!("`ip link show {device}` names it; take it off"))
            }
            Self::TooLong { device, longest, .. } => {
                Some(format!("ip link set {device} mtu {longest}"))
            }
            Self::Memory(_) | Self::Unsupported { .. } | Self::Refused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::OpenError;

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let error = |errno| OpenError::of("in0", "open it", io::Error::from_raw_os_error(errno));
        for (errno, part) in [
            (libc::EPERM, "CAP_BPF"),
            (libc::ENOBUFS, "RLIMIT_MEMLOCK"),
            (libc::EBUSY, "another program"),
            (libc::EOPNOTSUPP, "no XDP of its own"),
            (libc::EINVAL, "cannot open it for `in0`"),
        ] {
            let error = error(errno);
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.hint().is_some(), errno != libc::EOPNOTSUPP && errno != libc::EINVAL);
        }
    }
}

//! Keeps the kernel from carrying beside us what we carry.
//!
//! A packet socket gets a copy: the kernel's own stack sees every frame as well, and forwards it
//! untranslated or answers for it where it is set up to. A network namespace inherits IPv4
//! forwarding from its node, and Kubernetes nodes have it on. So a [`Guard`] is taken before the
//! first packet: the kernel would do neither, or [`IngressDrop`] keeps the packets from it, or the
//! appliance does not start.
//!
//! Settings may change later: whoever runs asks for a guard again as long as none was needed.

mod ingress_drop;
mod nft;
mod reason;

use std::fmt;
use std::io;

use ipnet::IpNet;
use thiserror::Error;

pub use ingress_drop::{IngressDrop, InstallError, Part};
pub use reason::{LocalPrefixes, Reason, would_forward};

/// Why it is safe to carry packets on some devices, for as long as this value lives.
#[derive(Debug)]
pub enum Guard {
    /// The kernel forwards nothing from the devices and holds none of the addresses.
    NotNeeded,
    /// The operator takes the risk.
    Overridden(Vec<Reason>),
    /// The kernel would do what is listed, and is kept from it.
    Installed {
        /// Drops at the devices' ingress.
        drop: IngressDrop,
        /// What it keeps the kernel from.
        reasons: Vec<Reason>,
    },
}

impl Guard {
    /// Makes sure that the kernel does not forward what arrives on `devices`, nor answers for the
    /// addresses in `owned`, when `local` are its own. With `allow` it only looks.
    ///
    /// `owned` is all that the appliance answers for itself: pools, and the addresses of its
    /// interfaces unless they are the kernel's to answer for.
    ///
    /// # Errors
    /// [`GuardError::Refused`] when the kernel would and cannot be kept from it.
    pub fn check(
        devices: &[&str],
        owned: &[IpNet],
        local: &LocalPrefixes,
        allow: bool,
    ) -> Result<Self, GuardError> {
        let reasons = would_forward(devices, owned, local).map_err(GuardError::Unreadable)?;
        if reasons.is_empty() {
            return Ok(Self::NotNeeded);
        }
        if allow {
            return Ok(Self::Overridden(reasons));
        }
        match IngressDrop::install(devices, owned) {
            Ok(drop) => Ok(Self::Installed { drop, reasons }),
            Err(install) => Err(GuardError::Refused { reasons, install }),
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNeeded => f.write_str("the kernel forwards nothing beside us"),
            Self::Overridden(reasons) => {
                write!(f, "allow_kernel_forwarding is set although {}", listed(reasons))
            }
            Self::Installed { drop, reasons } => {
                let table = drop.table();
                write!(
                    f,
                    "the kernel is kept out: nftables table netdev {table} drops at ingress what it \
                     would forward or answer ({})",
                    listed(reasons)
                )
            }
        }
    }
}

/// Why packets must not be carried.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The kernel's settings cannot be read.
    #[error("cannot tell whether the kernel would forward: {0}")]
    Unreadable(#[source] io::Error),
    /// The kernel would forward or answer, and cannot be kept from it.
    #[error(
        "the kernel would carry packets untranslated: {} (and no ingress drop: {install})",
        listed(reasons)
    )]
    Refused {
        /// What the kernel would do.
        reasons: Vec<Reason>,
        /// Why it cannot be kept from it.
        install: InstallError,
    },
}

impl GuardError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Refused { reasons, install } = self else { return None };
        let mut ways: Vec<String> = Vec::new();
        ways.push(reasons.iter().map(Reason::remedy).collect::<Vec<_>>().join("; "));
        ways.extend(install.hint());
        ways.push("set `allow_kernel_forwarding = true` to run all the same".to_owned());
        Some(ways.join(", or "))
    }
}

/// The reasons in one line.
fn listed(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{GuardError, InstallError, Reason};

    #[test]
    fn a_refusal_says_why_and_the_three_ways_out() {
        let error = GuardError::Refused {
            reasons: vec![
                Reason::Forwards { setting: "net.ipv4.conf.in0.forwarding".to_owned() },
                Reason::Holds { prefix: "203.0.113.10/32".parse().expect("a prefix") },
            ],
            install: InstallError::NotPermitted,
        };
        let text = error.to_string();
        assert!(text.contains("net.ipv4.conf.in0.forwarding") && text.contains("203.0.113.10/32"));
        let hint = error.hint().expect("there is something to do");
        assert!(hint.contains("sysctl -w net.ipv4.conf.in0.forwarding=0"));
        assert!(hint.contains("[NET_ADMIN]") && hint.contains("allow_kernel_forwarding = true"));
    }
}

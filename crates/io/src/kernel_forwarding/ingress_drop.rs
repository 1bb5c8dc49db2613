//! The ingress drop: an nf_tables table of the netdev family that keeps packets from the kernel's own
//! stack. Packet sockets stand before it and see all.
//!
//! The table belongs to our netlink socket, so the kernel removes it when the socket goes, whatever
//! ends the process.

use std::io;

use ipnet::IpNet;
use rustix::net::netlink::NETFILTER;
use thiserror::Error;

use super::nft;
use crate::netlink::{Content, NetlinkSocket};
use crate::rights;

/// Keeps packets from the kernel's stack as long as it lives.
#[derive(Debug)]
pub struct IngressDrop {
    /// Owns the table.
    _socket: NetlinkSocket,
    table: String,
}

impl IngressDrop {
    /// Drops, of what arrives on `devices`, the IP packets to addresses in `owned` and those that
    /// are not for this host. ARP, and packets for other addresses of the kernel, still reach it.
    ///
    /// Needs CAP_NET_ADMIN (in the user namespace of the network namespace) only while it installs.
    ///
    /// # Errors
    /// [`InstallError`]; nothing is installed then.
    pub fn install(devices: &[&str], owned: &[IpNet]) -> Result<Self, InstallError> {
        let failed = |source| InstallError::of(Part::Table, source);
        let socket = NetlinkSocket::open(Some(NETFILTER)).map_err(failed)?;
        let table = format!("mooring-{}", socket.port().map_err(failed)?);
        let mut objects = vec![nft::table(1, &table), nft::chain(2, &table, devices)];
        let addresses = owned.iter().map(|prefix| nft::destined_to(*prefix));
        for (sequence, conditions) in (3..).zip(addresses.chain([nft::not_for_this_host()])) {
            objects.push(nft::drop_rule(sequence, &table, conditions));
        }
        socket.send(&nft::transaction(&objects)).map_err(failed)?;
        await_acknowledgements(&socket, objects.len() as u32)?;
        Ok(Self { _socket: socket, table })
    }

    /// The name of the table, as `nft list table netdev NAME` takes it. Its number is unique in the
    /// network namespace.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }
}

/// Waits until the kernel has acknowledged objects 1 to `last`. It answers in order, and an error of
/// the whole transaction (number 0) comes first.
fn await_acknowledgements(socket: &NetlinkSocket, last: u32) -> Result<(), InstallError> {
    loop {
        let replies = socket.receive().map_err(|source| InstallError::of(Part::Table, source))?;
        for reply in replies {
            match reply.content {
                Content::Status(Err(source)) => {
                    return Err(InstallError::of(Part::of(reply.sequence, last), source));
                }
                Content::Status(Ok(())) if reply.sequence == last => return Ok(()),
                _ => {}
            }
        }
    }
}

/// What the kernel was asked to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The table (owned by a socket since Linux 5.12).
    Table,
    /// The chain at the devices' ingress.
    Chain,
    /// A rule for an address.
    AddressRule,
    /// The rule for what is not for this host.
    ForwardRule,
}

impl Part {
    const fn of(sequence: u32, last: u32) -> Self {
        match sequence {
            0 | 1 => Self::Table,
            2 => Self::Chain,
            _ if sequence == last => Self::ForwardRule,
            _ => Self::AddressRule,
        }
    }

    /// The kernel options that it needs.
    const fn needs(self) -> &'static str {
        match self {
            Self::Table => "Linux 5.12 with NF_TABLES and NF_TABLES_NETDEV",
            Self::Chain => "NF_TABLES_NETDEV and NETFILTER_INGRESS",
            Self::AddressRule => "NF_TABLES",
            Self::ForwardRule => "NFT_FIB_NETDEV, NFT_FIB_IPV4 and NFT_FIB_IPV6",
        }
    }
}

/// Why the ingress drop is not installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The process may not change packet filters.
    #[error("no permission to install one (CAP_NET_ADMIN)")]
    NotPermitted,
    /// The kernel has not what it takes.
    #[error("this kernel lacks {}", part.needs())]
    Unsupported {
        /// What it could not make.
        part: Part,
    },
    /// The kernel refused for another reason.
    #[error("the kernel refused the {part:?}: {source}")]
    Refused {
        /// What it did not make.
        part: Part,
        /// Its reason.
        source: io::Error,
    },
}

impl InstallError {
    fn of(part: Part, source: io::Error) -> Self {
        match (source.raw_os_error(), part) {
            (Some(libc::EPERM | libc::EACCES), _) => Self::NotPermitted,
            // ENOENT is "no such expression" for a rule, "no such device" for a chain.
            (Some(libc::ENOENT), Part::AddressRule | Part::ForwardRule)
            | (Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT), _) => {
                Self::Unsupported { part }
            }
            _ => Self::Refused { part, source },
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotPermitted => Some(rights::advice("NET_ADMIN")),
            Self::Unsupported { .. } | Self::Refused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{InstallError, Part};

    #[test]
    fn a_missing_expression_names_the_kernel_option() {
        let last = 5;
        let error = |sequence, errno| {
            InstallError::of(Part::of(sequence, last), io::Error::from_raw_os_error(errno))
        };
        assert!(error(5, libc::ENOENT).to_string().contains("NFT_FIB_NETDEV"));
        assert!(error(1, libc::EOPNOTSUPP).to_string().contains("5.12"));
        assert!(matches!(error(0, libc::EPERM), InstallError::NotPermitted));
        let gone = error(2, libc::ENOENT);
        assert!(matches!(gone, InstallError::Refused { part: Part::Chain, .. }), "{gone}");
    }
}

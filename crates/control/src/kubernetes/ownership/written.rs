//! An address as routes write it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Reason;
use crate::kubernetes::route::Address;

/// The one address that is written.
///
/// # Errors
/// Why it is none.
pub(super) fn read(address: &Address) -> Result<IpAddr, Reason> {
    let Address { kind, value } = address;
    match kind.as_str() {
        CIDR | PLAIN => {}
        SWAPPED => return Err(Reason::SwappedType(kind.clone())),
        _ => return Err(Reason::UnknownType(kind.clone())),
    }
    let malformed = || Reason::Malformed(value.clone());
    let net = match value.parse::<IpAddr>() {
        Ok(single) => IpNet::from(single),
        Err(_) => value.parse::<IpNet>().map_err(|_| malformed())?,
    };
    if net.prefix_len() != net.max_prefix_len() {
        return Err(Reason::Wide(value.clone()));
    }
    let address = net.addr();
    if is_of_one_host(address) { Ok(address) } else { Err(Reason::NotUnicast(value.clone())) }
}

fn is_of_one_host(address: IpAddr) -> bool {
    let nobody = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    let special = match address {
        IpAddr::V4(address) => {
            address.is_broadcast() || address.is_link_local() || address.octets()[0] == 0
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || address.to_ipv4_mapped().is_some()
        }
    };
    !nobody && !special
}

/// As the platform's documents have it in every example.
const CIDR: &str = "gke.networking.io/cidr";

/// The schema's default.
const PLAIN: &str = "IPAddress";

/// What one writes who knows the API group.
const SWAPPED: &str = "networking.gke.io/cidr";

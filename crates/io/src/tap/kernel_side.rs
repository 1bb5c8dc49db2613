//! The kernel's end of a TAP device: set up, and given the addresses that ordinary processes of the
//! Pod use (`deliver`).
//!
//! What a process sends from a delivered address has to come to us, whatever the kernel's own routes
//! are, so each has a routing rule (`from ADDRESS`) that leads to a table of the device, whose default
//! route is the device. Addresses and routes vanish with the device; rules do not, so they carry our
//! mark, are deleted when this is dropped, and those of a process that was killed at the next start.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use mooring_wire::Mac;

use crate::link::Link;
use crate::netlink::{NetlinkSocket, ROUTE, attribute, attributes, nested, u32_at};
use crate::rtnetlink::{self, IFADDRMSG_LEN, IFINFOMSG_LEN, RTMSG_LEN, change, family, octets};

/// The kernel's end of a device of ours.
#[derive(Debug)]
pub struct KernelSide {
    device: u32,
    name: String,
    rules: Vec<IpAddr>,
}

/// An owned address that processes of the Pod are to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The address.
    pub address: IpAddr,
    /// An address of ours on the device, of the same family: their router.
    pub router: IpAddr,
}

impl KernelSide {
    /// Sets the device up, with this Ethernet address and MTU.
    pub(super) fn set_up(link: &Link, mac: Mac, mtu: Option<u16>) -> io::Result<Self> {
        let mut header = [0; IFINFOMSG_LEN];
        header[4..8].copy_from_slice(&link.index.to_ne_bytes());
        // A kernel without IPv6 has no address to make, and says so.
        let _ = change(libc::RTM_NEWLINK, 0, &header, [no_address_of_its_own()]);
        for at in [8, 12] {
            header[at..at + 4].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        }
        let mtu = u32::from(mtu.unwrap_or(DEFAULT_MTU));
        let wanted =
            [attribute(libc::IFLA_ADDRESS, mac.0), attribute(libc::IFLA_MTU, mtu.to_ne_bytes())];
        change(libc::RTM_NEWLINK, 0, &header, wanted)?;
        let side = Self { device: link.index, name: link.name.clone(), rules: Vec::new() };
        side.delete_stale_rules()?;
        Ok(side)
    }

    /// Gives the kernel's end these addresses, in place of those given before.
    ///
    /// # Errors
    /// The kernel's; what was given until then stays.
    pub fn deliver(&mut self, wanted: &[Delivered]) -> io::Result<()> {
        let gone: Vec<IpAddr> = self.rules.clone();
        for address in gone {
            if wanted.iter().all(|delivered| delivered.address != address) {
                self.withdraw(address)?;
            }
        }
        for delivered in wanted {
            if !self.rules.contains(&delivered.address) {
                self.give(delivered)?;
            }
        }
        Ok(())
    }

    fn give(&mut self, delivered: &Delivered) -> io::Result<()> {
        if delivered.address.is_ipv6() {
            // A Pod of an IPv4 cluster may have it off for new devices; this one is ours. Where the
            // setting cannot be written, the kernel refuses the address.
            let setting = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", self.name);
            let _ = fs::write(setting, "0");
        }
        let replace = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.address(libc::RTM_NEWADDR, replace, delivered.address)?;
        let mut route = [0; RTMSG_LEN];
        route[0] = family(delivered.router);
        route[5] = PROTOCOL;
        route[7] = libc::RTN_UNICAST;
        route[8..12].copy_from_slice(&(RTNH_F_ONLINK).to_ne_bytes());
        let attributes = [
            attribute(libc::RTA_OIF, self.device.to_ne_bytes()),
            attribute(libc::RTA_GATEWAY, octets(delivered.router)),
            attribute(libc::RTA_TABLE, self.table().to_ne_bytes()),
        ];
        change(libc::RTM_NEWROUTE, replace, &route, attributes)?;
        rule(libc::RTM_NEWRULE, libc::NLM_F_CREATE, delivered.address, self.table())?;
        self.rules.push(delivered.address);
        Ok(())
    }

    fn withdraw(&mut self, address: IpAddr) -> io::Result<()> {
        rule(libc::RTM_DELRULE, 0, address, self.table())?;
        self.rules.retain(|kept| *kept != address);
        self.address(libc::RTM_DELADDR, 0, address)
    }

    fn address(&self, kind: u16, flags: i32, address: IpAddr) -> io::Result<()> {
        let host = IpNet::from(address);
        let mut header = [0; IFADDRMSG_LEN];
        header[0] = family(address);
        header[1] = host.prefix_len();
        // No duplicate address detection: who else has it is ours to find out, on the other side.
        header[2] = libc::IFA_F_NODAD as u8;
        header[4..8].copy_from_slice(&self.device.to_ne_bytes());
        let both =
            [libc::IFA_LOCAL, libc::IFA_ADDRESS].map(|kind| attribute(kind, octets(address)));
        change(kind, flags, &header, both)
    }

    /// The routing table of the device.
    const fn table(&self) -> u32 {
        FIRST_TABLE + self.device
    }

    /// Deletes the rules with our mark whose device is gone, and those of this new one's number.
    fn delete_stale_rules(&self) -> io::Result<()> {
        let links = Link::list().map_err(io::Error::other)?;
        let lives = |table: u32| {
            let device = table.wrapping_sub(FIRST_TABLE);
            device != self.device && links.iter().any(|link| link.index == device)
        };
        for (address, table) in marked_rules()? {
            if !lives(table) {
                rule(libc::RTM_DELRULE, 0, address, table)?;
            }
        }
        Ok(())
    }
}

impl Drop for KernelSide {
    fn drop(&mut self) {
        for address in std::mem::take(&mut self.rules) {
            // The next start deletes what is left.
            let _ = rule(libc::RTM_DELRULE, 0, address, self.table());
        }
    }
}

/// The routing rules with our mark: source address and table.
fn marked_rules() -> io::Result<Vec<(IpAddr, u32)>> {
    let socket = NetlinkSocket::open(ROUTE)?;
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut header = [0; RULE_LEN];
        header[0] = family as u8;
        let bodies = socket.dump(libc::RTM_GETRULE, &header)?;
        rules.extend(bodies.iter().filter_map(|body| marked_rule(body)));
    }
    Ok(rules)
}

fn marked_rule(body: &[u8]) -> Option<(IpAddr, u32)> {
    let (mut source, mut table, mut ours) = (None, None, false);
    let (header, rest) = body.split_at_checked(RULE_LEN)?;
    for (kind, payload) in attributes(rest) {
        match kind {
            FRA_SRC => source = rtnetlink::address(header[0], payload),
            FRA_TABLE => table = u32_at(payload, 0),
            FRA_PROTOCOL => ours = payload.first() == Some(&PROTOCOL),
            _ => {}
        }
    }
    if ours { Some((source?, table?)) } else { None }
}

/// Adds or deletes the rule that packets from `address` are routed by `table`.
fn rule(kind: u16, flags: i32, address: IpAddr, table: u32) -> io::Result<()> {
    let mut header = [0; RULE_LEN];
    header[0] = family(address);
    header[2] = IpNet::from(address).prefix_len();
    header[7] = FR_ACT_TO_TBL;
    let attributes = [
        attribute(FRA_SRC, octets(address)),
        attribute(FRA_PRIORITY, PRIORITY.to_ne_bytes()),
        attribute(FRA_TABLE, table.to_ne_bytes()),
        attribute(FRA_PROTOCOL, [PROTOCOL]),
    ];
    change(kind, flags, &header, attributes)
}

/// The kernel makes no link-local address for the device, and so asks for no router there.
fn no_address_of_its_own() -> Vec<u8> {
    let mode = attribute(IFLA_INET6_ADDR_GEN_MODE, [IN6_ADDR_GEN_MODE_NONE]);
    nested(libc::IFLA_AF_SPEC, [nested(libc::AF_INET6 as u16, [mode])])
}

const DEFAULT_MTU: u16 = 1500;

/// Our mark on routes and rules (`RTPROT_*`): none of those that linux/rtnetlink.h names.
const PROTOCOL: u8 = 109;

/// Before the rules of the main and default tables (32,766 and 32,767).
const PRIORITY: u32 = 10_900;

/// The routing table of a device: this and the device's number.
const FIRST_TABLE: u32 = 1_090_000;

/// Bytes of `struct fib_rule_hdr` (linux/fib_rules.h): family, destination length, source length,
/// service, table, two reserved, action, flags (4).
const RULE_LEN: usize = 12;

/// The router is on the link whatever the routes say (linux/rtnetlink.h).
const RTNH_F_ONLINK: u32 = 4;

/// `IFLA_INET6_ADDR_GEN_MODE`, `IN6_ADDR_GEN_MODE_NONE` (linux/if_link.h).
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

/// `FR_ACT_TO_TBL`, `FRA_*` (linux/fib_rules.h).
const FR_ACT_TO_TBL: u8 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;

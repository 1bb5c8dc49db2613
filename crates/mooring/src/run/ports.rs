//! The ports of the workers, and what `show interfaces` tells of them.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use mooring_engine::Link;
use mooring_io::af_packet::{self, Groups as Membership, Receiver, Sender};
use mooring_io::link::Operation;
use mooring_observe::report::PortInfo;
use mooring_packet::Abilities;
use mooring_policy::{Backend, Interface, InterfaceId, Policy};

use super::devices::{Devices, bytes};
use super::worker::{Groups, Ports};
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Ports on the devices of all interfaces, for every worker.
pub struct Opened {
    /// By worker.
    pub ports: Vec<Ports<Receiver, Sender>>,
    /// By interface.
    pub links: Vec<Link>,
    /// Where our multicast groups are joined.
    pub listening: Listening,
}

/// The multicast groups that the devices receive for us.
pub struct Listening {
    /// By interface.
    memberships: Vec<Membership>,
}

/// Opens a port for each interface and worker, in their order.
///
/// # Errors
/// When a device cannot be used.
pub fn open(policy: &Policy, workers: NonZeroU8) -> Result<Opened, Failure> {
    let mut ports: Vec<_> = (0..workers.get()).map(|_| Ports { rx: vec![], tx: vec![] }).collect();
    let (mut links, mut memberships) = (Vec::new(), Vec::new());
    for interface in &policy.interfaces {
        refuse_other_backends(interface)?;
        let opened = af_packet::open_group(&interface.device, workers);
        let (halves, link) = opened.map_err(|error| failed(&error, error.hint()))?;
        warn_of_small_buffers(interface, &halves[0].0);
        for ((receiver, sender), ports) in halves.into_iter().zip(&mut ports) {
            ports.rx.push(receiver);
            ports.tx.push(sender);
        }
        memberships.push(Membership::of(&link).map_err(|error| failed(&error, None))?);
        let mtu = bytes(link.mtu);
        links.push(Link { mac: link.mac, mtu: interface.mtu.map_or(mtu, |asked| asked.min(mtu)) });
    }
    Ok(Opened { ports, links, listening: Listening { memberships } })
}

fn refuse_other_backends(interface: &Interface) -> Result<(), Failure> {
    let name = match interface.backend {
        Backend::AfPacket => return Ok(()),
        Backend::Tap => "tap",
        Backend::TunTap => "tun-tap",
        Backend::AfXdp => "af_xdp",
    };
    let message =
        format!("interface `{}`: backend \"{name}\" cannot run in this version", interface.name);
    Err(failed(&message, Some("use backend = \"af_packet\"".to_owned())))
}

fn warn_of_small_buffers(interface: &Interface, receiver: &Receiver) {
    if receiver.buffer_bytes().is_ok_and(|bytes| bytes < SMALL_BUFFER) {
        say(&format!(
            "mooring: warning: the kernel queues little for `{}`: bursts may be lost (rx_lost)\n\
             hint: raise net.core.rmem_max, or add CAP_NET_ADMIN",
            interface.device
        ));
    }
}

impl Listening {
    /// Receives these groups from now on. Of an interface where that fails nobody would find our IPv6
    /// addresses.
    ///
    /// # Errors
    /// The operating system's, when a device is gone.
    pub fn follow(&mut self, wanted: &Groups) -> Result<(), Failure> {
        for (at, membership) in self.memberships.iter_mut().enumerate() {
            let here = InterfaceId(at as u8);
            let groups = wanted.groups.iter().filter(|(interface, _)| *interface == here);
            let groups: BTreeSet<_> = groups.map(|(_, group)| *group).collect();
            let all = wanted.all.contains(&here);
            membership.set(&groups, all).map_err(|error| failed(&error, None))?;
        }
        Ok(())
    }
}

/// What `show interfaces` tells without asking a worker.
#[must_use]
pub fn infos(policy: &Policy, links: &[Link], devices: &Devices) -> Vec<PortInfo> {
    let ports = policy.interfaces.iter().zip(links).map(|(interface, link)| PortInfo {
        name: interface.name.clone(),
        device: interface.device.clone(),
        backend: "af_packet",
        state: state(interface, devices),
        mac: link.mac.to_string(),
        mtu: link.mtu,
        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        abilities: abilities(af_packet::ABILITIES),
    });
    ports.collect()
}

/// Whether packets can pass: "up", "down", and why it is not up where the kernel says so.
fn state(interface: &Interface, devices: &Devices) -> String {
    match devices.link(&interface.device) {
        None => "gone".to_owned(),
        Some(link) if !link.up => Operation::Down.to_string(),
        // Drivers that say nothing let packets pass.
        Some(link) if link.operation == Operation::Unknown => Operation::Up.to_string(),
        Some(link) => link.operation.to_string(),
    }
}

fn abilities(abilities: Abilities) -> Vec<&'static str> {
    let all = [
        (abilities.partial_checksum, "partial_checksum"),
        (abilities.tcp_segmentation, "tcp_segmentation"),
        (abilities.udp_segmentation, "udp_segmentation"),
    ];
    all.into_iter().filter_map(|(able, name)| able.then_some(name)).collect()
}

/// A receive buffer below this (1 MB) holds fewer than 16 super-packets.
const SMALL_BUFFER: usize = 1 << 20;

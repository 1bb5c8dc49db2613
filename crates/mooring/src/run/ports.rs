//! The ports of the workers, whatever their backends, and the other ends of their wires: what has to
//! be set up on devices beside them, and taken back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU8;

use mooring_engine::Link;
use mooring_io::af_packet::{self, Groups as Membership};
use mooring_io::port::{AnyReceiver, AnySender};
use mooring_io::seam::Seam;
use mooring_io::tap::{self, Delivered, KernelSide};
use mooring_io::{link, tun_tap};
use mooring_observe::report::PortInfo;
use mooring_packet::Abilities;
use mooring_policy::{Backend, Interface, InterfaceId, Policy};
use mooring_wire::Mac;

use super::devices::{Devices, mtu_of};
use super::worker::{Groups, Ports};
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Ports on the devices of all interfaces, for every worker.
pub struct Opened {
    /// By worker.
    pub ports: Vec<Ports<AnyReceiver, AnySender>>,
    /// By interface.
    pub links: Vec<Link>,
    /// What belongs to no worker.
    pub attached: Attachments,
}

/// How the interfaces are attached to their devices.
pub struct Attachments {
    /// By interface.
    all: Vec<Attachment>,
}

/// What one interface has of its device.
struct Attachment {
    abilities: Abilities,
    end: End,
}

/// What is beside us on the device.
enum End {
    /// A link with others: its multicast groups that are received for us.
    Link(Membership),
    /// The kernel, on a device that we have made; taken back when dropped.
    Kernel(KernelSide),
}

/// A device that was opened, with the halves of a port for each worker.
struct Port {
    halves: Vec<(AnyReceiver, AnySender)>,
    link: link::Link,
    attachment: Attachment,
}

/// Opens a port for each interface and worker, in their order.
///
/// # Errors
/// When a device cannot be used, or made.
pub fn open(policy: &Policy, workers: NonZeroU8) -> Result<Opened, Failure> {
    let mut ports: Vec<_> = (0..workers.get()).map(|_| Ports { rx: vec![], tx: vec![] }).collect();
    let (mut links, mut all) = (Vec::new(), Vec::new());
    for interface in &policy.interfaces {
        let port = match interface.backend {
            Backend::AfPacket => open_af_packet(interface, workers)?,
            Backend::Tap => open_tap(interface, workers)?,
            Backend::TunTap => open_tun_tap(interface, workers)?,
            Backend::AfXdp => return Err(unsupported(interface)),
        };
        for ((receiver, sender), ports) in port.halves.into_iter().zip(&mut ports) {
            ports.rx.push(receiver);
            ports.tx.push(sender);
        }
        links.push(Link { mac: port.link.mac, mtu: mtu_of(interface, &port.link) });
        all.push(port.attachment);
    }
    Ok(Opened { ports, links, attached: Attachments { all } })
}

fn open_af_packet(interface: &Interface, workers: NonZeroU8) -> Result<Port, Failure> {
    let opened = af_packet::open_group(&interface.device, workers);
    let (halves, link) = opened.map_err(|error| failed(&error, error.hint()))?;
    warn_of_small_buffers(interface, &halves[0].0);
    let membership = Membership::of(&link).map_err(|error| failed(&error, None))?;
    let abilities = af_packet::ABILITIES;
    let halves = halves.into_iter().map(|(receiver, sender)| {
        (AnyReceiver::AfPacket(receiver), AnySender::AfPacket(Seam::new(sender, abilities)))
    });
    let attachment = Attachment { abilities, end: End::Link(membership) };
    Ok(Port { halves: halves.collect(), link, attachment })
}

fn open_tap(interface: &Interface, workers: NonZeroU8) -> Result<Port, Failure> {
    let made = tap::create(&interface.device, workers, interface.mtu);
    let made = made.map_err(|error| failed(&error, error.hint()))?;
    let abilities = made.abilities;
    let halves = made.queues.into_iter().map(|(receiver, sender)| {
        (AnyReceiver::Tap(receiver), AnySender::Tap(Seam::new(sender, abilities)))
    });
    let attachment = Attachment { abilities, end: End::Kernel(made.kernel) };
    Ok(Port { halves: halves.collect(), link: made.link, attachment })
}

fn open_tun_tap(interface: &Interface, workers: NonZeroU8) -> Result<Port, Failure> {
    if workers.get() > 1 {
        let message = format!(
            "interface `{}`: backend \"tun-tap\" has one queue, and there are {workers} workers",
            interface.name
        );
        return Err(failed(&message, Some("use backend = \"tap\", or workers = 1".to_owned())));
    }
    let made = tun_tap::create(&interface.device, interface.mtu);
    let made = made.map_err(|error| failed(&error, error.hint()))?;
    let abilities = tun_tap::ABILITIES;
    let sender = AnySender::TunTap(Seam::new(made.sender, abilities));
    let attachment = Attachment { abilities, end: End::Kernel(made.kernel) };
    let halves = vec![(AnyReceiver::TunTap(made.receiver), sender)];
    Ok(Port { halves, link: made.link, attachment })
}

fn unsupported(interface: &Interface) -> Failure {
    let (name, backend) = (&interface.name, backend(interface));
    let message = format!("interface `{name}`: backend \"{backend}\" cannot run in this version");
    failed(&message, Some("use backend = \"af_packet\" or \"tap\"".to_owned()))
}

fn warn_of_small_buffers(interface: &Interface, receiver: &af_packet::Receiver) {
    if receiver.buffer_bytes().is_ok_and(|bytes| bytes < SMALL_BUFFER) {
        say(&format!(
            "mooring: warning: the kernel queues little for `{}`: bursts may be lost (rx_lost)\n\
             hint: raise net.core.rmem_max, or add CAP_NET_ADMIN",
            interface.device
        ));
    }
}

impl Attachments {
    /// Receives these groups from now on. Of an interface where that fails nobody would find our IPv6
    /// addresses. The kernel's end of a device of ours sends us every group.
    ///
    /// # Errors
    /// The operating system's, when a device is gone.
    pub fn listen(&mut self, wanted: &Groups) -> Result<(), Failure> {
        for (at, attachment) in self.all.iter_mut().enumerate() {
            let here = InterfaceId(at as u8);
            let End::Link(membership) = &mut attachment.end else { continue };
            let groups = wanted.groups.iter().filter(|(interface, _)| *interface == here);
            let groups: BTreeSet<Mac> = groups.map(|(_, group)| *group).collect();
            let all = wanted.all.contains(&here);
            membership.set(&groups, all).map_err(|error| failed(&error, None))?;
        }
        Ok(())
    }

    /// Gives the kernel's ends the addresses that `policy` delivers to them, and no others.
    ///
    /// # Errors
    /// The operating system's, and when an interface has no address to be the router of its kernel's
    /// end; some addresses may be given then.
    pub fn deliver(&mut self, policy: &Policy) -> Result<(), Failure> {
        for (at, attachment) in self.all.iter_mut().enumerate() {
            let here = InterfaceId(at as u8);
            let End::Kernel(kernel) = &mut attachment.end else { continue };
            let delivered = policy.delivered().filter(|(interface, _)| *interface == here);
            let interface = policy.interface(here);
            let wanted: Result<Vec<_>, _> =
                delivered.map(|(_, address)| routed(interface, address)).collect();
            kernel.deliver(&wanted?).map_err(|error| {
                let device = &interface.device;
                failed(&format!("cannot deliver addresses to `{device}`: {error}"), None)
            })?;
        }
        Ok(())
    }

    /// What `show interfaces` tells without asking a worker.
    #[must_use]
    pub fn infos(&self, policy: &Policy, links: &[Link], devices: &Devices) -> Vec<PortInfo> {
        let interfaces = policy.interfaces.iter().zip(links).zip(&self.all);
        let infos = interfaces.map(|((interface, link), attachment)| PortInfo {
            name: interface.name.clone(),
            device: interface.device.clone(),
            backend: backend(interface),
            state: devices.state(&interface.device),
            mac: link.mac.to_string(),
            mtu: link.mtu,
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            abilities: names_of(attachment.abilities),
        });
        infos.collect()
    }
}

/// An address and its router: ours on the interface, of the same family.
fn routed(interface: &Interface, address: IpAddr) -> Result<Delivered, Failure> {
    let mut own = interface.addresses.iter().map(|net| net.addr());
    let router = own.find(|router| router.is_ipv4() == address.is_ipv4());
    router.map(|router| Delivered { address, router }).ok_or_else(|| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let name = &interface.name;
        let message = format!("`{name}` has no {family} address, but {address} is delivered to it");
        failed(&message, Some(format!("add an {family} address to the interface `{name}`")))
    })
}

/// As the configuration calls it.
const fn backend(interface: &Interface) -> &'static str {
    match interface.backend {
        Backend::AfPacket => "af_packet",
        Backend::Tap => "tap",
        Backend::TunTap => "tun-tap",
        Backend::AfXdp => "af_xdp",
    }
}

fn names_of(abilities: Abilities) -> Vec<&'static str> {
    let all = [
        (abilities.partial_checksum, "partial_checksum"),
        (abilities.tcp_segmentation, "tcp_segmentation"),
        (abilities.udp_segmentation, "udp_segmentation"),
    ];
    all.into_iter().filter_map(|(able, name)| able.then_some(name)).collect()
}

/// A receive buffer below this (1 MB) holds fewer than 16 super-packets.
const SMALL_BUFFER: usize = 1 << 20;

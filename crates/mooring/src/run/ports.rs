//! The ports of the workers, whatever their backends, and the other ends of their wires: what has to
//! be set up on devices beside them, and taken back.

use std::collections::BTreeSet;
use std::mem;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;

use mooring_engine::Link;
use mooring_io::af_packet::{self, FanOut, Groups as Membership, sock_filter};
use mooring_io::af_xdp::{Memories, OpenError, Steering};
use mooring_io::port::{AnyReceiver, AnySender};
use mooring_io::seam::Seam;
use mooring_io::tap::{self, Delivered, KernelSide};
use mooring_io::{af_xdp, link, tun_tap};
use mooring_nat::fan_out;
use mooring_observe::report::{Details, PortInfo};
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
    workers: NonZeroU8,
    /// The kernel's own addresses, as steering programs know them.
    kernel: Vec<IpAddr>,
    /// What every interface does without.
    everywhere: Vec<String>,
}

/// What one interface has of its device.
struct Attachment {
    /// What it is called, and what else there is to say of it.
    backend: &'static str,
    details: Details,
    abilities: Abilities,
    end: End,
    /// The program that brings us frames past the kernel, if there is one.
    steering: Option<Arc<Steering>>,
    /// What shares the frames of packet sockets out among several workers.
    fan_out: Option<FanOut>,
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

/// Opens a port for each interface and worker, in their order. `kernel` are the kernel's own addresses.
///
/// # Errors
/// When a device cannot be used, or made.
pub fn open(policy: &Policy, workers: NonZeroU8, kernel: &[IpAddr]) -> Result<Opened, Failure> {
    let mut ports: Vec<_> = (0..workers.get()).map(|_| Ports { rx: vec![], tx: vec![] }).collect();
    let (mut links, mut all) = (Vec::new(), Vec::new());
    let mut memories = memories(policy, workers);
    for interface in &policy.interfaces {
        let port = match interface.backend {
            Backend::AfPacket => open_af_packet(interface, workers)?,
            Backend::Tap => open_tap(interface, workers)?,
            Backend::TunTap => open_tun_tap(interface, workers)?,
            Backend::AfXdp => open_af_xdp(interface, &mut memories, kernel, workers)?,
        };
        for ((receiver, sender), ports) in port.halves.into_iter().zip(&mut ports) {
            ports.rx.push(receiver);
            ports.tx.push(sender);
        }
        links.push(Link { mac: port.link.mac, mtu: mtu_of(interface, &port.link) });
        all.push(port.attachment);
    }
    let (kernel, everywhere) = (kernel.to_vec(), Vec::new());
    Ok(Opened { ports, links, attached: Attachments { all, workers, kernel, everywhere } })
}

fn open_af_packet(interface: &Interface, workers: NonZeroU8) -> Result<Port, Failure> {
    let opened = af_packet::open_group(&interface.device, workers);
    let opened = opened.map_err(|error| failed(&error, error.hint()))?;
    let af_packet::Opened { halves, link, fan_out, refused } = opened;
    warn_of_small_buffers(interface, &halves[0].0);
    let membership = Membership::of(&link).map_err(|error| failed(&error, None))?;
    let abilities = refused.abilities();
    let halves = halves.into_iter().map(|(receiver, mut sender)| {
        sender.set_coalescing(interface.tx_coalescing);
        (AnyReceiver::AfPacket(receiver), AnySender::AfPacket(Seam::new(sender, abilities)))
    });
    let mut attachment = Attachment::new("af_packet", abilities, End::Link(membership));
    attachment.fan_out = fan_out;
    attachment.note(interface, refused.notices());
    Ok(Port { halves: halves.collect(), link, attachment })
}

/// What the AF_XDP sockets of each worker share.
fn memories(policy: &Policy, workers: NonZeroU8) -> Result<Memories, OpenError> {
    let interfaces = policy.interfaces.iter();
    let devices = interfaces.filter(|interface| interface.backend == Backend::AfXdp);
    let devices: Vec<&str> = devices.map(|interface| interface.device.as_str()).collect();
    Memories::for_devices(&devices, workers)
}

/// Where there can be no AF_XDP a packet socket does the same, with more work.
fn open_af_xdp(
    interface: &Interface,
    memories: &mut Result<Memories, OpenError>,
    kernel: &[IpAddr],
    workers: NonZeroU8,
) -> Result<Port, Failure> {
    let port = match memories {
        Ok(memories) => memories.open(&interface.device, kernel),
        Err(error) => return open_instead(interface, workers, error),
    };
    let af_xdp::Port { halves, link, steering, fan_out, queues, zero_copy, refused } = match port {
        Ok(port) => port,
        // Nor can a packet socket be had.
        Err(error @ (OpenError::Link(_) | OpenError::Packet(_))) => {
            return Err(failed(&error, error.hint()));
        }
        Err(error) => return open_instead(interface, workers, &error),
    };
    let membership = Membership::of(&link).map_err(|error| failed(&error, None))?;
    let abilities = refused.abilities();
    let halves = halves.into_iter().map(|(receiver, sender)| {
        (AnyReceiver::AfXdp(receiver), AnySender::AfXdp(Seam::new(sender, abilities)))
    });
    let details = Details {
        mode: Some(if zero_copy { "zero-copy" } else { "copy" }),
        queues: Some(queues),
        rings: Some(af_xdp::RINGS),
        ..Details::default()
    };
    let mut attachment = Attachment {
        backend: "af_xdp",
        details,
        abilities,
        end: End::Link(membership),
        steering: Some(steering),
        fan_out,
    };
    attachment.note(interface, refused.notices());
    Ok(Port { halves: halves.collect(), link, attachment })
}

/// Opens a packet socket where there is no AF_XDP, and says why.
fn open_instead(
    interface: &Interface,
    workers: NonZeroU8,
    error: &OpenError,
) -> Result<Port, Failure> {
    let mut port = open_af_packet(interface, workers)?;
    let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
    let name = &interface.name;
    say(&format!("mooring: warning: `{name}`: af_packet instead of af_xdp: {error}{hint}"));
    port.attachment.is_instead_of_af_xdp(error.to_string());
    Ok(port)
}

fn open_tap(interface: &Interface, workers: NonZeroU8) -> Result<Port, Failure> {
    let made = tap::create(&interface.device, workers, interface.mtu);
    let made = made.map_err(|error| failed(&error, error.hint()))?;
    let abilities = made.abilities;
    let mut attachment = Attachment::new("tap", abilities, End::Kernel(made.kernel));
    attachment.note(interface, made.refused.iter().map(ToString::to_string));
    let halves = made.queues.into_iter().map(|(receiver, mut sender)| {
        sender.set_coalescing(interface.tx_coalescing && abilities.tcp_segmentation);
        (AnyReceiver::Tap(receiver), AnySender::Tap(Seam::new(sender, abilities)))
    });
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
    let attachment = Attachment::new("tun-tap", abilities, End::Kernel(made.kernel));
    let halves = vec![(AnyReceiver::TunTap(made.receiver), sender)];
    Ok(Port { halves, link: made.link, attachment })
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

impl Attachment {
    fn new(backend: &'static str, abilities: Abilities, end: End) -> Self {
        Self { backend, details: Details::default(), abilities, end, steering: None, fan_out: None }
    }

    /// Says what the interface does without, and shows it from now on.
    fn note(&mut self, interface: &Interface, notices: impl Iterator<Item = String>) {
        let joins = self.abilities.tcp_segmentation || !interface.tx_coalescing;
        let unjoined = (!joins).then(|| "tx_coalescing joins nothing".to_owned());
        for notice in notices.chain(unjoined) {
            say(&format!("mooring: warning: `{}`: {notice}", interface.name));
            self.details.notices.push(notice);
        }
    }

    /// Packet sockets serve it, for this reason.
    fn is_instead_of_af_xdp(&mut self, reason: String) {
        let notices = mem::take(&mut self.details.notices);
        let (instead_of, reason) = (Some("af_xdp"), Some(reason));
        self.details = Details { instead_of, reason, notices, ..Details::default() };
    }
}

impl Attachments {
    /// Shows of every interface what all do without, from now on.
    pub fn note_everywhere(&mut self, notices: Vec<String>) {
        self.everywhere = notices;
    }

    /// Leaves to the kernel what is for one of these addresses, its own, and nothing else that is for one.
    /// True when an interface has another backend since.
    pub fn leave_to_kernel(&mut self, addresses: &[IpAddr]) -> bool {
        if self.kernel == addresses {
            return false;
        }
        let mut changed = false;
        for attachment in &mut self.all {
            let Some(steering) = &attachment.steering else { continue };
            if let Err(error) = steering.leave_to_kernel(&self.kernel, addresses) {
                let device = steering.device();
                let reason =
                    format!("cannot tell its steering program of the kernel's addresses: {error}");
                say(&format!(
                    "mooring: warning: packet sockets take all frames of `{device}` now: {reason}"
                ));
                // Its sockets still have the program, which brings them nothing any more.
                attachment.steering = None;
                attachment.backend = "af_packet";
                attachment.is_instead_of_af_xdp(reason);
                changed = true;
            }
        }
        self.kernel = addresses.to_vec();
        changed
    }

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

    /// Lets the kernel give packets to their owners, as far as it can tell them by `policy`. Where it
    /// cannot, or refuses to, workers hand packets over.
    pub fn share_out(&self, policy: &Policy) {
        for (at, attachment) in self.all.iter().enumerate() {
            let Some(group) = &attachment.fan_out else { continue };
            let interface = InterfaceId(at as u8);
            let program = fan_out::program(policy, interface, self.workers.get());
            let program = program.into_iter().map(|one| sock_filter {
                code: one.code,
                jt: one.jump_true,
                jf: one.jump_false,
                k: one.constant,
            });
            if let Err(error) = group.share_out(program) {
                let name = &policy.interface(interface).name;
                say(&format!(
                    "mooring: warning: packets of `{name}` do not come to their owners at once: {error}"
                ));
            }
        }
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
            backend: attachment.backend,
            details: attachment.details.clone(),
            state: devices.state(&interface.device),
            mac: link.mac.to_string(),
            mtu: link.mtu,
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            abilities: names_of(attachment.abilities),
            notices: attachment.details.notices.iter().chain(&self.everywhere).cloned().collect(),
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

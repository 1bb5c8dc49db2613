//! The other end: clients on a stack of their own, packets by hand, and the time.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;
use mooring_endpoint::{Config, Endpoint, Refusal, Service, ServiceKind};
use mooring_packet::Offload;
use smoltcp::iface::{Config as InterfaceConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 10));
pub(crate) const PORT: u16 = 8080;

/// An endpoint and clients, joined by a wire without loss.
pub(crate) struct World {
    pub(crate) endpoint: Endpoint,
    /// What the endpoint emitted, in all.
    pub(crate) emitted: Vec<Vec<u8>>,
    /// What the endpoint refused, in all.
    pub(crate) refused: Vec<Refusal>,
    pub(crate) now: u64,
    interface: Interface,
    queue: Queue,
    sockets: SocketSet<'static>,
}

impl World {
    pub(crate) fn new(capacity: usize, backlog: usize, mtu: u16) -> Self {
        let service = |address| Service { kind: ServiceKind::Health, address, port: PORT };
        let services = vec![service(V4), service(V6)];
        let config = Config { services, seed: [7; 32], capacity, backlog, mtu };
        let mut queue = Queue::default();
        let config_of_peer = InterfaceConfig::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config_of_peer, &mut queue, Instant::ZERO);
        interface.set_any_ip(true);
        interface.update_ip_addrs(|addresses| {
            for address in ["198.51.100.7/0", "2001:db8:2::7/0"] {
                let cidr: IpCidr = address.parse().expect("an address");
                addresses.push(cidr).expect("room for two");
            }
        });
        let (emitted, refused) = (Vec::new(), Vec::new());
        let (endpoint, sockets) = (Endpoint::new(config), SocketSet::new(Vec::new()));
        Self { endpoint, emitted, refused, now: 1, interface, queue, sockets }
    }

    /// A client that connects from this port.
    pub(crate) fn connect(&mut self, address: IpAddr, port: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 65_000]);
        let mut socket = Socket::new(buffer(), buffer());
        socket
            .connect(self.interface.context(), SocketAddr::new(address, PORT), port)
            .expect("a free port");
        self.sockets.add(socket)
    }

    /// A client at the IPv4 address whose handshake is over.
    pub(crate) fn connect_and_wait(&mut self, port: u16) -> SocketHandle {
        let client = self.connect(V4, port);
        self.run(10);
        client
    }

    pub(crate) fn socket(&mut self, client: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(client)
    }

    /// Lets time pass, in steps of a millisecond while anything moves.
    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            let moved = self.step();
            self.now += if moved { 1 } else { 10.min(end - self.now) };
        }
    }

    /// What a client has received.
    pub(crate) fn received(&mut self, client: SocketHandle) -> String {
        let socket = self.socket(client);
        let mut all = Vec::new();
        while socket.can_recv() {
            let read = |bytes: &mut [u8]| {
                all.extend_from_slice(bytes);
                (bytes.len(), ())
            };
            socket.recv(read).expect("it can");
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Sends a request and returns the answer.
    pub(crate) fn ask(&mut self, client: SocketHandle, request: &str) -> String {
        self.run(50);
        let answer = self.ask_at_once(client, request);
        self.run(100);
        answer + &self.received(client)
    }

    /// The same for a client whose handshake is over, without letting others wait.
    pub(crate) fn ask_at_once(&mut self, client: SocketHandle, request: &str) -> String {
        self.socket(client).send_slice(request.as_bytes()).expect("connected");
        self.run(5);
        self.received(client)
    }

    /// Gives the endpoint one packet and returns what it emits at once.
    pub(crate) fn inject(&mut self, packet: &[u8], offload: Offload) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let taken = self.endpoint.input(self.now, packet, offload, &mut |bytes: &mut [u8], _| {
            out.push(bytes.to_vec());
        });
        self.refused.extend(taken.err());
        self.emitted.extend(out.iter().cloned());
        out
    }

    fn step(&mut self) -> bool {
        let now = Instant::from_millis(self.now as i64);
        self.interface.poll(now, &mut self.queue, &mut self.sockets);
        let mut out = Vec::new();
        let mut emit = |bytes: &mut [u8], _: Offload| out.push(bytes.to_vec());
        let moved = !self.queue.sent.is_empty();
        for packet in self.queue.sent.drain(..) {
            let taken = self.endpoint.input(self.now, &packet, Offload::NONE, &mut emit);
            self.refused.extend(taken.err());
        }
        self.endpoint.poll(self.now, &mut emit);
        self.emitted.extend(out.iter().cloned());
        let moved = moved || !out.is_empty();
        self.queue.arrived.extend(out);
        moved
    }
}

/// A TCP segment to the service from a host of the flooding network, with right checksums.
pub(crate) fn segment(host: u32, port: u16, edit: impl FnOnce(&mut Segment)) -> Vec<u8> {
    let mut segment = Segment::default();
    edit(&mut segment);
    let source = Ipv4Addr::from_bits(0x0b00_0000 + host).octets();
    let IpAddr::V4(service) = V4 else { unreachable!("it is IPv4") };
    let builder = PacketBuilder::ipv4(source, service.octets(), 64);
    let mut builder = builder.tcp(port, segment.to, 1_000, 60_000);
    if segment.syn {
        builder = builder.syn();
    }
    if segment.ack {
        builder = builder.ack(5);
    }
    if segment.rst {
        builder = builder.rst();
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &segment.payload).expect("a vector takes it");
    bytes
}

/// What a segment is made of; a SYN unless edited.
pub(crate) struct Segment {
    pub(crate) to: u16,
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    pub(crate) rst: bool,
    pub(crate) payload: Vec<u8>,
}

impl Default for Segment {
    fn default() -> Self {
        Self { to: PORT, syn: true, ack: false, rst: false, payload: Vec::new() }
    }
}

/// The clients' device.
#[derive(Default)]
struct Queue {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

struct Arrived(Vec<u8>);

struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Queue {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Sent<'_>)> {
        Some((Arrived(self.arrived.pop_front()?), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1_500;
        capabilities
    }
}

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let written = write(&mut packet);
        self.0.push(packet);
        written
    }
}

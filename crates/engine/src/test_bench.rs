//! An engine between two links, for the tests of this crate: hosts 10.0.0.2 and 10.0.0.3 inside, a
//! gateway 192.0.2.2 outside, one address in the pool. Time is the test's.
//!
//! `frames` builds what is sent, `seen` reads what came out; both by etherparse, so that our own
//! parser and checksums do not vouch for themselves.

pub(crate) mod frames;
pub(crate) mod seen;

use std::net::Ipv4Addr;
use std::sync::Arc;

use mooring_packet::{Batch, BufferPool, Offload, Packet};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;
use mooring_wire::Mac;

use self::frames::{arp_reply, arp_request};
use crate::{DropReason, Engine, Link, Outbox, Share, Verdict};

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) outbox: Outbox,
    pub(crate) now: Tick,
    /// Packets given to the engine so far.
    pub(crate) given: u64,
}

impl Bench {
    /// An engine with the ordinary policy that knows its neighbours and has announced itself.
    pub(crate) fn ready() -> Self {
        Self::ready_with(CONFIG)
    }

    /// As [`Self::ready`], with another policy.
    pub(crate) fn ready_with(config: &str) -> Self {
        Self::ready_as(Share::ALL, config)
    }

    /// As [`Self::ready_with`], as one of several workers.
    pub(crate) fn ready_as(share: Share, config: &str) -> Self {
        let mut bench = Self::unresolved_as(share, config);
        bench.learn(INSIDE, HOST, HOST_MAC);
        bench.learn(INSIDE, OTHER_HOST, OTHER_HOST_MAC);
        bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
        bench.given = 0;
        bench.engine.counters = crate::Counters::new(2);
        bench
    }

    /// An engine that knows nobody yet; its announcements are over.
    pub(crate) fn unresolved(config: &str) -> Self {
        Self::unresolved_as(Share::ALL, config)
    }

    fn unresolved_as(share: Share, config: &str) -> Self {
        let policy = load(config).expect("the policy of the test is valid").policy;
        let mtu = |index: usize| policy.interfaces[index].mtu.unwrap_or(1500);
        let links = [Link { mac: OUR_INSIDE, mtu: mtu(0) }, Link { mac: OUR_OUTSIDE, mtu: mtu(1) }];
        let mut bench = Self {
            engine: Engine::for_worker(share, Arc::new(policy), Generation(1), &links, [7; 32]),
            outbox: Outbox::new(BufferPool::new(BUFFERS, BUFFERS)),
            now: Tick::ZERO,
            given: 0,
        };
        for _ in 0..3 {
            bench.rest(1_000);
        }
        bench
    }

    /// A neighbour asks for us, by which it becomes known.
    pub(crate) fn learn(&mut self, interface: InterfaceId, address: Ipv4Addr, mac: Mac) {
        let ours = if interface == INSIDE { OUR_INSIDE_IP } else { OUR_OUTSIDE_IP };
        let (verdict, _) = self.send(interface, &arp_request((mac, address), ours));
        assert!(matches!(verdict, Verdict::Local | Verdict::ToAll));
        self.sent();
    }

    /// The gateway answers our request; what waited for it is returned.
    pub(crate) fn gateway_answers(&mut self) -> Vec<Vec<u8>> {
        let reply = arp_reply((GATEWAY_MAC, GATEWAY), (OUR_OUTSIDE, OUR_OUTSIDE_IP));
        assert_eq!(self.send(OUTSIDE, &reply).0, Verdict::Local);
        self.sent_by(OUTSIDE)
    }

    /// Gives the engine one frame; says what becomes of it, and how it looks now.
    pub(crate) fn send(&mut self, ingress: InterfaceId, frame: &[u8]) -> (Verdict, Vec<u8>) {
        self.send_offloaded(ingress, frame, Offload::NONE)
    }

    /// As [`Self::send`], with what the port says beside the bytes.
    pub(crate) fn send_offloaded(
        &mut self,
        ingress: InterfaceId,
        frame: &[u8],
        offload: Offload,
    ) -> (Verdict, Vec<u8>) {
        self.process(ingress, &[frame.to_vec()], offload).remove(0)
    }

    /// As [`Self::send_offloaded`]; says what the port that it leaves by is told of it.
    pub(crate) fn send_super(
        &mut self,
        ingress: InterfaceId,
        frame: &[u8],
        offload: Offload,
    ) -> (Verdict, Offload) {
        let mut buffer = frame.to_vec();
        let mut batch = Batch::new();
        let packet = Packet::new(&mut buffer, 0, frame.len(), offload);
        batch.push(packet).expect("the batch is empty");
        let verdicts = self.engine.process(self.now, ingress, &mut batch, &mut self.outbox);
        self.given += 1;
        (verdicts[0], batch.packets()[0].offload)
    }

    /// Gives the engine a frame that another worker handed over.
    pub(crate) fn send_handed(
        &mut self,
        ingress: InterfaceId,
        half: bool,
        frame: &[u8],
    ) -> (Verdict, Vec<u8>) {
        let mut buffer = frame.to_vec();
        let mut batch = Batch::new();
        let packet = Packet::new(&mut buffer, 0, frame.len(), Offload::NONE);
        batch.push(packet).expect("the batch is empty");
        let ingress = (ingress, half);
        let verdicts = self.engine.process_handed(self.now, ingress, &mut batch, &mut self.outbox);
        (verdicts[0], batch.packets()[0].bytes().to_vec())
    }

    /// Gives the engine several frames in one batch.
    pub(crate) fn send_batch(
        &mut self,
        ingress: InterfaceId,
        frames: &[Vec<u8>],
    ) -> Vec<(Verdict, Vec<u8>)> {
        self.process(ingress, frames, Offload::NONE)
    }

    fn process(
        &mut self,
        ingress: InterfaceId,
        frames: &[Vec<u8>],
        offload: Offload,
    ) -> Vec<(Verdict, Vec<u8>)> {
        let mut buffers = frames.to_vec();
        let mut batch = Batch::new();
        for buffer in &mut buffers {
            let len = buffer.len();
            batch.push(Packet::new(buffer, 0, len, offload)).expect("the batch has room");
        }
        let verdicts = self.engine.process(self.now, ingress, &mut batch, &mut self.outbox);
        self.given += frames.len() as u64;
        assert_eq!(verdicts.len(), frames.len(), "every packet has one verdict");
        let frames = batch.packets().iter().map(|packet| packet.bytes().to_vec());
        verdicts.into_iter().zip(frames).collect()
    }

    /// Sends a frame that must leave at once by `egress`, and returns it as it leaves.
    pub(crate) fn forward(&mut self, ingress: InterfaceId, frame: &[u8]) -> Vec<u8> {
        let egress = if ingress == INSIDE { OUTSIDE } else { INSIDE };
        let (verdict, sent) = self.send(ingress, frame);
        assert_eq!(verdict, Verdict::Tx(egress));
        assert!(self.sent().is_empty(), "a forwarded packet causes no other");
        sent
    }

    /// Sends a frame that must be dropped for `reason`, and returns what the engine says about it.
    pub(crate) fn refuse(
        &mut self,
        ingress: InterfaceId,
        frame: &[u8],
        reason: DropReason,
    ) -> Vec<(InterfaceId, Vec<u8>)> {
        assert_eq!(self.send(ingress, frame).0, Verdict::Drop(reason));
        self.sent()
    }

    /// Sends a frame that must be dropped for `reason` without a word.
    pub(crate) fn ignore(&mut self, ingress: InterfaceId, frame: &[u8], reason: DropReason) {
        assert_eq!(self.refuse(ingress, frame, reason), []);
    }

    /// What has left beside the batches since the last call, by each interface in its order.
    pub(crate) fn sent(&mut self) -> Vec<(InterfaceId, Vec<u8>)> {
        let mut sent = Vec::new();
        for interface in [INSIDE, OUTSIDE] {
            let ready = self.outbox.ready_for(interface);
            sent.extend(ready.map(|packet| (interface, packet.bytes().to_vec())));
        }
        self.outbox.clear();
        sent
    }

    /// As [`Self::sent`], all of which must have left by `interface`.
    pub(crate) fn sent_by(&mut self, interface: InterfaceId) -> Vec<Vec<u8>> {
        let sent = self.sent().into_iter();
        sent.map(|(egress, frame)| {
            assert_eq!(egress, interface);
            frame
        })
        .collect()
    }

    /// Lets time pass, and polls until nothing more is due.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now = Tick::from_millis(self.now.as_millis() + milliseconds);
        while self.engine.poll(self.now, &mut self.outbox) {}
    }

    /// As [`Self::pass`], when what is said meanwhile does not matter.
    pub(crate) fn rest(&mut self, milliseconds: u64) {
        self.pass(milliseconds);
        self.sent();
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.engine.counters.dropped(reason)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.engine.occupancy().sessions
    }
}

/// The ordinary policy, with more written at its end.
pub(crate) fn config_with(more: &str) -> String {
    format!("{CONFIG}\n{more}")
}

pub(crate) const INSIDE: InterfaceId = InterfaceId(0);
pub(crate) const OUTSIDE: InterfaceId = InterfaceId(1);
pub(crate) const OUR_INSIDE: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const OUR_OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const HOST_MAC: Mac = Mac([2, 0xaa, 0, 0, 0, 2]);
pub(crate) const OTHER_HOST_MAC: Mac = Mac([2, 0xaa, 0, 0, 0, 3]);
pub(crate) const GATEWAY_MAC: Mac = Mac([2, 0xbb, 0, 0, 0, 2]);

pub(crate) const OUR_INSIDE_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const OUR_OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The one address of the pool.
pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// A host behind the gateway.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Another one.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);

/// Buffers of each size.
pub(crate) const BUFFERS: usize = 600;

/// What most tests run with.
pub(crate) const CONFIG: &str = r#"
    [[interface]]
    name = "inside"
    device = "in0"
    addresses = ["10.0.0.1/24", "fd00:10::1/64"]

    [[interface]]
    name = "outside"
    device = "out0"
    addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
    mtu = 1400

    [[route]]
    destination = "0.0.0.0/0"
    via = "192.0.2.2"

    [[pool]]
    name = "egress"
    addresses = ["203.0.113.10/32"]

    [[rule]]
    name = "no-mail"
    kind = "drop"
    protocol = "tcp"
    destination_ports = "25"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    source = ["10.0.0.0/24"]
    pool = "egress"
"#;

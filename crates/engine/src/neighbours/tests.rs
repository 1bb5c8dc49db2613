//! The neighbour module from outside: frames and times in, frames out. The bench is two interfaces,
//! a table that a test chooses the size of, and a pool whose buffers are counted.

mod arp;
mod life;
mod membership;
mod memory;
mod ndp;
mod random;
mod router;
mod take_up;

use std::net::IpAddr;
use std::time::Duration;

use mooring_packet::{BufferPool, Offload, Packet};
use mooring_policy::InterfaceId;
use mooring_session::{NextHopIndex, Tick};
use mooring_wire::Mac;

use super::{
    EntryView, HoldRefused, InterfaceLink, Neighbours, Outcome, REACHABLE_TIME, RETRANSMIT, State,
};
use crate::outbox::Outbox;

const OUTSIDE: InterfaceId = InterfaceId(1);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const GATEWAY: Mac = Mac([2, 0xaa, 0, 0, 0, 9]);
const OTHER: Mac = Mac([2, 0xbb, 0, 0, 0, 7]);
const SMALL: usize = 600;
const LARGE: usize = 4;

struct Bench {
    neighbours: Neighbours,
    outbox: Outbox,
    now: Tick,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let link = |last, addresses: [&str; 2]| InterfaceLink {
            mac: Mac([2, 0, 0, 0, 0, last]),
            mtu: 1500,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            fixed_peer: None,
        };
        let links = [
            link(1, ["10.0.0.1/24", "fd00:10::1/64"]),
            link(2, ["192.0.2.1/24", "2001:db8:1::1/64"]),
        ];
        Self {
            neighbours: Neighbours::new(&links, capacity, [7; 32]),
            outbox: Outbox::new(BufferPool::new(SMALL, LARGE)),
            now: Tick::from_millis(1_000_000),
        }
    }

    fn acquire(&mut self, address: &str) -> NextHopIndex {
        self.try_acquire(ip(address)).expect("the table has room")
    }

    fn try_acquire(&mut self, address: IpAddr) -> Option<NextHopIndex> {
        self.neighbours.acquire(OUTSIDE, address, self.now)
    }

    /// Holds a packet whose last byte is `number`.
    fn hold(&mut self, hop: NextHopIndex, number: u8) -> Result<(), HoldRefused> {
        let mut frame = [0x55; 60];
        frame[59] = number;
        let packet = Packet::new(&mut frame, 0, 60, Offload::partial_checksum(34, 6));
        self.neighbours.hold(hop, &packet, self.now, &mut self.outbox)
    }

    fn arp(&mut self, text: &str) -> Outcome {
        self.neighbours.on_arp(OUTSIDE, &hex(text), self.now, ours, &mut self.outbox)
    }

    fn ndp(&mut self, frame: &[u8]) -> Outcome {
        self.neighbours.on_ndp(OUTSIDE, frame, self.now, ours, &mut self.outbox)
    }

    /// The gateway 192.0.2.2 answers our request.
    fn gateway_answers(&mut self) -> Outcome {
        self.arp(GATEWAY_REPLY)
    }

    /// Lets time pass, then polls until nothing more is due.
    fn pass(&mut self, wait: Duration) -> u64 {
        self.now = self.now + wait;
        let mut dropped = 0;
        for _ in 0..100 {
            dropped += self.poll();
            if self.neighbours.next_deadline().is_none_or(|next| next > self.now) {
                break;
            }
        }
        dropped
    }

    fn poll(&mut self) -> u64 {
        self.neighbours.poll(self.now, &mut self.outbox)
    }

    /// When the next poll is due, after one more.
    fn polled_until(&mut self) -> Option<Tick> {
        self.poll();
        self.neighbours.next_deadline()
    }

    fn pass_ms(&mut self, milliseconds: u64) -> u64 {
        self.pass(Duration::from_millis(milliseconds))
    }

    /// What left by the outside interface since the last call; checks that nothing left by the
    /// other one.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        assert_eq!(self.outbox.ready_for(InterfaceId(0)).count(), 0);
        let sent = self.outbox.ready_for(OUTSIDE).map(|packet| packet.bytes().to_vec()).collect();
        self.outbox.clear();
        sent
    }

    /// A neighbour 192.0.2.2 in use that has just answered.
    fn with_gateway() -> (Self, NextHopIndex) {
        let mut bench = Self::new(8);
        let hop = bench.acquire("192.0.2.2");
        bench.hold(hop, 0).expect("the queue is empty");
        assert_eq!(bench.gateway_answers(), Outcome::Learned);
        bench.sent();
        (bench, hop)
    }

    fn view(&self, address: &str) -> EntryView {
        let mut entries = self.neighbours.entries();
        entries.find(|entry| entry.address == ip(address)).expect("the entry exists")
    }

    fn state(&self, address: &str) -> State {
        self.view(address).state
    }

    fn knows(&self, address: &str) -> bool {
        self.neighbours.entries().any(|entry| entry.address == ip(address))
    }

    fn free_buffers(&self) -> (usize, usize) {
        self.outbox.free()
    }
}

/// What the appliance answers for on the outside link: its own addresses, and one of each family
/// in a pool.
const OURS: [&str; 4] = ["192.0.2.1", "203.0.113.10", "2001:db8:1::1", "2001:db8:1::10"];

/// The frames that are no listener report.
fn without_reports(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.retain(|frame| !is_report(frame));
    frames
}

fn is_report(frame: &[u8]) -> bool {
    frame.get(62) == Some(&143) && frame[12..14] == [0x86, 0xdd]
}

fn ours(address: IpAddr) -> bool {
    OURS.map(ip).contains(&address)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The bytes of a text of hexadecimal digits; white space and `|` only separate.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

const GATEWAY_REPLY: &str = "020000000002 02aa00000009 0806 | 0001 0800 06 04 0002 \
     02aa00000009 c0000202 020000000002 c0000201";

/// 192.0.2.2 tells everybody its address unasked.
const GATEWAY_GRATUITOUS: &str = "ffffffffffff 02aa00000009 0806 | 0001 0800 06 04 0001 \
     02aa00000009 c0000202 000000000000 c0000202";

/// 192.0.2.2 has moved to another MAC, and tells.
const MOVED_GRATUITOUS: &str = "ffffffffffff 02bb00000007 0806 | 0001 0800 06 04 0001 \
     02bb00000007 c0000202 000000000000 c0000202";

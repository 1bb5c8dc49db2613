//! Sending by frames that the kernel makes itself (XDP live frames): a program of ours counts them, and writes
//! flow, checksums and stamp of each, as [`crate::template`] would; the time is that of the frame itself, not of
//! a batch.
//!
//! What it cannot do: keep a rate (a call sends as fast as it goes), bursts, new flows, several sizes, and any
//! protocol with another checksum than that of the Internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_io::link::{self, Link};
use mooring_io::xdp_live::{
    ABORT, Assembler, Instruction, Maker, Operation, Register, SEND, Size, When,
};
use mooring_wire::checksum::{add, pseudo_v4, pseudo_v6, sum};

use crate::flows::{Addressing, FIRST_PORT, PORTS};
use crate::invalid::Invalid;
use crate::stamp::Stamp;
use crate::template::{Frames, LINK, Template};
use crate::traffic::Traffic;
use crate::transmit::{Load, Sent};
use crate::{clock, namespace};

/// Sends by live frames.
pub(crate) struct LiveGenerator {
    shape: Shape,
    device: Link,
    netns: Option<String>,
    buckets: u32,
}

/// What the program must know of the frames.
#[derive(Clone, Debug)]
struct Shape {
    /// A whole frame of the first flow.
    frame: Vec<u8>,
    template: Template,
    addressing: Addressing,
    flows: u32,
}

impl LiveGenerator {
    /// # Errors
    /// What live frames cannot do.
    pub(crate) fn new(
        traffic: &Traffic,
        frames: &Frames,
        addressing: Addressing,
        device: Link,
    ) -> Result<Self, Invalid> {
        let path = &traffic.path;
        let refuse = |holds: bool, what: &str| {
            Invalid::unless(holds, || format!("--transmit xdp-live has no {what}"))
        };
        refuse(traffic.burst == 1, "bursts: each flow has its turn")?;
        refuse(traffic.new_flows == 0, "new flows")?;
        refuse(path.size.0.len() == 1, "mixed sizes: give one --size")?;
        let known = [Template::Udp, Template::Tcp, Template::TcpSyn];
        refuse(known.contains(&path.template), "templates but udp, tcp and tcp-syn")?;
        refuse(frames.longest().is_multiple_of(2), "odd sizes")?;
        let ends = addressing.of(0);
        let mut frame = vec![0; frames.longest()];
        frames.write(0, &ends, &Stamp { run: 0, slot: 0, sequence: 0, time: 0 }, &mut frame);
        let shape = Shape { frame, template: path.template, addressing, flows: traffic.flows };
        refuse(shape.last_words().is_some(), "ranges of addresses that begin so late")?;
        let buckets = traffic.buckets.min(traffic.flows);
        Ok(Self { shape, device, netns: path.send_netns.clone(), buckets })
    }

    /// Packets until each flow has had its turn.
    pub(crate) fn round(&self) -> u64 {
        u64::from(self.shape.flows)
    }

    /// Sends as fast as it goes; says now and then what was made.
    ///
    /// # Errors
    /// When the kernel does not take the program, or the device no frame of XDP.
    pub(crate) fn send(&mut self, load: &Load, mut progress: impl FnMut(&Sent)) -> Result<Sent> {
        let netns = self.netns.as_deref();
        let index = self.device.index;
        let transmitted = || namespace::within(netns, || link::transmitted(index));
        let maker = Maker::load(|count| self.shape.program(load.run, count))
            .context("cannot load an XDP program (it needs CAP_NET_ADMIN and CAP_BPF)")?;
        let before = transmitted()??;
        let (start, most) = (load.span.start, load.count.unwrap_or(u64::MAX));
        let end = start + load.time.as_nanos() as u64;
        let mut sent = Sent::default();
        let mut next = FIRST_CALL;
        loop {
            let now = clock::now();
            let made = maker.count()?;
            if made >= most || now >= end {
                sent.packets = made;
                break;
            }
            let count = next.min(most - made);
            let frame = &self.shape.frame;
            namespace::within(netns, || maker.send(frame, index, count as u32))?
                .context("cannot send live frames")?;
            let took = (clock::now() - now).max(1);
            // As long as a call should take, no longer than what is left.
            let wanted = CALL.min(end.saturating_sub(clock::now()));
            next = (count * wanted / took).clamp(FIRST_CALL, LARGEST_CALL);
            sent.packets = maker.count()?;
            progress(&sent);
        }
        sent.time = Duration::from_nanos(clock::now() - start);
        // The other end of a link counts what it has taken a moment later.
        thread::sleep(Duration::from_millis(20));
        let taken = transmitted()??.saturating_sub(before).min(sent.packets);
        sent.refused = sent.packets - taken;
        anyhow::ensure!(
            taken > 0,
            "the device {} takes no frames of XDP\nhint: one end of a veth pair does when the other has GRO \
             (`ethtool -K DEVICE gro on`) or an XDP program",
            self.device.name
        );
        self.count(&mut sent, taken);
        Ok(sent)
    }

    /// Which flows those that were refused were of nobody knows: groups and intervals count what was made, and
    /// the total what the device took.
    fn count(&self, sent: &mut Sent, taken: u64) {
        let (made, flows) = (sent.packets, u64::from(self.shape.flows));
        sent.bytes = taken * self.shape.frame.len() as u64;
        sent.intervals = vec![made];
        sent.buckets = vec![0; self.buckets as usize];
        for flow in 0..flows {
            let bucket = (flow % u64::from(self.buckets)) as usize;
            sent.buckets[bucket] += made / flows + u64::from(flow < made % flows);
        }
        sent.packets = taken;
    }
}

impl Shape {
    /// The low 32 bits of the first source and destination; `None` where the ranges carry beyond them.
    fn last_words(&self) -> Option<[u32; 2]> {
        let Addressing { source, sources, destination, destinations } = self.addressing;
        let word = |address: IpAddr, count: u32| {
            let word = match address {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(address) => address.to_bits() as u32,
            };
            word.checked_add(count - 1).map(|_| word)
        };
        Some([word(source, sources)?, word(destination, destinations)?])
    }

    fn is_ipv4(&self) -> bool {
        self.addressing.source.is_ipv4()
    }

    /// The program for packets of this run, which counts in the map `count`.
    fn program(&self, run: u16, count: i32) -> Vec<Instruction> {
        let places = self.places();
        let frame = self.without_fields(run, &places);
        let mut program = Assembler::default();
        let len = frame.len() as i32;
        program
            .load(Size::Four, Register::R6, Register::R1, DATA)
            .load(Size::Four, Register::R3, Register::R1, DATA_END)
            .copy(Register::R4, Register::R6)
            .add(Register::R4, len)
            .jump_if_other(When::Greater, Register::R4, Register::R3, "abort")
            .call(KTIME_GET_NS)
            .copy(Register::R9, Register::R0)
            .map_value(Register::R1, count)
            .load(Size::Eight, Register::R7, Register::R1, 0)
            .copy(Register::R2, Register::R7)
            .add(Register::R2, 1)
            .write(Size::Eight, Register::R1, 0, Register::R2);
        // Whoever had the page before may have changed any header.
        for (at, pair) in (0_i16..).step_by(2).zip(frame[..places.payload].chunks_exact(2)) {
            let value = i32::from(u16::from_ne_bytes([pair[0], pair[1]]));
            program.write_value(Size::Two, Register::R6, at, value);
        }
        self.write_stamp(&mut program, run, &places, self.body_sum(&frame, &places));
        self.write_ends(&mut program, &places);
        if self.is_ipv4() {
            program.add(Register::R7, i32::from(sum(&frame[LINK..LINK + 20])));
            fold(&mut program, Register::R7);
            program.network_order(Size::Two, Register::R7).write(
                Size::Two,
                Register::R6,
                LINK as i16 + 10,
                Register::R7,
            );
        }
        fold(&mut program, Register::R8);
        // RFC 768: "If the computed checksum is zero, it is transmitted as all ones"; to TCP both are one.
        program
            .jump_if(When::NotEqual, Register::R8, 0, "sum")
            .set(Register::R8, 0xffff)
            .label("sum")
            .network_order(Size::Two, Register::R8)
            .write(Size::Two, Register::R6, places.checksum, Register::R8)
            .set(Register::R0, SEND)
            .exit()
            .label("abort")
            .set(Register::R0, ABORT)
            .exit();
        program.finish()
    }

    /// Writes the stamp of packet number R7 of time R9, and leaves its flow in R2 and the sum in R8.
    fn write_stamp(&self, program: &mut Assembler, run: u16, places: &Places, body: u16) {
        let flows = self.flows.cast_signed();
        program
            .copy(Register::R2, Register::R7)
            .compute(Operation::Modulo, Register::R2, flows)
            .compute(Operation::Divide, Register::R7, flows)
            .copy_low(Register::R3, Register::R7)
            .set(Register::R8, i32::from(body))
            .write_value(Size::Two, Register::R6, places.stamp, i32::from(run.to_be()))
            .add_other(Register::R8, Register::R2)
            .copy(Register::R4, Register::R2)
            .network_order(Size::Four, Register::R4)
            .write(Size::Four, Register::R6, places.stamp + 2, Register::R4)
            .add_other(Register::R8, Register::R3)
            .network_order(Size::Four, Register::R3)
            .write(Size::Four, Register::R6, places.stamp + 6, Register::R3)
            .copy(Register::R4, Register::R9)
            .compute(Operation::ShiftRight, Register::R4, 32)
            .add_other(Register::R8, Register::R4)
            .copy_low(Register::R4, Register::R9)
            .add_other(Register::R8, Register::R4)
            .network_order(Size::Eight, Register::R9);
        // In two parts: the place is no multiple of eight, and need be none.
        program.write(Size::Eight, Register::R6, places.stamp + 10, Register::R9);
    }

    /// Writes addresses and port of the flow in R2, as [`Addressing::of`] has them; adds them to the sum in R8,
    /// and leaves that of the addresses in R7.
    fn write_ends(&self, program: &mut Assembler, places: &Places) {
        let [source, destination] = self.last_words().unwrap_or_default();
        let Addressing { sources, destinations, .. } = self.addressing;
        let ports = PORTS as i32;
        program
            .copy(Register::R3, Register::R2)
            .compute(Operation::Modulo, Register::R3, sources.cast_signed())
            .copy(Register::R4, Register::R2)
            .compute(Operation::Divide, Register::R4, sources.cast_signed())
            .copy(Register::R0, Register::R4)
            .compute(Operation::Divide, Register::R0, ports)
            .add_other(Register::R0, Register::R4)
            .add_other(Register::R0, Register::R3)
            .compute(Operation::Modulo, Register::R0, destinations.cast_signed())
            .compute(Operation::Modulo, Register::R4, ports)
            .add(Register::R4, i32::from(FIRST_PORT))
            .add_other(Register::R8, Register::R4)
            .network_order(Size::Two, Register::R4)
            .write(Size::Two, Register::R6, places.body, Register::R4);
        program.set(Register::R7, 0);
        for (register, first, at) in
            [(Register::R3, source, places.source), (Register::R0, destination, places.destination)]
        {
            program
                .set_unsigned(Register::R1, first)
                .add_other(register, Register::R1)
                .add_other(Register::R7, register)
                .add_other(Register::R8, register)
                .network_order(Size::Four, register)
                .write(Size::Four, Register::R6, at, register);
        }
    }

    fn places(&self) -> Places {
        // The last four bytes of the addresses.
        let (source, destination, body) = if self.is_ipv4() { (12, 16, 20) } else { (20, 36, 40) };
        let body = LINK as i16 + body;
        let (header, checksum) = if self.template == Template::Udp { (8, 6) } else { (20, 16) };
        Places {
            source: LINK as i16 + source,
            destination: LINK as i16 + destination,
            body,
            checksum: body + checksum,
            payload: (body + header) as usize,
            stamp: (self.frame.len() - Stamp::LEN) as i16,
        }
    }

    /// The frame with zeros where the program writes, but for the run.
    fn without_fields(&self, run: u16, places: &Places) -> Vec<u8> {
        let mut frame = self.frame.clone();
        for (at, len) in [
            (places.source, 4),
            (places.destination, 4),
            (places.body, 2),
            (places.checksum, 2),
            (places.stamp, Stamp::LEN),
        ] {
            frame[at as usize..][..len].fill(0);
        }
        if self.is_ipv4() {
            frame[LINK + 10..LINK + 12].fill(0);
        }
        frame[places.stamp as usize..][..2].copy_from_slice(&run.to_be_bytes());
        frame
    }

    /// The sum of what follows the IP header, and of the pseudo-header, of such a frame.
    fn body_sum(&self, frame: &[u8], places: &Places) -> u16 {
        let body = &frame[places.body as usize..];
        let protocol = self.template.protocol(self.is_ipv4());
        let pseudo = match (self.addressing.source, self.addressing.destination) {
            (IpAddr::V4(_), _) => {
                pseudo_v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, protocol, body.len() as u16)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let high = |address: Ipv6Addr| Ipv6Addr::from_bits(address.to_bits() >> 32 << 32);
                pseudo_v6(high(source), high(destination), protocol, body.len() as u32)
            }
            // The command line refuses ends of two families.
            (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        };
        add(sum(body), pseudo)
    }
}

/// Where the fields of a frame lie.
struct Places {
    source: i16,
    destination: i16,
    /// What follows the IP header: the source port.
    body: i16,
    checksum: i16,
    /// What follows the last header.
    payload: usize,
    stamp: i16,
}

/// The complement of the sum of all 16-bit words of the register (RFC 1071 §2).
fn fold(program: &mut Assembler, register: Register) {
    for _ in 0..3 {
        program
            .copy(Register::R1, register)
            .compute(Operation::ShiftRight, Register::R1, 16)
            .compute(Operation::And, register, 0xffff)
            .add_other(register, Register::R1);
    }
    program.compute(Operation::Xor, register, 0xffff);
}

/// Frames of the first call, and of the smallest.
const FIRST_CALL: u64 = 10_000;

/// Frames of the largest call.
const LARGEST_CALL: u64 = 4_000_000;

/// How long a call should take, in nanoseconds.
const CALL: u64 = 400_000_000;

/// `struct xdp_md` (linux/bpf.h).
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// `bpf_ktime_get_ns`: of the clock that receivers read.
const KTIME_GET_NS: i32 = 5;

//! As much of [`Owners`](crate::Owners) as classic BPF can say: the kernel asks it which worker is to
//! receive a frame, so that most packets come to their owner and are not handed over.
//!
//! It follows `owner.rs` for what is common: packets of inside hosts, and answers to ports of pools that
//! go round the workers. All else, pieces, ICMP errors, claimed ports, blocks, comes to some worker, which
//! hands it over: a wrong answer costs a copy, and nothing else depends on it.
//!
//! The language has one accumulator, one index register and forward jumps (Linux,
//! Documentation/networking/filter.rst; McCanne and Jacobson, "The BSD Packet Filter", 1993).

use ipnet::IpNet;
use mooring_policy::{InterfaceId, Policy};
use mooring_wire::Protocol;

use crate::owner::FACTORS;
use crate::port_owners::goes_round;

/// An instruction, as the kernel has it (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation, size and mode.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Those to skip when it does not.
    pub jump_false: u8,
    /// The constant.
    pub constant: u32,
}

/// The program for an interface: its result is a worker, below `workers`.
#[must_use]
pub fn program(policy: &Policy, interface: InterfaceId, workers: u8) -> Vec<Instruction> {
    let mut program = Program { all: Vec::new(), workers: workers.into() };
    let limits = &policy.limits;
    let (v4, v6): (Vec<_>, Vec<_>) =
        rounds(policy, interface).into_iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
    program.load(Size::Word, ETHER_TYPE);
    let other = program.unless(ETHER_TYPE_IPV4);
    program.of_packet(&Layout::V4, &v4, limits.source_prefix_v4);
    program.land(other);
    let other = program.unless(ETHER_TYPE_IPV6);
    program.of_packet(&Layout::V6, &v6, limits.source_prefix_v6);
    program.land(other);
    program.push(RETURN_CONSTANT, 0);
    program.all
}

/// The addresses that are outside on `interface` and whose ports go round the workers two by two, as far
/// as there is room for them.
fn rounds(policy: &Policy, interface: InterfaceId) -> Vec<IpNet> {
    let pools = policy.pools.iter().filter(|pool| goes_round(pool));
    let prefixes = pools.flat_map(|pool| &pool.addresses);
    let outside = prefixes.filter(|prefix| policy.outside_of(prefix.network()).contains(interface));
    let mut prefixes: Vec<IpNet> = outside.copied().collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes.truncate(MOST_PREFIXES);
    prefixes
}

/// Where the fields of a family's header lie.
struct Layout {
    protocol: u32,
    source: u32,
    destination: u32,
    /// Words of an address.
    words: u32,
    icmp: Protocol,
    echo_reply: u32,
}

impl Layout {
    const V4: Self = Self {
        protocol: 9,
        source: 12,
        destination: 16,
        words: 1,
        icmp: Protocol::ICMP,
        echo_reply: 0,
    };
    const V6: Self = Self {
        protocol: 6,
        source: 8,
        destination: 24,
        words: 4,
        icmp: Protocol::ICMPV6,
        echo_reply: 129,
    };
}

/// A program that is being written.
struct Program {
    all: Vec<Instruction>,
    workers: u32,
}

/// A jump whose end is not known yet.
#[must_use]
struct Jump(usize);

#[derive(Clone, Copy)]
enum Size {
    Word,
    Half,
    Byte,
}

impl Program {
    /// For a packet of a family: by its port where that goes round, else by its source. Always returns.
    fn of_packet(&mut self, layout: &Layout, rounds: &[IpNet], source_bits: u8) {
        let mut to_host = Vec::new();
        if !rounds.is_empty() {
            to_host = self.find_number(layout);
            let mut to_number = Vec::new();
            for prefix in rounds {
                to_number.push(self.when_within(layout, *prefix));
            }
            to_host.push(self.jump());
            to_number.into_iter().for_each(|jump| self.land(jump));
            // Two by two: see `share.rs`.
            self.push(LOAD_INDEX_OF_MEMORY, 0);
            self.push(LOAD_HALF_INDIRECT, NETWORK);
            self.push(SHIFT_RIGHT, 1);
            self.by_workers();
        }
        to_host.into_iter().for_each(|jump| self.land(jump));
        self.host(layout, source_bits);
    }

    /// Remembers where the port or identifier is that a packet is for; jumps where there is none.
    fn find_number(&mut self, layout: &Layout) -> Vec<Jump> {
        let is_v4 = layout.words == 1;
        let mut without = Vec::new();
        if is_v4 {
            // Pieces have another owner.
            self.load(Size::Half, NETWORK + 6);
            without.push(self.when_any(0x3fff));
            self.push(LOAD_INDEX_OF_HEADER, NETWORK);
        } else {
            self.push(LOAD_INDEX, 40);
        }
        self.load(Size::Byte, NETWORK + layout.protocol);
        let not_tcp = self.unless(Protocol::TCP.0.into());
        let tcp = self.jump();
        self.land(not_tcp);
        let not_udp = self.unless(Protocol::UDP.0.into());
        let udp = self.jump();
        self.land(not_udp);
        let not_icmp = self.unless(layout.icmp.0.into());
        self.push(LOAD_BYTE_INDIRECT, NETWORK);
        let no_reply = self.unless(layout.echo_reply);
        // The identifier; a port is two bytes before it.
        self.push(INDEX_TO_A, 0);
        self.push(ADD, 4);
        let found = self.jump();
        self.land(tcp);
        self.land(udp);
        self.push(INDEX_TO_A, 0);
        self.push(ADD, 2);
        self.land(found);
        self.push(STORE, 0);
        let past = self.jump();
        self.land(not_icmp);
        self.land(no_reply);
        without.push(self.jump());
        self.land(past);
        without
    }

    /// A jump for those whose destination is within `prefix`.
    fn when_within(&mut self, layout: &Layout, prefix: IpNet) -> Jump {
        let network = match prefix.network() {
            std::net::IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            std::net::IpAddr::V6(address) => address.to_bits(),
        };
        let mut not = Vec::new();
        for word in 0..layout.words {
            let mask = mask(prefix.prefix_len(), word);
            if mask == 0 {
                break;
            }
            self.load(Size::Word, NETWORK + layout.destination + 4 * word);
            if mask != u32::MAX {
                self.push(AND, mask);
            }
            not.push(self.unless((network >> (96 - 32 * word)) as u32 & mask));
        }
        let within = self.jump();
        not.into_iter().for_each(|jump| self.land(jump));
        within
    }

    /// The worker of the source: what `owner.rs` mixes, step by step.
    fn host(&mut self, layout: &Layout, source_bits: u8) {
        self.push(LOAD, 0);
        for word in 0..layout.words {
            let mask = mask(source_bits, word);
            if mask == 0 {
                break;
            }
            self.push(STORE, 1);
            self.load(Size::Word, NETWORK + layout.source + 4 * word);
            self.push(AND, mask);
            // The last word of an address has the first factor.
            self.push(MULTIPLY, FACTORS[(layout.words - 1 - word) as usize]);
            self.push(LOAD_INDEX_OF_MEMORY, 1);
            self.push(ADD_INDEX, 0);
        }
        for (shift, factor) in crate::owner::MIX {
            self.push(A_TO_INDEX, 0);
            self.push(SHIFT_RIGHT, shift);
            self.push(XOR_INDEX, 0);
            self.push(MULTIPLY, factor);
        }
        self.by_workers();
    }

    fn by_workers(&mut self) {
        self.push(MODULO, self.workers);
        self.push(RETURN_A, 0);
    }

    fn load(&mut self, size: Size, at: u32) {
        let code = match size {
            Size::Word => LOAD_WORD,
            Size::Half => LOAD_HALF,
            Size::Byte => LOAD_BYTE,
        };
        self.push(code, at);
    }

    fn push(&mut self, code: u16, constant: u32) {
        self.all.push(Instruction { code, jump_true: 0, jump_false: 0, constant });
    }

    /// Goes on where the accumulator is `value`, and jumps where it is not.
    fn unless(&mut self, value: u32) -> Jump {
        let (code, constant) = (JUMP_IF_EQUAL, value);
        self.all.push(Instruction { code, jump_true: 1, jump_false: 0, constant });
        self.jump()
    }

    /// Jumps where one of these bits is set.
    fn when_any(&mut self, bits: u32) -> Jump {
        let (code, constant) = (JUMP_IF_SET, bits);
        self.all.push(Instruction { code, jump_true: 0, jump_false: 1, constant });
        self.jump()
    }

    /// Long, so that it can go past any number of prefixes.
    fn jump(&mut self) -> Jump {
        self.push(JUMP, 0);
        Jump(self.all.len() - 1)
    }

    /// The jump ends here.
    fn land(&mut self, Jump(at): Jump) {
        self.all[at].constant = (self.all.len() - at - 1) as u32;
    }
}

/// The part of a prefix's mask in word `word` of an address, the first word being 0.
const fn mask(bits: u8, word: u32) -> u32 {
    let bits = (bits as u32).saturating_sub(32 * word);
    if bits >= 32 { u32::MAX } else { !(u32::MAX >> bits) }
}

/// Prefixes of pools that a program knows: of IPv6 each takes 17 instructions at most, and the kernel
/// takes 4,096 (BPF_MAXINSNS). Packets to those beyond are handed over.
const MOST_PREFIXES: usize = 128;

// Offsets of the kernel's (linux/filter.h): of the network header, and of what it knows beside the packet.
const NETWORK: u32 = (-0x10_0000_i32).cast_unsigned();
const ETHER_TYPE: u32 = (-0x1000_i32).cast_unsigned();

const ETHER_TYPE_IPV4: u32 = 0x0800;
const ETHER_TYPE_IPV6: u32 = 0x86dd;

// linux/bpf_common.h, linux/filter.h. Classes: LD 0, LDX 1, ST 2, ALU 4, JMP 5, RET 6, MISC 7.
const LOAD: u16 = 0x00;
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDIRECT: u16 = 0x48;
const LOAD_BYTE_INDIRECT: u16 = 0x50;
const LOAD_INDEX: u16 = 0x01;
const LOAD_INDEX_OF_MEMORY: u16 = 0x61;
const LOAD_INDEX_OF_HEADER: u16 = 0xb1;
const STORE: u16 = 0x02;
const ADD: u16 = 0x04;
const ADD_INDEX: u16 = 0x0c;
const MULTIPLY: u16 = 0x24;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const MODULO: u16 = 0x94;
const XOR_INDEX: u16 = 0xac;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_SET: u16 = 0x45;
const RETURN_CONSTANT: u16 = 0x06;
const RETURN_A: u16 = 0x16;
const A_TO_INDEX: u16 = 0x07;
const INDEX_TO_A: u16 = 0x87;

#[cfg(test)]
mod tests;

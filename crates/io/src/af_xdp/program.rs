//! The steering program: which frames of a device come to us past the kernel.
//!
//! A frame for the device's own Ethernet address whose IP packet is for no address of the kernel's: that is
//! what others send to our addresses, and what they send through us. The kernel never sees it. All else
//! goes on to the kernel, and to a packet socket beside the AF_XDP ones: ARP, multicast, whatever is for the
//! kernel itself, what has a VLAN tag, and any frame while its queue has no socket.

use std::net::IpAddr;

use mooring_wire::Mac;

use super::assembler::{Assembler, Instruction, Register, Size, When};

/// The program for a device of address `mac`, with the file descriptors of the map from queues to sockets,
/// and of the map with the [`key`]s of the kernel's own addresses.
pub(super) fn steering(mac: Mac, sockets: i32, kernel: i32) -> Vec<Instruction> {
    let [a, b, c, d, e, f] = mac.0;
    let (front, back) = (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]));
    let mut program = Assembler::default();
    program
        .copy(Register::R6, Register::R1)
        .load(Size::Four, Register::R2, Register::R6, DATA)
        .load(Size::Four, Register::R3, Register::R6, DATA_END)
        .copy(Register::R4, Register::R2)
        .add(Register::R4, IPV4_END)
        .jump_if_other(When::Greater, Register::R4, Register::R3, "pass")
        .load(Size::Four, Register::R4, Register::R2, 0)
        .jump_if(When::NotEqual, Register::R4, front, "pass")
        .load(Size::Two, Register::R4, Register::R2, 4)
        .jump_if(When::NotEqual, Register::R4, u32::from(back), "pass")
        .load(Size::Two, Register::R4, Register::R2, ETHER_TYPE)
        .jump_if(When::Equal, Register::R4, network_order(0x86dd), "ipv6")
        .jump_if(When::NotEqual, Register::R4, network_order(0x0800), "pass");
    // The key of an IPv4 address, on the stack.
    program
        .load(Size::Four, Register::R4, Register::R2, IPV4_DESTINATION)
        .store_value(Size::Four, KEY, 0)
        .store_value(Size::Four, KEY + 4, 0)
        .store_value(Size::Four, KEY + 8, i32::from_ne_bytes([0, 0, 0xff, 0xff]))
        .store(Size::Four, KEY + 12, Register::R4)
        .jump("look up");
    program
        .label("ipv6")
        .copy(Register::R4, Register::R2)
        .add(Register::R4, IPV6_END)
        .jump_if_other(When::Greater, Register::R4, Register::R3, "pass");
    for word in [0, 4, 8, 12] {
        program.load(Size::Four, Register::R4, Register::R2, IPV6_DESTINATION + word).store(
            Size::Four,
            KEY + word,
            Register::R4,
        );
    }
    program
        .label("look up")
        .map(Register::R1, kernel)
        .copy(Register::R2, Register::Stack)
        .add(Register::R2, i32::from(KEY))
        .call(MAP_LOOKUP_ELEM)
        .jump_if_any(Register::R0, "pass")
        .map(Register::R1, sockets)
        .load(Size::Four, Register::R2, Register::R6, RX_QUEUE_INDEX)
        .set(Register::R3, XDP_PASS)
        .call(REDIRECT_MAP)
        .exit()
        .label("pass")
        .set(Register::R0, XDP_PASS)
        .exit();
    program.finish()
}

/// An address in the map of the kernel's own: IPv4 as `::ffff:a.b.c.d`.
pub(super) fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What a load of two bytes sees of a number in network byte order.
const fn network_order(value: u16) -> u32 {
    value.to_be() as u32
}

/// `struct xdp_md` (linux/bpf.h).
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const RX_QUEUE_INDEX: i16 = 16;

/// Bytes from the start of an untagged frame.
const ETHER_TYPE: i16 = 12;
const IPV4_DESTINATION: i16 = 14 + 16;
const IPV4_END: i32 = 14 + 20;
const IPV6_DESTINATION: i16 = 14 + 24;
const IPV6_END: i32 = 14 + 40;

/// Where the key lies on the stack.
const KEY: i16 = -16;

const XDP_PASS: i32 = 2;

/// `bpf_map_lookup_elem` and `bpf_redirect_map`. What the latter is given in register 3 is the verdict for a
/// queue without a socket.
const MAP_LOOKUP_ELEM: i32 = 1;
const REDIRECT_MAP: i32 = 51;

#[cfg(test)]
mod tests;

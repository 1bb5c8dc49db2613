//! The program, run by a machine of a few lines: what the kernel's would do with these instructions.

use std::net::IpAddr;

use etherparse::PacketBuilder;
use mooring_wire::Mac;
use zerocopy::IntoBytes;

use super::{key, steering};

const OWN: Mac = Mac([2, 0x80, 3, 4, 0xf5, 6]);
const SOCKETS: i32 = 5;
const KERNEL: i32 = 6;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// To the socket of this queue.
    Socket(u64),
}

#[test]
fn what_is_not_for_the_kernel_comes_to_the_socket_of_its_queue() {
    for target in ["203.0.113.10", "198.51.100.1", "2001:db8::9"] {
        assert_eq!(verdict(&frame(OWN, target), &["10.0.0.3", "fe80::1"], 3), Verdict::Socket(3));
    }
}

#[test]
fn what_is_for_the_kernel_passes() {
    let kernel = ["10.0.0.3", "fe80::1"];
    for target in kernel {
        assert_eq!(verdict(&frame(OWN, target), &kernel, 0), Verdict::Pass, "{target}");
    }
    // The same bytes as one of the others.
    assert_eq!(verdict(&frame(OWN, "::a00:3"), &kernel, 0), Verdict::Socket(0));
}

#[test]
fn what_is_for_others_or_for_all_passes() {
    for mac in [[0xff; 6], [2, 0x80, 3, 4, 0xf5, 7], [3, 0x80, 3, 4, 0xf5, 6], [0; 6]] {
        assert_eq!(verdict(&frame(Mac(mac), "203.0.113.10"), &[], 0), Verdict::Pass, "{mac:x?}");
    }
}

#[test]
fn what_is_no_ip_packet_or_tagged_passes() {
    for ether_type in [[8, 6], [0x81, 0], [0x88, 0xa8], [0, 8]] {
        let mut frame = frame(OWN, "203.0.113.10");
        frame[12..14].copy_from_slice(&ether_type);
        assert_eq!(verdict(&frame, &[], 0), Verdict::Pass, "{ether_type:x?}");
    }
}

#[test]
fn what_is_cut_off_passes() {
    let (v4, v6) = (frame(OWN, "203.0.113.10"), frame(OWN, "2001:db8::9"));
    assert_eq!(verdict(&v4[..34], &[], 0), Verdict::Socket(0));
    assert_eq!(verdict(&v6[..54], &[], 0), Verdict::Socket(0));
    for short in [&v4[..33], &v6[..53], &v4[..0]] {
        assert_eq!(verdict(short, &[], 0), Verdict::Pass);
    }
}

#[test]
fn an_ipv4_address_is_mapped() {
    let v4 = key("192.0.2.1".parse().expect("an address"));
    assert_eq!(v4, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
}

fn frame(to: Mac, target: &str) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([4; 6], to.0);
    let mut frame = Vec::new();
    let written = match target.parse().expect("an address") {
        IpAddr::V4(target) => {
            builder.ipv4([10, 0, 0, 2], target.octets(), 64).udp(1, 2).write(&mut frame, b"x")
        }
        IpAddr::V6(target) => {
            builder.ipv6([1; 16], target.octets(), 64).udp(1, 2).write(&mut frame, b"x")
        }
    };
    written.expect("memory has no errors");
    frame
}

/// Runs the program on a little-endian machine: `frame` lies at [`FRAME`], the stack ends at [`STACK`].
fn verdict(frame: &[u8], kernel: &[&str], queue: u32) -> Verdict {
    let kernel: Vec<[u8; 16]> =
        kernel.iter().map(|address| key(address.parse().expect("an address"))).collect();
    let code = steering(OWN, SOCKETS, KERNEL);
    let code: Vec<[u8; 8]> = code.as_bytes().as_chunks().0.to_vec();
    let context = [FRAME as u32, (FRAME + frame.len()) as u32, 0, 0, queue, 0];
    let mut memory = vec![0; STACK];
    memory[CONTEXT..][..24].copy_from_slice(context.as_bytes());
    memory[FRAME..][..frame.len()].copy_from_slice(frame);
    let mut r = [0_u64; 11];
    (r[1], r[10]) = (CONTEXT as u64, STACK as u64);
    let mut at = 0;
    for _ in 0..code.len() {
        let [operation, registers, o, o2, immediate @ ..] = code[at];
        let (to, from) = (usize::from(registers & 15), usize::from(registers >> 4));
        let offset = i64::from(i16::from_le_bytes([o, o2]));
        let immediate = i64::from(i32::from_le_bytes(immediate));
        let address = |base: u64| base.wrapping_add_signed(offset) as usize;
        at += 1;
        let jumps = match operation {
            0x05 => true,
            0x55 => r[to] != immediate as u64,
            0x16 => r[to] as u32 == immediate as u32,
            0x56 => r[to] as u32 != immediate as u32,
            0x2d => r[to] > r[from],
            _ => false,
        };
        match operation {
            _ if jumps => at = (at as i64 + offset) as usize,
            0x05 | 0x55 | 0x16 | 0x56 | 0x2d => {}
            0x61 => {
                assert!(r[from] as usize != FRAME || address(r[from]) + 4 <= FRAME + frame.len());
                let word = memory[address(r[from])..].first_chunk().expect("in bounds");
                r[to] = u64::from(u32::from_le_bytes(*word));
            }
            0x69 => {
                let half = memory[address(r[from])..].first_chunk().expect("in bounds");
                r[to] = u64::from(u16::from_le_bytes(*half));
            }
            0x63 => memory[address(r[to])..][..4].copy_from_slice(&(r[from] as u32).to_le_bytes()),
            0x62 => {
                memory[address(r[to])..][..4].copy_from_slice(&(immediate as u32).to_le_bytes());
            }
            0x07 => r[to] = r[to].wrapping_add_signed(immediate),
            0xb7 => r[to] = immediate as u64,
            0xbf => r[to] = r[from],
            0x18 => (r[to], at) = (immediate as u64, at + 1),
            0x85 if immediate == 1 => {
                assert_eq!(r[1], KERNEL as u64);
                r[0] = u64::from(kernel.iter().any(|key| memory[r[2] as usize..].starts_with(key)));
            }
            0x85 if immediate == 51 => {
                assert_eq!((r[1], r[3]), (SOCKETS as u64, 2), "a queue without a socket passes");
                return Verdict::Socket(r[2]);
            }
            0x95 if r[0] == 2 => return Verdict::Pass,
            other => panic!("instruction {other:#x}"),
        }
    }
    panic!("it does not end")
}

const CONTEXT: usize = 0;
const FRAME: usize = 64;
const STACK: usize = 1024;

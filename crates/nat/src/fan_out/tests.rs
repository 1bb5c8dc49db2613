//! The program, run by a small machine, says of packets what `owner.rs` says of their flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use mooring_policy::{InterfaceId, Policy};
use mooring_session::{Address, FlowKey};
use mooring_wire::Protocol;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{ETHER_TYPE, Instruction, NETWORK, program};
use crate::fixture::policy;
use crate::{Owners, Share};

/// What the kernel does with a program; `None` where it would refuse it. A load beyond the packet ends it
/// with 0.
fn run(program: &[Instruction], ether_type: u16, packet: &[u8]) -> Option<u32> {
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
    let load = |offset: u32, bytes: usize| -> Option<u32> {
        if offset == ETHER_TYPE {
            return Some(ether_type.into());
        }
        let start = offset.wrapping_sub(NETWORK) as usize;
        let field = packet.get(start..start + bytes)?;
        Some(field.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let Instruction { code, jump_true, jump_false, constant: k } = *program.get(at)?;
        at += 1;
        let loaded = match code {
            0x20 => load(k, 4),
            0x28 => load(k, 2),
            0x30 | 0xb1 => load(k, 1),
            0x48 => load(k.wrapping_add(x), 2),
            0x50 => load(k.wrapping_add(x), 1),
            _ => Some(0),
        };
        let Some(loaded) = loaded else { return Some(0) };
        match code {
            0x20 | 0x28 | 0x30 | 0x48 | 0x50 => a = loaded,
            0xb1 => x = 4 * (loaded & 0xf),
            0x00 => a = k,
            0x01 => x = k,
            0x61 => x = memory[k as usize],
            0x02 => memory[k as usize] = a,
            0x04 => a = a.wrapping_add(k),
            0x0c => a = a.wrapping_add(x),
            0x24 => a = a.wrapping_mul(k),
            0x54 => a &= k,
            0x74 => a >>= k,
            0x94 => a = a.checked_rem(k)?,
            0xac => a ^= x,
            0x05 => at += k as usize,
            0x15 => at += usize::from(if a == k { jump_true } else { jump_false }),
            0x45 => at += usize::from(if a & k != 0 { jump_true } else { jump_false }),
            0x06 => return Some(k),
            0x16 => return Some(a),
            0x07 => x = a,
            0x87 => a = x,
            _ => return None,
        }
    }
}

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);

fn some_policy() -> Policy {
    policy(
        r#"
        pool = [
            { name = "one", addresses = ["203.0.113.10", "203.0.113.64/27"] },
            { name = "blocks", addresses = ["203.0.113.11"], allocation = { kind = "port-block", size = 100, max_blocks = 1 } },
            { name = "six", addresses = ["2001:db8:7::/117"] },
        ]
        rule = [
            { name = "blocks", kind = "source-nat", source = ["10.0.0.0/30"], pool = "blocks" },
            { name = "one", kind = "source-nat", pool = "one" },
            { name = "six", kind = "source-nat", pool = "six" },
        ]"#,
    )
}

/// A packet of a flow: IPv4 with `options` words of options, or IPv6.
fn packet(key: &FlowKey<impl Address>, options: usize, identifier: Option<u16>) -> (u16, Vec<u8>) {
    let ends: [IpAddr; 2] = [key.source.into(), key.destination.into()];
    let (ether_type, mut bytes) = match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            let mut header = vec![0; 20 + 4 * options];
            (header[0], header[9]) = (0x45 + options as u8, key.protocol.0);
            header[12..16].copy_from_slice(&source.octets());
            header[16..20].copy_from_slice(&destination.octets());
            (0x0800, header)
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let mut header = vec![0; 40];
            (header[0], header[6]) = (0x60, key.protocol.0);
            header[8..24].copy_from_slice(&source.octets());
            header[24..40].copy_from_slice(&destination.octets());
            (0x86dd, header)
        }
        _ => panic!("both ends are of one family"),
    };
    match identifier {
        Some(identifier) => {
            let kind = if ether_type == 0x0800 { 0 } else { 129 };
            bytes.extend([kind, 0, 0, 0]);
            bytes.extend(identifier.to_be_bytes());
        }
        None => {
            bytes.extend(key.source_port.to_be_bytes());
            bytes.extend(key.destination_port.to_be_bytes());
        }
    }
    bytes.extend([0; 8]);
    (ether_type, bytes)
}

fn key<A: Address>(source: A, destination: A, protocol: Protocol, ports: [u16; 2]) -> FlowKey<A> {
    let [source_port, destination_port] = ports;
    FlowKey { source, destination, source_port, destination_port, vrf: 0, protocol, tag: 0 }
}

/// Asks both about flows that inside hosts begin, and about their answers.
fn compare<A: Address>(
    policy: &Policy,
    workers: u8,
    random: &mut ChaCha8Rng,
    [host, remote, pool]: [fn(u32) -> A; 3],
    icmp: Protocol,
) -> [u32; 8] {
    let owners =
        Owners::new(Arc::new(policy.clone()), Share::new(0, workers).expect("there is one"));
    let [inside, outside] = [INSIDE, OUTSIDE].map(|link| program(policy, link, workers));
    let mut seen = [0; 8];
    for _ in 0..2_000 {
        let [who, ports] = [random.next_u32(), random.next_u32()];
        let ports = [ports as u16, (ports >> 16) as u16];
        let protocol = [Protocol::TCP, Protocol::UDP][(who & 1) as usize];
        let sent = key(host(who >> 8), remote(who), protocol, ports);
        let (kind, bytes) = packet(&sent, (who & 3) as usize, None);
        let owner = owners.of_flow(&sent);
        assert_eq!(run(&inside, kind, &bytes), Some(owner.into()), "{sent:?}");
        seen[usize::from(owner)] += 1;
        let answer = key(remote(who), pool(who >> 4), protocol, ports);
        let (kind, bytes) = packet(&answer, (who & 3) as usize, None);
        assert_eq!(run(&outside, kind, &bytes), Some(owners.of_flow(&answer).into()), "{answer:?}");
        let reply = key(remote(who), pool(who >> 4), icmp, [0, ports[1]]);
        let (kind, bytes) = packet(&reply, 0, Some(ports[1]));
        assert_eq!(run(&outside, kind, &bytes), Some(owners.of_flow(&reply).into()), "{reply:?}");
    }
    seen
}

#[test]
fn the_kernel_is_told_what_the_owners_say() {
    let policy = some_policy();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for workers in 2..=8 {
        let hosts = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + 8 + n % 60_000);
        let remotes = |n: u32| Ipv4Addr::from_bits(0xc633_6400 + n % 200);
        let pools = |n: u32| {
            let last = if n.is_multiple_of(4) { 10 } else { 64 + n % 32 };
            Ipv4Addr::new(203, 0, 113, last as u8)
        };
        let seen = compare(&policy, workers, &mut random, [hosts, remotes, pools], Protocol::ICMP);
        let least = 2_000 / u32::from(workers) / 2;
        assert!(seen[..usize::from(workers)].iter().all(|count| *count > least), "{seen:?}");

        let hosts =
            |n: u32| Ipv6Addr::from_bits(0xfd00_0010 << 96 | u128::from(n) << 62 & u128::MAX >> 32);
        let remotes = |n: u32| Ipv6Addr::from_bits(0x2001_0db8_0001 << 80 | u128::from(n));
        let pools = |n: u32| Ipv6Addr::from_bits(0x2001_0db8_0007 << 80 | u128::from(n % 2048));
        compare(&policy, workers, &mut random, [hosts, remotes, pools], Protocol::ICMPV6);
    }
}

/// Pieces, errors, ports of blocks: whoever gets them hands them over.
#[test]
fn what_it_cannot_say_comes_to_some_worker() {
    let policy = some_policy();
    let program = program(&policy, OUTSIDE, 3);
    let flow = key(
        Ipv4Addr::new(198, 51, 100, 1),
        Ipv4Addr::new(203, 0, 113, 11),
        Protocol::UDP,
        [53, 2_000],
    );
    let (kind, mut bytes) = packet(&flow, 0, None);
    let by_source = run(&program, kind, &bytes).expect("it is a program");
    assert!(by_source < 3);
    bytes[19] = 10;
    bytes[6] = 0x20;
    assert_eq!(run(&program, kind, &bytes), Some(by_source), "a piece is not known by its port");
    for (kind, bytes) in [(0x0806, &[0; 28][..]), (0x0800, &[]), (0x86dd, &[0; 12])] {
        assert_eq!(run(&program, kind, bytes), Some(0));
    }
}

/// The kernel takes 4,096 instructions (BPF_MAXINSNS), and no jump that a byte cannot say.
#[test]
fn many_pools_make_no_program_too_long() {
    let pools: Vec<String> = (0..300)
        .map(|n| format!("{{ name = \"p{n}\", addresses = [\"2001:db8:7::{n:x}\"] }}"))
        .collect();
    let rules: Vec<String> = (0..300)
        .map(|n| {
            format!("{{ name = \"r{n}\", kind = \"source-nat\", source = [\"fd00:10:0:{n:x}::/64\"], pool = \"p{n}\" }}")
        })
        .collect();
    let policy = policy(&format!("pool = [{}]\nrule = [{}]", pools.join(","), rules.join(",")));
    let program = program(&policy, OUTSIDE, 2);
    assert!((1_000..4_096).contains(&program.len()), "{}", program.len());
    let last = key(
        Ipv6Addr::from_bits(1 << 100),
        "2001:db8:7::4".parse().expect("an address"),
        Protocol::UDP,
        [53, 4_002],
    );
    let (kind, bytes) = packet(&last, 0, None);
    assert_eq!(run(&program, kind, &bytes), Some(1));
}

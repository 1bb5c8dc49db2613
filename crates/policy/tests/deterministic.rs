//! The formula of RFC 7422 both ways: a host's ports name the host, and nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mooring_policy::{Allocation, Pool, load};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq};
use proptest::proptest;
use proptest::sample::select;

/// A deterministic pool of two prefixes that has room for all its hosts.
fn pools() -> impl Strategy<Value = Pool> {
    let lengths = (select(vec![28_u8, 30, 32]), select(vec![29_u8, 31, 32]));
    let ports = (1..=60_000_u16, 1..=5_500_u16);
    (lengths, ports, 1..=900_u16, 0..=4_u32, any::<bool>()).prop_filter_map(
        "no room for a host",
        |((one, two), (first, count), per_host, spare, is_v6)| {
            let addresses = (1_u32 << (32 - one)) + (1 << (32 - two));
            let slices = addresses * (u32::from(count) / u32::from(per_host));
            // As many hosts as there is room for, or fewer.
            let bits = slices.checked_ilog2()?.saturating_sub(spare);
            let (prefixes, source) = if is_v6 {
                let prefixes =
                    format!("\"2001:db8::/{}\", \"2001:db8:1::/{}\"", one + 96, two + 96);
                (prefixes, format!("fd00::/{}", 128 - bits))
            } else {
                let prefixes = format!("\"203.0.113.16/{one}\", \"198.51.100.0/{two}\"");
                (prefixes, format!("10.0.0.0/{}", 32 - bits))
            };
            let last = first + (count - 1);
            let text = format!(
                "[[interface]]\nname = \"i\"\ndevice = \"i0\"\naddresses = [\"192.0.2.1/24\"]\n\
                 [[pool]]\nname = \"d\"\naddresses = [{prefixes}]\nports = \"{first}-{last}\"\n\
                 allocation = {{ kind = \"deterministic\", source = \"{source}\", \
                 ports_per_host = {per_host} }}"
            );
            let loaded = load(&text).unwrap_or_else(|p| panic!("{text}\n{}", p.render("test")));
            Some(loaded.policy.pools[0].clone())
        },
    )
}

fn host(pool: &Pool, n: u32) -> IpAddr {
    match pool.addresses[0].addr() {
        IpAddr::V4(_) => Ipv4Addr::from_bits(0x0a00_0000 + n).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits((0xfd00_u128 << 112) + u128::from(n)).into(),
    }
}

proptest! {
    // RFC 7422 §2: "a given internal IPv4 address will always map to the same external address and
    // port range", and the reverse names it.
    #[test]
    fn the_slices_of_two_hosts_never_meet_and_name_their_host(pool in pools()) {
        let hosts: Vec<IpAddr> = (0..)
            .map(|n| host(&pool, n))
            .take_while(|host| pool.deterministic_slice(*host).is_some())
            .collect();
        let Allocation::Deterministic(plan) = &pool.allocation else { unreachable!("the pool is") };
        prop_assert_eq!(plan.hosts(), hosts.len() as u128, "all hosts of the prefix");
        let mut before: Option<(u32, u16)> = None;
        for host in hosts {
            let (outside, ports) = pool.deterministic_slice(host).expect("it has a slice");
            prop_assert!(pool.ports.contains(ports.start()) && pool.ports.contains(ports.end()));
            for port in [*ports.start(), ports.start() + (ports.end() - ports.start()) / 2, *ports.end()] {
                prop_assert_eq!(pool.deterministic_host(outside, port), Some(host));
            }
            // In order, so that comparing with the one before compares with all.
            let index = pool.index_of(outside).expect("an address of the pool");
            prop_assert!(before < Some((index, *ports.start())));
            before = Some((index, *ports.end()));
        }
    }

    #[test]
    fn a_port_is_of_the_host_that_it_names_or_of_nobody(
        pool in pools(),
        address in any::<u16>(),
        port in any::<u16>(),
    ) {
        let outside = pool.nth_address(u32::from(address) % pool.address_count());
        let outside = outside.expect("the pool has it");
        if let Some(host) = pool.deterministic_host(outside, port) {
            let (back, ports) = pool.deterministic_slice(host).expect("a host of the pool");
            prop_assert_eq!(back, outside);
            prop_assert!(ports.contains(&port));
        }
    }
}

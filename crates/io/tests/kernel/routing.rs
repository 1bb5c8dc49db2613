//! Addresses and routes as a real kernel has them, and news of their changes.

use mooring_io::routing::{Changes, DeviceRouting, devices};

use crate::lab::{isolated, shell};

fn eth0() -> DeviceRouting {
    let devices = devices().expect("readable without privilege");
    devices.into_iter().find(|device| device.link.name == "eth0").expect("the test has made it")
}

/// As a Pod has it: one address without a network, and a router outside of it.
#[test]
fn a_pods_device_is_read_as_it_is() {
    isolated("routing::a_pods_device_is_read_as_it_is", || {
        shell(
            "ip link add eth0 type veth peer name far
             echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
             ip link set eth0 up mtu 1400; ip link set far up
             ip address add 10.4.0.7/32 dev eth0
             ip address add 2001:db8::7/64 dev eth0
             ip route add 169.254.1.1 dev eth0
             ip route add default via 169.254.1.1 dev eth0
             ip route add default via 169.254.1.1 dev eth0 metric 50
             ip route add 192.0.2.0/24 via 169.254.1.1 dev eth0 table 77",
        );
        let eth0 = eth0();
        assert_eq!(eth0.link.mtu, 1400);
        let addresses: Vec<String> = eth0.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.4.0.7/32", "2001:db8::7/64"]);
        let routes: Vec<String> =
            eth0.routes.iter().map(|(to, via)| format!("{to} {via:?}")).collect();
        let expected = ["0.0.0.0/0 Some(169.254.1.1)", "169.254.1.1/32 None", "2001:db8::/64 None"];
        assert_eq!(routes, expected);
    });
}

#[test]
fn changes_are_told() {
    isolated("routing::changes_are_told", || {
        shell("ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up");
        let changes = Changes::watch().expect("netlink needs no privilege");
        while changes.any().expect("the socket is whole") {}
        for change in [
            "ip address add 10.4.0.7/24 dev eth0",
            "ip route add 192.0.2.0/24 via 10.4.0.1",
            "ip link set eth0 mtu 1300",
            "ip address del 10.4.0.7/24 dev eth0",
        ] {
            shell(change);
            assert!(changes.any().expect("the socket is whole"), "not told of: {change}");
        }
        assert!(eth0().addresses.iter().all(|address| address.addr().is_ipv6()));
    });
}

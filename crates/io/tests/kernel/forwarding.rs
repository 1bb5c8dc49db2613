//! The guard against a kernel that really forwards.

use std::env;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use ipnet::IpNet;
use mooring_io::af_packet;
use mooring_io::kernel_forwarding::{
    Guard, GuardError, IngressDrop, LocalPrefixes, Reason, would_forward,
};
use mooring_packet::{Batch, Receive};
use rustix::thread::CapabilitySet;

use crate::lab::{answers, isolated, shell, within, without};

/// The kernel in the middle is a router between `client` and `server`, and has a second address that
/// is its own business.
const ROUTER: &str = "
    echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
    for namespace in client server; do
        ip netns add $namespace
        ip netns exec $namespace sh -c '
            echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
            echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
            echo 0 > /proc/sys/net/ipv6/icmp/ratelimit'
    done
    ip link add in0 type veth peer name c0 netns client
    ip link add out0 type veth peer name s0 netns server
    ip address add 10.0.0.1/24 dev in0
    ip address add 10.0.0.9/24 dev in0
    ip address add fd00:10::1/64 dev in0
    ip address add fd00:10::9/64 dev in0
    ip address add 192.0.2.1/24 dev out0
    ip address add 2001:db8:1::1/64 dev out0
    ip link set in0 up
    ip link set out0 up
    ip -n client address add 10.0.0.2/24 dev c0
    ip -n client address add fd00:10::2/64 dev c0
    ip -n client link set c0 up
    ip -n client route add default via 10.0.0.1
    ip -n client route add default via fd00:10::1
    ip -n server address add 192.0.2.2/24 dev s0
    ip -n server address add 2001:db8:1::2/64 dev s0
    ip -n server link set s0 up
    ip -n server route add default via 192.0.2.1
    ip -n server route add default via 2001:db8:1::1
    echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
    echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
";

const DEVICES: [&str; 2] = ["in0", "out0"];
const SERVER: [&str; 2] = ["192.0.2.2", "2001:db8:1::2"];
const OURS: [&str; 2] = ["10.0.0.1", "fd00:10::1"];
const THE_KERNELS: [&str; 2] = ["10.0.0.9", "fd00:10::9"];

/// Those of `targets` that answer the client.
fn seen_by_client<'t>(targets: &[&'t str]) -> Vec<&'t str> {
    let reachable = |target: &&&str| {
        let target: IpAddr = target.parse().expect("an address");
        within("client", || answers(target))
    };
    targets.iter().filter(reachable).copied().collect()
}

fn owned() -> Vec<IpNet> {
    let all = OURS.into_iter().chain(["203.0.113.10", "192.0.2.128", "2001:db8:64::1"]);
    let mut owned: Vec<IpNet> =
        all.map(|address| address.parse::<IpAddr>().expect("an address").into()).collect();
    owned.push("198.51.100.0/28".parse().expect("a prefix"));
    owned.push("2001:db8:77::/49".parse().expect("a prefix"));
    owned
}

fn local() -> LocalPrefixes {
    LocalPrefixes::read().expect("readable without privilege")
}

fn check(owned: &[IpNet], allow: bool) -> Result<Guard, GuardError> {
    Guard::check(&DEVICES, owned, &local(), allow)
}

#[test]
fn nothing_passes_the_kernel_while_the_guard_lives() {
    isolated("forwarding::nothing_passes_the_kernel_while_the_guard_lives", || {
        shell(ROUTER);
        assert_eq!(seen_by_client(&SERVER), SERVER, "the kernel forwards at first");
        assert_eq!(seen_by_client(&OURS), OURS);

        let guard = check(&owned(), false).expect("root may install it");
        assert!(
            matches!(&guard, Guard::Installed { reasons, .. } if reasons.len() == 5),
            "{guard}"
        );
        assert_eq!(seen_by_client(&SERVER), [""; 0], "nothing is forwarded");
        assert_eq!(seen_by_client(&OURS), [""; 0], "nothing answers for our addresses");
        assert_eq!(seen_by_client(&THE_KERNELS), THE_KERNELS, "the kernel keeps its own life");

        drop(guard);
        assert_eq!(seen_by_client(&SERVER), SERVER, "it leaves nothing behind");
        assert_eq!(seen_by_client(&OURS), OURS);
    });
}

#[test]
fn a_packet_socket_sees_what_the_kernel_does_not() {
    isolated("forwarding::a_packet_socket_sees_what_the_kernel_does_not", || {
        shell(ROUTER);
        let _drop = IngressDrop::install(&DEVICES, &owned()).expect("root may install it");
        let (mut receiver, _, _) = af_packet::open("in0").expect("in0 is up");
        let target: IpAddr = SERVER[0].parse().expect("an address");
        assert!(!within("client", || answers(target)));
        let mut batch = Batch::new();
        receiver.receive(&mut batch).expect("in0 is up");
        let is_probe = |frame: &[u8]| frame[12..14] == [8, 0] && frame[30..34] == [192, 0, 2, 2];
        let probes = batch.packets().iter().filter(|packet| is_probe(packet.bytes()));
        assert_eq!(probes.count(), 3);
    });
}

#[test]
fn a_killed_process_leaves_no_table() {
    isolated("forwarding::a_killed_process_leaves_no_table", || {
        shell(ROUTER);
        let mut holder = Command::new(env::current_exe().expect("the test binary has a path"))
            .args(["--exact", "forwarding::hold_the_guard", "--nocapture"])
            .env(HOLD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary starts");
        let output = BufReader::new(holder.stdout.take().expect("it was asked for"));
        assert!(output.lines().map_while(Result::ok).any(|line| line.ends_with(INSTALLED)));
        assert_eq!(seen_by_client(&SERVER), [""; 0]);
        holder.kill().expect("it runs"); // SIGKILL
        holder.wait().expect("it was killed");
        assert_eq!(seen_by_client(&SERVER), SERVER);
    });
}

/// Not a test unless started as the process that [`a_killed_process_leaves_no_table`] kills.
#[test]
fn hold_the_guard() {
    if env::var_os(HOLD).is_some() {
        let _drop = IngressDrop::install(&DEVICES, &owned()).expect("root may install it");
        println!("{INSTALLED}");
        thread::sleep(Duration::from_secs(60));
    }
}

const HOLD: &str = "MOORING_IO_TEST_HOLD";
const INSTALLED: &str = "the ingress drop is installed";

#[test]
fn without_permission_it_refuses_and_says_how_to_go_on() {
    isolated("forwarding::without_permission_it_refuses_and_says_how_to_go_on", || {
        shell(ROUTER);
        let unable = |allow| without(CapabilitySet::NET_ADMIN, move || check(&owned(), allow));
        let error = unable(false).expect_err("it may not install");
        assert!(matches!(error, GuardError::Refused { .. }));
        let (text, hint) = (error.to_string(), error.hint().expect("there are ways out"));
        assert!(text.contains("net.ipv4.conf.in0.forwarding is on"), "{text}");
        assert!(text.contains("the kernel holds 10.0.0.1/32 itself"), "{text}");
        assert!(hint.contains("[NET_ADMIN]"), "{hint}");
        assert!(matches!(unable(true), Ok(Guard::Overridden(reasons)) if reasons.len() == 5));
    });
}

/// The settings that are read are those that the kernel goes by.
#[test]
fn the_reasons_are_what_the_kernel_does() {
    isolated("forwarding::the_reasons_are_what_the_kernel_does", || {
        shell(ROUTER);
        let forwards = |setting: &str| Reason::Forwards { setting: setting.to_owned() };
        let reasons = || would_forward(&DEVICES, &[], &local()).expect("root may read them");
        assert_eq!(
            reasons(),
            [
                "net.ipv4.conf.in0.forwarding",
                "net.ipv4.conf.out0.forwarding",
                "net.ipv6.conf.all.forwarding"
            ]
            .map(forwards)
        );

        // IPv4: `all` alone does not forward. IPv6: the device's own alone does not.
        shell(
            "cd /proc/sys/net
             echo 0 > ipv4/conf/in0/forwarding; echo 0 > ipv4/conf/out0/forwarding
             echo 0 > ipv6/conf/all/forwarding
             echo 1 > ipv6/conf/in0/forwarding; echo 1 > ipv6/conf/out0/forwarding",
        );
        assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("there"), "1\n");
        assert_eq!(reasons(), []);
        assert_eq!(seen_by_client(&SERVER), [""; 0]);
        assert!(matches!(check(&[], false), Ok(Guard::NotNeeded)));

        if fs::exists("/proc/sys/net/ipv6/conf/in0/force_forwarding").is_ok_and(|there| there) {
            shell(
                "for d in in0 out0; do echo 1 > /proc/sys/net/ipv6/conf/$d/force_forwarding; done",
            );
            assert_eq!(
                reasons(),
                ["net.ipv6.conf.in0.force_forwarding", "net.ipv6.conf.out0.force_forwarding"]
                    .map(forwards)
            );
            assert_eq!(seen_by_client(&SERVER), [SERVER[1]]);
        }
    });
}

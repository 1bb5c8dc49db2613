//! TAP devices, with the real kernel at the other end.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mooring_io::tap::{self, Delivered, OpenError, Tap};
use mooring_packet::{Batch, Receive, Transmit};

use crate::lab::{isolated, output, shell, within};

fn one() -> NonZeroU8 {
    NonZeroU8::MIN
}

#[test]
fn the_device_is_set_up_and_vanishes_with_its_queues() {
    isolated("tap::the_device_is_set_up_and_vanishes_with_its_queues", || {
        let tap = tap::create("in0", NonZeroU8::new(2).expect("two"), Some(1400)).expect("root");
        assert_eq!((tap.queues.len(), tap.link.mtu), (2, 1400));
        let shown = output("ip link show in0");
        assert!(shown.contains("UP") && shown.contains("mtu 1400"), "{shown}");
        assert!(!shown.contains(&tap.link.mac.to_string()), "the kernel's end has its own address");
        let addresses = output("ip -6 address show in0");
        assert!(!addresses.contains("inet6"), "the kernel makes itself no address: {addresses}");
        let again = tap::create("in0", one(), None).err().expect("it is there already");
        assert!(matches!(again, OpenError::Exists { .. }), "{again}");
        drop(tap);
        assert_eq!(output("ip link show in0 2>/dev/null"), "");
        assert!(tap::create("in0", one(), None).is_ok(), "made again after it is gone");
    });
}

#[test]
fn delivered_addresses_come_and_go_and_old_rules_are_deleted() {
    isolated("tap::delivered_addresses_come_and_go_and_old_rules_are_deleted", || {
        // What a process that was killed has left: the rule of a device that is gone.
        shell("ip rule add from 203.0.113.99 priority 10900 table 1099999 protocol 109");
        let mut tap = tap::create("pod0", one(), None).expect("root");
        assert!(!output("ip rule show").contains("203.0.113.99"));
        let delivered = |address: &str, router: &str| Delivered {
            address: address.parse().expect("an address"),
            router: router.parse().expect("an address"),
        };
        let wanted = [delivered("203.0.113.20", "10.9.0.1"), delivered("2001:db8::20", "fd09::1")];
        tap.kernel.deliver(&wanted).expect("root may");
        let route = output("ip route get 198.51.100.1 from 203.0.113.20");
        assert!(route.contains("via 10.9.0.1 dev pod0"), "{route}");
        let route = output("ip -6 route get 2001:db8:9::1 from 2001:db8::20");
        assert!(route.contains("via fd09::1 dev pod0"), "{route}");
        tap.kernel.deliver(&wanted[1..]).expect("root may");
        assert!(!output("ip address show pod0").contains("203.0.113.20"));
        drop(tap);
        let rules = output("ip rule show; ip -6 rule show");
        assert!(!rules.contains("203.0.113") && !rules.contains("2001:db8"), "{rules}");
    });
}

/// The kernel counts what it loses for the device, not for its queues; the sum is shown.
#[test]
fn what_two_queues_lose_is_counted_once() {
    isolated("tap::what_two_queues_lose_is_counted_once", || {
        let mut tap = tap::create("t0", NonZeroU8::new(2).expect("two"), None).expect("root");
        shell("ip address add 10.0.0.1/24 dev t0");
        shell("ip neighbour add 10.0.0.2 lladdr 02:00:00:00:00:09 dev t0");
        let socket = UdpSocket::bind("10.0.0.1:0").expect("the address is ours");
        for _ in 0..OVERFULL {
            // The kernel may say at once that it has no room.
            let _ = socket.send_to(b"x", "10.0.0.2:9");
        }
        let dropped = tx_dropped("t0");
        assert!(dropped > 0, "the device is not overfull");
        let mut sum = || tap.queues.iter_mut().map(|(rx, _)| rx.lost()).sum::<u64>();
        assert_eq!(sum(), dropped);
        shell("ip link del t0");
        assert_eq!(sum(), dropped, "what is known stays when the kernel does not say");
    });
}

/// What the kernel says of a device: received in 8 columns, then sent.
fn tx_dropped(device: &str) -> u64 {
    let table = fs::read_to_string("/proc/net/dev").expect("it is always there");
    let mut rows = table.lines().filter_map(|line| line.trim().split_once(':'));
    let (_, numbers) = rows.find(|(name, _)| *name == device).expect("the device is there");
    let dropped = numbers.split_whitespace().nth(8 + 3).expect("it has 16 columns");
    dropped.parse().expect("a number")
}

/// More frames than the kernel queues for the readers of a TAP device (`txqueuelen`).
const OVERFULL: usize = 5_000;

/// Two devices joined by us frame for frame: the kernels behind them exchange megabytes by TCP, in
/// super-packets.
#[test]
fn super_packets_pass_whole_in_both_directions() {
    isolated("tap::super_packets_pass_whole_in_both_directions", || {
        shell("ip netns add left; ip netns add right");
        let mut left = within("left", || tap::create("t0", one(), None).expect("root"));
        let mut right = within("right", || tap::create("t0", one(), None).expect("root"));
        shell(
            "ip -n left address add 10.0.0.1/24 dev t0; ip -n right address add 10.0.0.2/24 dev t0",
        );
        let stop = AtomicBool::new(false);
        let longest = thread::scope(|scope| {
            let bridge = scope.spawn(|| bridge(&mut left, &mut right, &stop));
            let listener =
                within("right", || TcpListener::bind("10.0.0.2:80").expect("the address is ours"));
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("the client connects");
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("all of it arrives");
                stream.write_all(&bytes[..1_000_000]).expect("the client reads");
                bytes.len()
            });
            let sent = within("left", || {
                let mut stream = TcpStream::connect("10.0.0.2:80").expect("the server listens");
                stream.write_all(&vec![7; 4_000_000]).expect("the server reads");
                stream.shutdown(std::net::Shutdown::Write).expect("a socket");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("all of it arrives");
                answer.len()
            });
            assert_eq!(
                (sent, server.join().expect("the server ends well")),
                (1_000_000, 4_000_000)
            );
            stop.store(true, Ordering::Relaxed);
            bridge.join().expect("the bridge ends well")
        });
        assert!(longest > 10_000, "no super-packet came: {longest} bytes at most");
    });
}

/// Carries frames until told to stop; the length of the longest.
fn bridge(left: &mut Tap, right: &mut Tap, stop: &AtomicBool) -> usize {
    let mut longest = 0;
    let [(left_rx, left_tx), (right_rx, right_tx)] = [left, right].map(|tap| {
        let (rx, tx) = &mut tap.queues[0];
        (rx, tx)
    });
    while !stop.load(Ordering::Relaxed) {
        for (rx, tx) in [(&mut *left_rx, &mut *right_tx), (&mut *right_rx, &mut *left_tx)] {
            let mut batch = Batch::new();
            rx.receive(&mut batch).expect("the device is there");
            longest = batch.packets().iter().map(|packet| packet.len()).fold(longest, usize::max);
            tx.transmit(batch.packets().iter());
        }
    }
    longest
}

//! The plain TAP backend and the seam before it: what the seam makes of super-packets has to convince a
//! real kernel.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mooring_io::port::{AnyReceiver, AnySender};
use mooring_io::seam::Seam;
use mooring_io::{tap, tun_tap};
use mooring_packet::offload::GsoKind;
use mooring_packet::{Batch, Offload, Packet, Receive, Transmit};
use mooring_wire::ethernet::{self, EtherType};
use mooring_wire::{Mac, Protocol, checksum, ipv4, udp};

use crate::lab::{isolated, shell, within};

/// A kernel that sends super-packets, and one behind a device that takes none: TCP in both directions
/// and both families, every checksum right.
#[test]
fn a_kernel_takes_the_segments_of_another() {
    isolated("tun_tap::a_kernel_takes_the_segments_of_another", || {
        shell("ip netns add left; ip netns add right");
        let tap = within("left", || tap::create("t0", NonZeroU8::MIN, None)).expect("root");
        let plain = within("right", || tun_tap::create("t0", None)).expect("root");
        shell(
            "ip -n left address add 10.0.0.1/24 dev t0; ip -n right address add 10.0.0.2/24 dev t0
             ip -n left address add fd00::1/64 dev t0 nodad
             ip -n right address add fd00::2/64 dev t0 nodad",
        );
        let tap::Tap { mut queues, abilities, kernel: _left, .. } = tap;
        let (receiver, sender) = queues.pop().expect("one for the worker");
        let left = (AnyReceiver::Tap(receiver), AnySender::Tap(Seam::new(sender, abilities)));
        let tun_tap::TunTap { receiver, sender, kernel: _right, .. } = plain;
        let seam = Seam::new(sender, tun_tap::ABILITIES);
        let right = (AnyReceiver::TunTap(receiver), AnySender::TunTap(seam));
        let stop = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let bridge = scope.spawn(|| bridge(left, right, &stop));
            for address in ["10.0.0.2", "fd00::2"] {
                exchange(address.parse().expect("an address"));
            }
            stop.store(true, Ordering::Relaxed);
            bridge.join().expect("the bridge ends well")
        });
        assert!(seen.cut > 20, "super-packets were cut: {seen:?}");
        assert_eq!(seen.offered_by_plain, 0, "the plain device offers whole frames: {seen:?}");
        assert_eq!(seen.refused, 0, "{seen:?}");
        within("right", || {
            let (v4, v6) =
                (counter("/proc/thread-self/net/snmp", "InCsumErrors"), csum_errors_v6());
            assert_eq!((v4, v6), (0, 0), "segments with a wrong checksum");
        });
    });
}

/// What the bridge has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Super-packets on their way to the plain device.
    cut: u64,
    /// Packets from it that leave something to do.
    offered_by_plain: u64,
    refused: u64,
}

/// Carries frames until told to stop.
fn bridge(
    (mut left_in, mut left_out): (AnyReceiver, AnySender),
    (mut right_in, mut right_out): (AnyReceiver, AnySender),
    stop: &AtomicBool,
) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Batch::new();
        left_in.receive(&mut batch).expect("the device is there");
        seen.cut += batch.packets().iter().filter(|packet| packet.offload.is_gso()).count() as u64;
        seen.refused += right_out.transmit(batch.packets().iter()).refused;
        let mut batch = Batch::new();
        right_in.receive(&mut batch).expect("the device is there");
        let offers = batch.packets().iter().filter(|packet| packet.offload != Offload::NONE);
        seen.offered_by_plain += offers.count() as u64;
        seen.refused += left_out.transmit(batch.packets().iter()).refused;
    }
    seen
}

/// Megabytes to the server in `right`, and back again.
fn exchange(server: IpAddr) {
    let listener = within("right", || TcpListener::bind((server, 80)).expect("its own address"));
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("all of it arrives");
        stream.write_all(&bytes).expect("the client reads");
    });
    let sent: Vec<u8> = (0..TRANSFER).map(|n| (n / 7) as u8).collect();
    let mut stream = within("left", || TcpStream::connect((server, 80)).expect("it listens"));
    stream.write_all(&sent).expect("the server reads");
    stream.shutdown(Shutdown::Write).expect("the stream is open");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("all of it arrives");
    echo.join().expect("the server ends well");
    assert!(back == sent, "{server}: bytes come back as sent");
}

/// The sum of a column of `/proc/net/snmp` over all protocols.
fn counter(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).expect("the kernel counts");
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    let tables = lines.chunks_exact(2);
    let column = |table: &[Vec<&str>]| {
        let at = table[0].iter().position(|column| *column == name)?;
        table[1][at].parse::<u64>().ok()
    };
    tables.filter_map(column).sum()
}

fn csum_errors_v6() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp6").expect("the kernel counts");
    let errors = text.lines().filter(|line| line.contains("InCsumErrors"));
    errors.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// A super-packet of datagrams arrives as the datagrams that it stands for.
#[test]
fn a_kernel_takes_datagrams_one_by_one() {
    isolated("tun_tap::a_kernel_takes_datagrams_one_by_one", || {
        let mut plain = tun_tap::create("t0", None).expect("root");
        shell("ip address add 10.0.0.2/24 dev t0");
        let socket = UdpSocket::bind("10.0.0.2:4500").expect("its own address");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a positive time");
        let mut frame = super_packet(&(0..250).collect::<Vec<u8>>());
        let offload = Offload::partial_checksum(34, 6).with_gso(GsoKind::UdpL4, 100, 42);
        let len = frame.len();
        let packet = Packet::new(&mut frame, 0, len, offload);
        let mut seam = Seam::new(plain.sender, tun_tap::ABILITIES);
        let done = seam.transmit(std::iter::once(&packet));
        assert_eq!((done.packets, done.refused), (3, 0));
        let mut arrived = Vec::new();
        for _ in 0..3 {
            let mut buffer = [0; 500];
            let len = socket.recv(&mut buffer).expect("the checksum is right");
            arrived.push(buffer[..len].to_vec());
        }
        let lengths: Vec<usize> = arrived.iter().map(Vec::len).collect();
        assert_eq!(lengths, [100, 100, 50]);
        assert_eq!(arrived.concat(), (0..250).collect::<Vec<u8>>());
        assert_eq!(plain.receiver.lost(), 0);
    });
}

/// UDP from 10.0.0.1 to 10.0.0.2, port 4500; its checksum is left to do.
fn super_packet(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 42];
    frame.extend(payload);
    let len = (8 + payload.len()) as u16;
    let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    ethernet::emit(&mut frame, Mac([0xff; 6]), Mac([2, 0, 0, 0, 0, 1]), EtherType::IPV4);
    let ip = ipv4::Emit {
        source,
        destination,
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0,
        identification: 1,
        dont_fragment: true,
        payload_len: len,
    };
    ip.emit(&mut frame[14..]);
    udp::emit(&mut frame[34..], 4500, 4500, 0);
    let pseudo = checksum::pseudo_v4(source, destination, Protocol::UDP, len);
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

const TRANSFER: usize = 3_000_000;

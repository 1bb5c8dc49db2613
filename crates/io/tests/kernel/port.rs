//! Packet sockets between real devices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU8;
use std::process::Command;
use std::thread;
use std::time::Duration;

use etherparse::PacketBuilder;
use mooring_io::af_packet::{self, Groups, OpenError, Receiver, Sender, sock_filter};
use mooring_io::link::{Link, LinkError, Operation};
use mooring_packet::{Batch, Offload, Packet, Receive, Received, Transmit, Transmitted};
use mooring_wire::Mac;
use rustix::thread::CapabilitySet;

use crate::lab::{isolated, shell, within, without};

/// Two quiet devices, one in the namespace `peer`.
pub(crate) const WIRE: &str = "
    ip netns add peer
    ip link add a0 type veth peer name b0 netns peer
    echo 1 > /proc/sys/net/ipv6/conf/a0/disable_ipv6
    ip netns exec peer sh -c 'echo 1 > /proc/sys/net/ipv6/conf/b0/disable_ipv6'
    ip link set a0 up
    ip -n peer link set b0 up
";

fn wire() -> ((Receiver, Sender), (Receiver, Sender)) {
    shell(WIRE);
    let open = |device: &str| {
        let (receiver, sender, link) = af_packet::open(device).expect("it is up");
        assert_eq!(link.name, device);
        (receiver, sender)
    };
    (open("a0"), within("peer", || open("b0")))
}

/// A frame of `len` bytes of a protocol that no kernel speaks.
pub(crate) fn frame(len: usize, fill: u8) -> Vec<u8> {
    let mut frame = vec![fill; len];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]); // local experimental (IEEE 802)
    frame
}

pub(crate) fn send(sender: &mut Sender, frames: &mut [Vec<u8>]) -> Transmitted {
    let as_packet = |frame| {
        let frame: &mut Vec<u8> = frame;
        let len = frame.len();
        Packet::new(frame, 0, len, Offload::NONE)
    };
    let packets: Vec<Packet<'_>> = frames.iter_mut().map(as_packet).collect();
    sender.transmit(packets.iter())
}

pub(crate) fn receive(receiver: &mut Receiver) -> (Received, Vec<Vec<u8>>) {
    let mut batch = Batch::new();
    let received = receiver.receive(&mut batch).expect("the device is there");
    (received, batch.packets().iter().map(|packet| packet.bytes().to_vec()).collect())
}

/// Past the queueing discipline the kernel drops what it has to cut itself.
#[test]
fn a_device_that_cannot_cut_has_the_kernel_do_it() {
    isolated("port::a_device_that_cannot_cut_has_the_kernel_do_it", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        shell("ethtool -K a0 tx-udp-segmentation off gso off");
        a_out.set_coalescing(true);
        for round in 0..3 {
            let mut frames: Vec<_> = (0..10).map(|n| datagram_of(100 - n / 9)).collect();
            let packets: Vec<Packet<'_>> = frames
                .iter_mut()
                .map(|frame| {
                    let len = frame.len();
                    Packet::new(frame, 0, len, Offload::verified())
                })
                .collect();
            let done = a_out.transmit(packets.iter());
            assert_eq!((done.packets, done.coalesced, done.refused), (10, 10, 0), "{round}");
            let expected = [[142; 9].as_slice(), &[141]].concat();
            assert_eq!(lengths(&mut b_in), expected, "{round}");
            // By the last round it is tried past the queueing discipline again.
            for n in 0..if round == 1 { 5000 } else { 0 } {
                assert_eq!(send(&mut a_out, &mut [frame(60, n as u8)]).packets, 1);
                assert_eq!(lengths(&mut b_in), [60]);
            }
        }
    });
}

fn lengths(receiver: &mut Receiver) -> Vec<usize> {
    let mut lengths = Vec::new();
    loop {
        let (_, frames) = receive(receiver);
        if frames.is_empty() {
            return lengths;
        }
        lengths.extend(frames.iter().map(Vec::len));
    }
}

/// Of so many bytes of UDP.
fn datagram_of(len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0xff; 6]);
    let mut bytes = Vec::new();
    let builder = builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 60).udp(4_000, 53);
    builder.write(&mut bytes, &vec![7; len]).expect("a vector takes it");
    bytes
}

#[test]
fn frames_cross_in_order() {
    isolated("port::frames_cross_in_order", || {
        let ((mut a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut frames: Vec<_> = (0..150).map(|n| frame(60 + n, n as u8)).collect();
        let total = frames.iter().map(|frame| frame.len() as u64).sum();
        let done = send(&mut a_out, &mut frames);
        assert_eq!(done, Transmitted { packets: 150, bytes: total, ..Transmitted::default() });
        let mut seen = Vec::new();
        loop {
            let (received, frames) = receive(&mut b_in);
            assert_eq!((received.packets as usize, received.truncated), (frames.len(), 0));
            if frames.is_empty() {
                break;
            }
            seen.extend(frames);
        }
        assert_eq!(seen, frames);
        assert_eq!(receive(&mut a_in).1, Vec::<Vec<u8>>::new(), "what we send is not received");
    });
}

/// TCP between two kernels, offloads on, through two ports that know nothing of it.
#[test]
fn super_packets_pass_whole() {
    isolated("port::super_packets_pass_whole", || {
        shell(
            "for n in left right; do
                 ip netns add $n
                 ip link add $n type veth peer name e0 netns $n
                 ip link set $n up
                 ip -n $n link set e0 up
             done
             ip -n left address add 10.0.0.1/24 dev e0
             ip -n right address add 10.0.0.2/24 dev e0",
        );
        let (mut left_in, mut left_out, _) = af_packet::open("left").expect("it is up");
        let (mut right_in, mut right_out, _) = af_packet::open("right").expect("it is up");
        let listener = within("right", || TcpListener::bind("10.0.0.2:80").expect("a free port"));
        let server = thread::spawn(move || {
            let mut bytes = Vec::new();
            listener.accept().expect("a client comes").0.read_to_end(&mut bytes).expect("it sends");
            bytes
        });
        let sent: Vec<u8> = (0..TRANSFER).map(|n| (n / 7) as u8).collect();
        let copy = sent.clone();
        let client = thread::spawn(move || {
            let mut stream =
                within("left", || TcpStream::connect("10.0.0.2:80").expect("a server"));
            stream.write_all(&copy).expect("the server reads");
            stream.shutdown(Shutdown::Write).expect("the stream is open");
        });
        let mut seen = Seen::default();
        while !(client.is_finished() && server.is_finished()) {
            seen.pass(&mut left_in, &mut right_out);
            seen.pass(&mut right_in, &mut left_out);
        }
        assert!(server.join().expect("the server ends well") == sent, "bytes arrive as sent");
        assert!(seen.longest > 32_768, "{seen:?}");
        assert!(seen.partial > 100 && seen.super_packets > 100, "{seen:?}");
        assert!(seen.packets < TRANSFER as u64 / 1448, "segments were not cut: {seen:?}");
        println!("{seen:?}, refused and lost: {:?}", (seen.refused, left_in.lost()));
    });
}

const TRANSFER: usize = 50_000_000;

#[derive(Debug, Default)]
struct Seen {
    packets: u64,
    super_packets: u64,
    partial: u64,
    longest: usize,
    refused: u64,
}

impl Seen {
    fn pass(&mut self, from: &mut Receiver, to: &mut Sender) {
        let mut batch = Batch::new();
        from.receive(&mut batch).expect("the device is there");
        for packet in batch.packets() {
            self.packets += 1;
            self.super_packets += u64::from(packet.offload.is_gso());
            self.partial += u64::from(packet.offload.partial().is_some());
            self.longest = self.longest.max(packet.len());
        }
        self.refused += to.transmit(batch.packets().iter()).refused;
    }
}

/// Frames that fit in a slot of the ring and frames that do not take different ways in.
#[test]
fn short_and_long_frames_keep_their_order() {
    isolated("port::short_and_long_frames_keep_their_order", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        shell("ip link set a0 mtu 9000; ip -n peer link set b0 mtu 9000");
        for round in 0..20 {
            let len = |n: usize| 60 + (n * n * 37 + round) % 8_900;
            let mut frames: Vec<_> = (0..200).map(|n| frame(len(n), n as u8)).collect();
            assert_eq!(send(&mut a_out, &mut frames).packets, 200);
            let mut seen = Vec::new();
            while seen.len() < 200 {
                let (received, frames) = receive(&mut b_in);
                assert!(received.packets > 0 && received.truncated == 0, "{received:?}");
                seen.extend(frames);
            }
            assert!(seen == frames, "round {round}");
        }
    });
}

/// The kernel takes the tag off; the frame shows it as it was on the wire.
#[test]
fn a_tagged_frame_keeps_its_tag() {
    isolated("port::a_tagged_frame_keeps_its_tag", || {
        let ((_a_in, mut a_out), (mut b_in, mut b_out)) = wire();
        shell("ip link set a0 mtu 9000; ip -n peer link set b0 mtu 9000");
        let tagged = |len, kind: [u8; 2]| {
            let mut tagged = frame(len, 1);
            tagged[12..18].copy_from_slice(&[kind[0], kind[1], 0xa0, 0x05, 0x88, 0xb5]);
            tagged
        };
        let mut frames = [
            frame(60, 1),
            tagged(64, [0x81, 0x00]),
            tagged(4_000, [0x81, 0x00]),
            tagged(64, [0x88, 0xa8]),
            frame(60, 2),
        ];
        assert_eq!(send(&mut a_out, &mut frames).packets, 5);
        let mut batch = Batch::new();
        b_in.receive(&mut batch).expect("the device is there");
        let seen: Vec<_> = batch.packets().iter().map(Packet::bytes).collect();
        assert_eq!(seen, frames);
        assert!(batch.packets().iter().all(|p| p.headroom() >= mooring_packet::HEADROOM));
        assert_eq!(b_out.transmit(batch.packets().iter()).packets, 5, "it leaves as it came");
    });
}

/// A frame goes to the member that the program names, of the order in which they were opened, and arrives
/// once; without a program to the first.
#[test]
fn a_group_shares_the_frames_of_a_device() {
    isolated("port::a_group_shares_the_frames_of_a_device", || {
        shell(WIRE);
        let (_b_in, mut b_out) =
            within("peer", || af_packet::open("b0").map(|(rx, tx, _)| (rx, tx))).expect("it is up");
        let three = NonZeroU8::new(3).expect("not zero");
        let opened = af_packet::open_group("a0", three).expect("it is up");
        let (mut group, fan_out) = (opened.halves, opened.fan_out.expect("there are three"));
        let denied = af_packet::open("a0").err().expect("one claim for the group");
        assert!(matches!(denied, OpenError::InUse { .. }), "{denied}");
        let mut frames: Vec<_> = (0..240).map(|n| datagram(1_000 + n)).collect();
        let mut shares = || {
            assert_eq!(send(&mut b_out, &mut frames).packets, 240);
            [0, 1, 2].map(|member| receive(&mut group[member].0).1)
        };
        assert_eq!(shares().map(|frames| frames.len()), [240, 0, 0]);
        fan_out.share_out(BY_SOURCE_PORT).expect("it is a program");
        let fallen = [sock_filter { code: 0x05, jt: 0, jf: 0, k: 7 }];
        let refused = fan_out.share_out(fallen).err().and_then(|error| error.raw_os_error());
        assert_eq!(refused, Some(libc::EINVAL), "it jumps out of itself");
        for (member, frames) in shares().into_iter().enumerate() {
            let ports = (1_000..1_240).filter(|port| port % 3 == member as u16);
            assert_eq!(frames, ports.map(datagram).collect::<Vec<_>>());
        }
    });
}

/// The port of a datagram over IPv4; what the kernel takes modulo the members.
const BY_SOURCE_PORT: [sock_filter; 3] = [
    sock_filter { code: 0xb1, jt: 0, jf: 0, k: NETWORK },
    sock_filter { code: 0x48, jt: 0, jf: 0, k: NETWORK },
    sock_filter { code: 0x16, jt: 0, jf: 0, k: 0 },
];

/// `SKF_NET_OFF`.
const NETWORK: u32 = (-0x10_0000_i32).cast_unsigned();

/// A UDP datagram of four bytes over IPv4, from `port`; its checksums do not matter here.
fn datagram(port: u16) -> Vec<u8> {
    let mut bytes = frame(46, 0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14..18].copy_from_slice(&[0x45, 0, 0, 32]);
    bytes[22..24].copy_from_slice(&[64, 17]);
    bytes[26..34].copy_from_slice(&[10, 0, 0, 2, 192, 0, 2, 2]);
    bytes[34..36].copy_from_slice(&port.to_be_bytes());
    bytes[36..40].copy_from_slice(&[0, 53, 0, 12]);
    bytes
}

#[test]
fn what_the_kernel_loses_is_counted() {
    isolated("port::what_the_kernel_loses_is_counted", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut sent = 0;
        let mut frames: Vec<_> = (0..250).map(|n| frame(60, n)).collect();
        while b_in.lost() == 0 {
            sent += send(&mut a_out, &mut frames).packets;
        }
        let mut received = 0;
        loop {
            match receive(&mut b_in).0.packets {
                0 => break,
                packets => received += packets,
            }
        }
        assert_eq!(received + b_in.lost(), sent);
        assert!(received >= 8_192, "room for a burst: {received}");
        send(&mut a_out, &mut frames[..1]);
        assert_eq!(receive(&mut b_in).1, frames[..1], "and the ring turns on");
    });
}

#[test]
fn a_packet_that_is_too_long_does_not_hold_up_others() {
    isolated("port::a_packet_that_is_too_long_does_not_hold_up_others", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut frames = [frame(60, 1), frame(1515, 2), Vec::new(), frame(1514, 3)];
        assert_eq!(
            send(&mut a_out, &mut frames),
            Transmitted { packets: 2, bytes: 1574, refused: 2, ..Transmitted::default() }
        );
        assert_eq!(receive(&mut b_in).1, [frame(60, 1), frame(1514, 3)]);
    });
}

#[test]
fn a_port_outlives_a_link_that_goes_down_but_not_its_device() {
    isolated("port::a_port_outlives_a_link_that_goes_down_but_not_its_device", || {
        let ((mut a_in, mut a_out), (_b_in, mut b_out)) = wire();
        shell("ip link set a0 down");
        assert_eq!(send(&mut a_out, &mut [frame(60, 1)]).refused, 1);
        for _ in 0..3 {
            assert_eq!(receive(&mut a_in).0, Received::default());
        }
        shell("ip link set a0 up");
        assert_eq!(send(&mut b_out, &mut [frame(60, 1)]).packets, 1);
        assert_eq!(receive(&mut a_in).1, [frame(60, 1)]);
        assert_eq!(send(&mut a_out, &mut [frame(60, 1)]).packets, 1);

        shell("ip link set a0 down; ip link delete a0");
        let broken = (0..200).find_map(|_| a_in.receive(&mut Batch::new()).err());
        let error = broken.expect("the device is gone");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert_eq!(send(&mut a_out, &mut [frame(60, 1)]).refused, 1);
    });
}

#[test]
fn groups_reach_the_device_and_are_left_again() {
    isolated("port::groups_reach_the_device_and_are_left_again", || {
        shell(WIRE);
        let link = Link::find("a0").expect("it is there");
        let group = |address: &str| Mac::solicited_node(address.parse().expect("an address"));
        let [first, second] = ["2001:db8::1:2", "2001:db8::3:4"].map(group);
        let mut groups = Groups::of(&link).expect("root may");
        let mut set = |wanted: &[Mac], all| {
            groups.set(&wanted.iter().copied().collect(), all).expect("the device is there");
            (["01:00:02", "03:00:04"].map(joined), all_groups_come())
        };
        assert_eq!(set(&[first], false), ([true, false], false));
        assert_eq!(set(&[first, second], true), ([true, true], true));
        assert_eq!(set(&[second], false), ([false, true], false));
        assert_eq!(set(&[], false), ([false, false], false));
        assert_eq!(set(&[first], true), ([true, false], true));
        drop(groups);
        assert_eq!((joined("01:00:02"), all_groups_come()), (false, false), "nothing is left");
    });
}

/// Whether a0 receives the group of solicited nodes that ends like this.
fn joined(end: &str) -> bool {
    holds(&format!("ip maddress show dev a0 | grep -q 33:33:ff:{end}"))
}

/// Whether a0 receives every group: IFF_ALLMULTI, counted by the kernel.
fn all_groups_come() -> bool {
    holds("ip -d link show dev a0 | grep -q 'allmulti 1'")
}

fn holds(script: &str) -> bool {
    Command::new("sh").args(["-c", script]).status().expect("there is a shell").success()
}

#[test]
fn what_cannot_be_opened_says_why() {
    isolated("port::what_cannot_be_opened_says_why", || {
        shell("ip link add a0 mtu 1400 address 02:00:00:00:00:0a type veth peer name b0");
        let error = |device| af_packet::open(device).err().expect("it cannot be opened");
        let missing = error("wan0");
        assert_eq!(missing.to_string(), "there is no device `wan0`");
        assert_eq!(missing.hint().as_deref(), Some("there are: lo, b0, a0"));
        let down = error("a0");
        assert!(matches!(&down, OpenError::Link(LinkError::Down { .. })));
        assert_eq!(down.hint().as_deref(), Some("ip link set a0 up"));

        shell("ip link set a0 up");
        let link = Link::find("a0").expect("it is there");
        assert_eq!((link.mac, link.mtu, link.up), (Mac([2, 0, 0, 0, 0, 10]), 1400, true));
        assert_eq!(link.operation, Operation::LowerLayerDown, "its other end is down");
        shell("ip link set b0 up");
        thread::sleep(Duration::from_millis(50));
        assert_eq!(Link::find("a0").expect("it is there").operation, Operation::Up);

        let denied = without(CapabilitySet::NET_RAW, || error("a0"));
        assert!(matches!(&denied, OpenError::NotPermitted { .. }));
        assert!(denied.hint().is_some_and(|hint| hint.contains("[NET_RAW]")));
    });
}

//! Packet sockets between real devices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use mooring_io::af_packet::{self, OpenError, Receiver, Sender};
use mooring_io::link::{Link, LinkError, Operation};
use mooring_packet::{Batch, Offload, Packet, Receive, Received, Transmit, Transmitted};
use mooring_wire::Mac;
use rustix::thread::CapabilitySet;

use crate::lab::{isolated, shell, within, without};

/// Two quiet devices, one in the namespace `peer`.
const WIRE: &str = "
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
fn frame(len: usize, fill: u8) -> Vec<u8> {
    let mut frame = vec![fill; len];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]); // local experimental (IEEE 802)
    frame
}

fn send(sender: &mut Sender, frames: &mut [Vec<u8>]) -> Transmitted {
    let as_packet = |frame| {
        let frame: &mut Vec<u8> = frame;
        let len = frame.len();
        Packet::new(frame, 0, len, Offload::NONE)
    };
    let packets: Vec<Packet<'_>> = frames.iter_mut().map(as_packet).collect();
    sender.transmit(packets.iter())
}

fn receive(receiver: &mut Receiver) -> (Received, Vec<Vec<u8>>) {
    let mut batch = Batch::new();
    let received = receiver.receive(&mut batch).expect("the device is there");
    (received, batch.packets().iter().map(|packet| packet.bytes().to_vec()).collect())
}

#[test]
fn frames_cross_in_order() {
    isolated("port::frames_cross_in_order", || {
        let ((mut a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut frames: Vec<_> = (0..150).map(|n| frame(60 + n, n as u8)).collect();
        let total = frames.iter().map(|frame| frame.len() as u64).sum();
        let done = send(&mut a_out, &mut frames);
        assert_eq!(done, Transmitted { packets: 150, bytes: total, refused: 0 });
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

#[test]
fn a_tagged_frame_is_not_taken_for_an_untagged_one() {
    isolated("port::a_tagged_frame_is_not_taken_for_an_untagged_one", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut tagged = frame(64, 1);
        tagged[12..16].copy_from_slice(&[0x81, 0x00, 0x00, 0x05]);
        send(&mut a_out, &mut [frame(60, 1), tagged, frame(60, 2)]);
        let (received, frames) = receive(&mut b_in);
        assert_eq!(frames, [frame(60, 1), frame(60, 2)]);
        assert_eq!((received.truncated, b_in.tagged()), (1, 1));
    });
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
        let buffer = b_in.buffer_bytes().expect("the socket is open") as u64;
        println!("{received} small packets waited in a buffer of {buffer} bytes");
        assert!(received > 4096 || buffer < 4 << 20, "room for a burst");
    });
}

#[test]
fn a_packet_that_is_too_long_does_not_hold_up_others() {
    isolated("port::a_packet_that_is_too_long_does_not_hold_up_others", || {
        let ((_a_in, mut a_out), (mut b_in, _b_out)) = wire();
        let mut frames = [frame(60, 1), frame(1515, 2), Vec::new(), frame(1514, 3)];
        assert_eq!(
            send(&mut a_out, &mut frames),
            Transmitted { packets: 2, bytes: 1574, refused: 2 }
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
        let error = a_in.receive(&mut Batch::new()).expect_err("the device is gone");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert_eq!(send(&mut a_out, &mut [frame(60, 1)]).refused, 1);
    });
}

#[test]
fn a_joined_group_reaches_the_device() {
    isolated("port::a_joined_group_reaches_the_device", || {
        let ((a_in, _a_out), _peer) = wire();
        let group = Mac::solicited_node("2001:db8::1:2".parse().expect("an address"));
        a_in.join(group).expect("the device is there");
        shell("ip maddress show dev a0 | grep -q 33:33:ff:01:00:02");
    });
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

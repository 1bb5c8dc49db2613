//! AF_XDP sockets between real devices whose packets are longer than a frame.

use std::num::NonZeroU8;

use etherparse::PacketBuilder;
use mooring_io::af_packet;
use mooring_io::af_xdp::{Memories, OpenError, Port, Receiver, Sender};
use mooring_io::link::Link;
use mooring_packet::{Batch, Offload, Packet, Receive, Transmit};

use crate::lab::{isolated, output, shell, within};

/// A cable that carries 9,000 bytes; on the other end a packet socket.
struct Cable {
    receiver: Receiver,
    sender: Sender,
    far: (af_packet::Receiver, af_packet::Sender),
    link: Link,
}

fn open() -> Cable {
    shell(
        "ip netns add peer
         ip link add a0 mtu 9000 type veth peer name b0 mtu 9000 netns peer
         echo 1 > /proc/sys/net/ipv6/conf/a0/disable_ipv6
         ip netns exec peer sh -c 'echo 1 > /proc/sys/net/ipv6/conf/b0/disable_ipv6'
         ip link set a0 up
         ip -n peer link set b0 up",
    );
    let far = within("peer", || af_packet::open("b0").map(|(rx, tx, _)| (rx, tx)));
    let mut memories = Memories::for_devices(&["a0"], NonZeroU8::MIN).expect("there is memory");
    let Port { halves, link, .. } = memories.open("a0", &[]).expect("the kernel has all it takes");
    let (receiver, sender) = halves.into_iter().next().expect("one for the worker");
    Cable { receiver, sender, far: far.expect("it is up"), link }
}

impl Cable {
    /// A frame of `len` bytes for the near end, over IPv4.
    fn frame(&self, len: usize, fill: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], self.link.mac.0);
        let builder = builder.ipv4([10, 0, 0, 2], [192, 0, 2, 2], 60).udp(4_000, 53);
        let payload: Vec<u8> = (0..len - 42).map(|at| (at * 7 + fill) as u8).collect();
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).expect("a vector takes it");
        frame
    }

    /// Sends these frames from the far end.
    fn send(&mut self, frames: &[Vec<u8>]) {
        let mut frames = frames.to_vec();
        let packets: Vec<_> = frames.iter_mut().map(|frame| whole(frame, Offload::NONE)).collect();
        let done = self.far.1.transmit(packets.iter());
        assert_eq!((done.packets as usize, done.refused), (packets.len(), 0));
    }

    /// What has come to the near end, and how many could not be read; sent back from there.
    fn reflect(&mut self) -> (Vec<Vec<u8>>, u64) {
        let (mut seen, mut unreadable) = (Vec::new(), 0);
        loop {
            let mut batch = Batch::new();
            let received = self.receiver.receive(&mut batch).expect("the device is there");
            unreadable += received.truncated;
            if batch.is_empty() && received.truncated == 0 {
                return (seen, unreadable);
            }
            seen.extend(batch.packets().iter().map(|packet| packet.bytes().to_vec()));
            let done = self.sender.transmit(batch.packets().iter());
            assert_eq!((done.packets as usize, done.refused), (batch.len(), 0));
        }
    }

    /// What has come to the far end.
    fn returned(&mut self) -> Vec<(Vec<u8>, Offload)> {
        let mut seen = Vec::new();
        loop {
            let mut batch = Batch::new();
            self.far.0.receive(&mut batch).expect("the device is there");
            if batch.is_empty() {
                return seen;
            }
            let packets = batch.packets().iter();
            seen.extend(packets.map(|packet| (packet.bytes().to_vec(), packet.offload)));
        }
    }
}

fn whole(frame: &mut [u8], offload: Offload) -> Packet<'_> {
    let len = frame.len();
    Packet::new(frame, 0, len, offload)
}

/// How many packets the program has given to a socket.
fn redirected() -> usize {
    let shown = output("ethtool -S a0 | sed -n 's/.*rx_queue_0_xdp_redirect: //p'");
    shown.trim().parse().expect("veth counts them")
}

/// Of every length, around the lengths of frames on the way in and on the way out.
#[test]
fn packets_longer_than_a_frame_come_and_leave_whole_and_in_order() {
    let name = "af_xdp::packets_longer_than_a_frame_come_and_leave_whole_and_in_order";
    isolated(name, || {
        let mut cable = open();
        let edges = [1_856, 2_088].into_iter().flat_map(|frame| {
            (1..=4).flat_map(move |count| [count * frame - 1, count * frame, count * frame + 1])
        });
        let lens: Vec<usize> = edges.chain([60, 3_506, 8_000, 9_013, 9_014]).collect();
        let mut count = 0;
        for round in 0..20 {
            let frame = |at: usize| cable.frame(lens[at * (round + 1) % lens.len()], at + round);
            let frames: Vec<_> = (0..100).map(frame).collect();
            cable.send(&frames);
            let (seen, unreadable) = cable.reflect();
            assert!(seen == frames && unreadable == 0, "round {round}: {} came", seen.len());
            count += frames.len();
            assert_eq!(redirected(), count, "none by the packet socket");
            let returned: Vec<_> = cable.returned().into_iter().map(|(bytes, _)| bytes).collect();
            assert!(returned == frames, "round {round}: {} returned", returned.len());
        }
        assert_eq!(cable.receiver.lost(), 0);
    });
}

#[test]
fn a_long_packet_leaves_with_what_is_left_of_its_checksum() {
    isolated("af_xdp::a_long_packet_leaves_with_what_is_left_of_its_checksum", || {
        let mut cable = open();
        let mut frame = cable.frame(9_014, 3);
        let partial = Offload::partial_checksum(34, 6);
        let done = cable.sender.transmit([whole(&mut frame, partial)].iter());
        assert_eq!((done.packets, done.refused), (1, 0));
        let returned = cable.returned();
        assert_eq!(returned.len(), 1);
        assert!(returned[0].0 == frame && returned[0].1.partial() == partial.partial());
    });
}

/// So no super-packet comes, of which nobody would say how it is to be cut (docs/decisions/0010-af-xdp.md).
#[test]
fn the_other_end_of_a_pair_cuts_what_it_sends() {
    isolated("af_xdp::the_other_end_of_a_pair_cuts_what_it_sends", || {
        let features = "ip netns exec peer ethtool -k b0 | grep -E '^tcp-seg|tx-udp-seg'";
        let cable = open();
        let with = output(features);
        assert_eq!(with.matches(": off").count(), 2, "{with}");
        drop(cable);
        let without = output(features);
        assert_eq!(without.matches(": on").count(), 2, "{without}");
    });
}

/// The MTU was raised after the port was opened.
#[test]
fn what_fits_in_no_buffer_is_dropped_and_counted() {
    isolated("af_xdp::what_fits_in_no_buffer_is_dropped_and_counted", || {
        let mut cable = open();
        shell("ip link set a0 mtu 20000; ip -n peer link set b0 mtu 20000");
        let frames: Vec<_> =
            [60, 10_241, 10_240, 20_014, 9_014].map(|len| cable.frame(len, len)).into();
        cable.send(&frames);
        let (seen, unreadable) = cable.reflect();
        let short: Vec<_> = frames.into_iter().filter(|frame| frame.len() <= 10_240).collect();
        assert!(seen == short && unreadable == 2, "{} came, {unreadable}", seen.len());
        assert_eq!(cable.returned().len(), 3, "nothing of the others leaves");
    });
}

#[test]
fn an_mtu_that_no_buffer_holds_is_refused() {
    isolated("af_xdp::an_mtu_that_no_buffer_holds_is_refused", || {
        shell("ip link add a0 mtu 10223 type veth peer name b0; ip link set a0 up");
        let open = || {
            let memories = Memories::for_devices(&["a0"], NonZeroU8::MIN);
            memories.expect("there is memory").open("a0", &[])
        };
        let error = open().err().expect("it is too long");
        assert!(
            matches!(error, OpenError::TooLong { mtu: 10_223, longest: 10_222, .. }),
            "{error}"
        );
        assert_eq!(error.hint().as_deref(), Some("ip link set a0 mtu 10222"));
        shell("ip link set a0 mtu 10222");
        assert!(open().is_ok());
    });
}

//! Against a kernel that is told what to do.

use std::sync::Arc;

use etherparse::PacketBuilder;
use mooring_packet::{Batch, HEADROOM, Offload, Received};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::Queue;
use crate::af_xdp::fake_kernel::Receiving;
use crate::af_xdp::pieces::{LONG_PACKET, LONG_PACKETS};
use crate::af_xdp::socket::XdpSocket;
use crate::af_xdp::umem::Umem;
use crate::af_xdp::{CHUNK, FRONT};

/// No address of a frame.
const NOWHERE: u64 = 1 << 40;

/// What a frame takes.
const FRAME: usize = CHUNK - FRONT;

fn queue(multi_buffer: bool, frames: u32) -> (Receiving, Queue) {
    let (umem, all) = Umem::new(frames).expect("there is memory");
    let umem = Arc::new(umem);
    let socket = Arc::new(XdpSocket::of_nothing(&umem, multi_buffer));
    let (kernel, rings) = Receiving::new(&umem, frames);
    (kernel, Queue::new(&socket, &umem, rings, all))
}

/// What a call brings.
fn receive(queue: &mut Queue) -> (Received, Vec<Vec<u8>>) {
    let (mut batch, mut received) = (Batch::new(), Received::default());
    queue.give_back();
    queue.receive(&mut batch, &mut received);
    assert!(batch.packets().iter().all(|packet| packet.headroom() >= HEADROOM));
    (received, batch.packets().iter().map(|packet| packet.bytes().to_vec()).collect())
}

/// A UDP packet of `len` bytes with its Ethernet header.
fn packet(len: usize, fill: u8) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 2], [192, 0, 2, 2], 9);
    let mut frame = Vec::new();
    builder.udp(1, 2).write(&mut frame, &vec![fill; len - 42]).expect("memory has no errors");
    frame
}

#[derive(Clone, Debug)]
enum Event {
    Packet(usize, usize),
    /// One with a piece that lies nowhere, between so many others.
    Spoiled(usize, usize),
    Show,
    Receive,
}

fn event() -> impl Strategy<Value = Event> {
    let len = prop_oneof![60..FRAME, FRAME..LONG_PACKET + 1, LONG_PACKET - 9..LONG_PACKET + 900];
    prop_oneof![
        4 => (len, 700..=FRAME).prop_map(|(len, most)| Event::Packet(len, most)),
        1 => (0..4usize, 0..4usize).prop_map(|(before, after)| Event::Spoiled(before, after)),
        2 => any::<bool>().prop_map(|_| Event::Show),
        2 => any::<bool>().prop_map(|_| Event::Receive),
    ]
}

proptest! {
    /// Rings of 32 entries go round many times. Every packet comes whole, in order and once, or is counted.
    #[test]
    fn packets_of_any_number_of_frames_come_whole_or_not_at_all(events in vec(event(), 1..200)) {
        let (mut kernel, mut queue) = queue(true, 32);
        let (mut waiting, mut expected, mut bad) = (Vec::new(), Vec::new(), 0);
        for (number, event) in (0u8..).zip(events) {
            match event {
                Event::Packet(len, most) => {
                    if !kernel.packet(&packet(len, number), most) {
                        continue;
                    }
                    waiting.push((len <= LONG_PACKET).then(|| packet(len, number)));
                }
                Event::Spoiled(before, after) => {
                    if !kernel.has_room(before + 1 + after) {
                        continue;
                    }
                    (0..before).for_each(|_| kernel.piece(&[number; 99], true));
                    kernel.descriptor(NOWHERE, 99, after > 0);
                    (1..=after).for_each(|at| kernel.piece(&[number; 99], at < after));
                    waiting.push(None);
                }
                Event::Show => {
                    kernel.show();
                    expected.append(&mut waiting);
                }
                Event::Receive => {
                    let (received, packets) = receive(&mut queue);
                    bad += received.truncated;
                    let good: Vec<_> = expected.iter().flatten().cloned().collect();
                    prop_assert_eq!(received.packets, packets.len() as u64);
                    prop_assert_eq!(&packets[..], &good[..packets.len()]);
                    prop_assert_eq!(packets.len(), good.len(), "fewer than buffers for long ones");
                    prop_assert_eq!(bad, expected.iter().filter(|packet| packet.is_none()).count() as u64);
                    (expected, bad) = (Vec::new(), 0);
                }
            }
        }
        kernel.show();
        receive(&mut queue);
        queue.give_back();
        prop_assert_eq!(kernel.frames(), 32, "no frame is lost");
    }
}

/// The kernel shows all of a packet at once, but nobody promises it.
#[test]
fn a_packet_may_come_in_several_looks() {
    let (mut kernel, mut queue) = queue(true, 32);
    let (long, short) = (packet(9_014, 1), packet(60, 2));
    let pieces: Vec<&[u8]> = long.chunks(FRAME).collect();
    for (at, piece) in (1..).zip(&pieces) {
        assert_eq!(receive(&mut queue), (Received::default(), vec![]), "{at}");
        kernel.piece(piece, at < pieces.len());
        kernel.show();
    }
    assert!(kernel.packet(&short, FRAME));
    kernel.show();
    let (received, packets) = receive(&mut queue);
    assert_eq!((received.packets, received.truncated), (2, 0));
    assert_eq!(packets, [long, short]);
}

/// What finds no buffer in this batch waits for the next.
#[test]
fn more_long_packets_than_buffers_wait() {
    let (mut kernel, mut queue) = queue(true, 256);
    for number in 0..100 {
        assert!(kernel.packet(&packet(3_000, number), FRAME));
    }
    kernel.show();
    let (first, mut packets) = receive(&mut queue);
    let (second, rest) = receive(&mut queue);
    assert_eq!((first.packets, second.packets), (LONG_PACKETS as u64, 100 - LONG_PACKETS as u64));
    assert_eq!((first.truncated, second.truncated), (0, 0));
    packets.extend(rest);
    assert_eq!(packets, (0..100).map(|number| packet(3_000, number)).collect::<Vec<_>>());
}

/// By a kernel that cuts packets although nobody has asked for it.
#[test]
fn without_buffers_a_long_packet_is_dropped() {
    let (mut kernel, mut queue) = queue(false, 32);
    assert!(kernel.packet(&packet(3_000, 1), FRAME) && kernel.packet(&packet(60, 2), FRAME));
    kernel.show();
    let (mut truncated, mut packets) = (0, Vec::new());
    for _ in 0..3 {
        let (received, more) = receive(&mut queue);
        truncated += received.truncated;
        packets.extend(more);
    }
    assert_eq!((truncated, packets), (1, vec![packet(60, 2)]));
}

/// The sum that a sender leaves to the device is seen in the first piece.
#[test]
fn a_checksum_that_was_left_is_found_in_a_long_packet() {
    let (mut kernel, mut queue) = queue(true, 32);
    let mut left = packet(9_014, 3);
    let pseudo: u32 = [0x0a00, 2, 0xc000, 0x0202, 17, 9_014 - 34].iter().sum();
    left[40..42].copy_from_slice(&((pseudo & 0xffff) as u16 + (pseudo >> 16) as u16).to_be_bytes());
    assert!(kernel.packet(&left, FRAME));
    kernel.show();
    let (mut batch, mut received) = (Batch::new(), Received::default());
    queue.receive(&mut batch, &mut received);
    assert_eq!(batch.packets()[0].offload, Offload::partial_checksum(34, 6));
}

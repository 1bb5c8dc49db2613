//! Against a kernel that is told what to do.

use std::sync::Arc;

use mooring_packet::{Offload, Packet};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::Queue;
use crate::af_xdp::fake_kernel::{Sending, Sent};
use crate::af_xdp::pieces::{MOST_PIECES, PIECE};
use crate::af_xdp::socket::XdpSocket;
use crate::af_xdp::umem::Umem;

fn queue(multi_buffer: bool, frames: u32, size: u32) -> (Sending, Queue) {
    let (umem, free) = Umem::new(frames).expect("there is memory");
    let umem = Arc::new(umem);
    let socket = Arc::new(XdpSocket::of_nothing(&umem, multi_buffer));
    let (kernel, rings) = Sending::new(&umem, size);
    (kernel, Queue::new(&socket, &umem, rings, free))
}

fn push(queue: &mut Queue, bytes: &[u8], offload: Offload) -> bool {
    let mut bytes = bytes.to_vec();
    let len = bytes.len();
    let taken = queue.push(&Packet::new(&mut bytes, 0, len, offload));
    queue.send.submit();
    taken
}

#[test]
fn what_is_left_of_a_checksum_is_said_with_the_first_piece() {
    let (mut kernel, mut queue) = queue(true, 8, 8);
    let bytes: Vec<u8> = (0..9_014).map(|at| (at % 251) as u8).collect();
    assert!(push(&mut queue, &bytes, Offload::partial_checksum(34, 16)));
    let pieces = 9_014usize.div_ceil(PIECE);
    assert_eq!(kernel.send(8), [Sent { bytes, pieces, options: libc::XDP_TX_METADATA }]);
}

#[test]
fn a_packet_that_does_not_fit_leaves_nothing_behind() {
    for (frames, size) in [(4, 8), (8, 4)] {
        let (mut kernel, mut queue) = queue(true, frames, size);
        assert!(!push(&mut queue, &[1; 4 * PIECE + 1], Offload::NONE));
        assert!(push(&mut queue, &[2; 2 * PIECE + 1], Offload::NONE));
        assert!(!push(&mut queue, &[3; PIECE + 1], Offload::NONE));
        assert!(push(&mut queue, &[4; PIECE], Offload::NONE));
        let sent: Vec<_> = kernel.send(9).iter().map(|sent| (sent.bytes[0], sent.pieces)).collect();
        assert_eq!(sent, [(2, 3), (4, 1)], "{frames} frames, {size} entries");
        assert_eq!(queue.take_back(), 4);
    }
}

#[test]
fn only_so_many_pieces_are_one_packet() {
    assert_eq!(queue(true, 1, 1).1.longest, MOST_PIECES * PIECE);
    assert_eq!(queue(false, 1, 1).1.longest, PIECE, "an older kernel takes no pieces");
}

proptest! {
    /// A ring of 16 entries goes round many times; the kernel stops wherever its budget ends.
    #[test]
    fn packets_of_any_length_leave_whole(
        steps in vec((60..PIECE * 7, 0..9usize, any::<bool>()), 1..100),
    ) {
        let (mut kernel, mut queue) = queue(true, 12, 16);
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        for (number, (len, budget, partial)) in (0u8..).zip(steps) {
            let offload = if partial { Offload::partial_checksum(34, 6) } else { Offload::NONE };
            let bytes = vec![number; len];
            if push(&mut queue, &bytes, offload) {
                let options = if partial { libc::XDP_TX_METADATA } else { 0 };
                expected.push(Sent { bytes, pieces: len.div_ceil(PIECE), options });
            }
            sent.extend(kernel.send(budget));
            queue.take_back();
        }
        sent.extend(kernel.send(16));
        prop_assert!(!expected.is_empty());
        prop_assert_eq!(sent, expected);
        queue.take_back();
        prop_assert_eq!(queue.free.len(), 12, "no frame is lost");
    }
}

//! Packet sockets of a kernel that refuses them their ring, its memory, their metadata, or more than one of these.

use std::num::NonZeroU8;
use std::thread;

use mooring_io::af_packet::{self, OpenError, Opened, Receiver, Sender};
use mooring_packet::{Abilities, Batch, Packet, Receive, Received, Transmitted};

use crate::lab::{isolated, shell, within};
use crate::port::{WIRE, frame, receive, send};
use crate::refusal::{Refusal, refuse};

/// Runs `test` on ports at both ends of a wire, for each way to be refused.
fn each_way(test: impl Fn((Receiver, Sender), (Receiver, Sender)) + Sync) {
    let [ring, metadata] = [libc::PACKET_RX_RING, libc::PACKET_VNET_HDR].map(Refusal::Option);
    let ways: [&[_]; 4] = [&[ring], &[Refusal::Sharing], &[metadata], &[ring, metadata]];
    for way in ways {
        shell(WIRE);
        let refused_all = || {
            refuse(way);
            let error = af_packet::open("a0").err().expect("it has to have everything");
            assert!(matches!(error, OpenError::Socket { .. }), "{error}");
            let open = |device| {
                let opened = af_packet::open_group(device, NonZeroU8::MIN).expect("it is up");
                let Opened { mut halves, refused, .. } = opened;
                let no_metadata = way.contains(&metadata);
                assert_eq!(refused.ring.is_some(), way != [metadata]);
                assert_eq!(refused.metadata.is_some(), no_metadata);
                assert_eq!(refused.notices().count(), way.len());
                assert_eq!(refused.abilities() == Abilities::default(), no_metadata);
                halves.pop().expect("one worker has one port")
            };
            test(open("a0"), within("peer", || open("b0")));
        };
        thread::scope(|scope| scope.spawn(refused_all).join().expect("a way that works"));
        shell("ip netns delete peer; ip link delete a0 2>/dev/null || true");
    }
}

/// All that waits, and how much of it could not be read.
fn receive_all(receiver: &mut Receiver) -> (u64, Vec<Vec<u8>>) {
    let (mut truncated, mut all) = (0, Vec::new());
    loop {
        let (received, frames) = receive(receiver);
        if received == Received::default() {
            return (truncated, all);
        }
        truncated += received.truncated;
        all.extend(frames);
    }
}

#[test]
fn frames_keep_their_order_whatever_is_refused() {
    isolated("refused::frames_keep_their_order_whatever_is_refused", || {
        each_way(|(mut a_in, mut a_out), (mut b_in, _b_out)| {
            shell("ip link set a0 mtu 9000; ip -n peer link set b0 mtu 9000");
            for round in 0..5 {
                let len = |n: usize| 60 + (n * n * 37 + round) % 8_900;
                let mut frames: Vec<_> = (0..200).map(|n| frame(len(n), n as u8)).collect();
                assert_eq!(send(&mut a_out, &mut frames).packets, 200);
                assert!(receive_all(&mut b_in) == (0, frames), "round {round}");
            }
            assert_eq!(receive_all(&mut a_in).1.len(), 0, "what we send is not received");
        });
    });
}

#[test]
fn tags_are_kept_whatever_is_refused() {
    isolated("refused::tags_are_kept_whatever_is_refused", || {
        each_way(|(_a_in, mut a_out), (mut b_in, mut b_out)| {
            shell("ip link set a0 mtu 9000; ip -n peer link set b0 mtu 9000");
            let tagged = |len, kind: [u8; 2]| {
                let mut tagged = frame(len, 1);
                tagged[12..18].copy_from_slice(&[kind[0], kind[1], 0xa0, 0x05, 0x88, 0xb5]);
                tagged
            };
            let mut frames =
                [frame(60, 1), tagged(64, [0x81, 0x00]), tagged(4_000, [0x88, 0xa8]), frame(60, 2)];
            assert_eq!(send(&mut a_out, &mut frames).packets, 4);
            let mut batch = Batch::new();
            b_in.receive(&mut batch).expect("the device is there");
            let seen: Vec<_> = batch.packets().iter().map(Packet::bytes).collect();
            assert_eq!(seen, frames);
            assert!(batch.packets().iter().all(|p| p.headroom() >= mooring_packet::HEADROOM));
            let sent = mooring_packet::Transmit::transmit(&mut b_out, batch.packets().iter());
            assert_eq!(sent.packets, 4, "it leaves as it came");
        });
    });
}

#[test]
fn what_is_lost_is_counted_whatever_is_refused() {
    isolated("refused::what_is_lost_is_counted_whatever_is_refused", || {
        each_way(|(_a_in, mut a_out), (mut b_in, _b_out)| {
            let mut sent = 0;
            let mut frames: Vec<_> = (0..250).map(|n| frame(60, n)).collect();
            while b_in.lost() == 0 {
                sent += send(&mut a_out, &mut frames).packets;
            }
            let received = receive_all(&mut b_in).1.len() as u64;
            assert_eq!(received + b_in.lost(), sent);
            assert!(received >= 8_192, "room for a burst: {received}");
            send(&mut a_out, &mut frames[..1]);
            assert_eq!(receive(&mut b_in).1, frames[..1], "and it goes on");
        });
    });
}

#[test]
fn what_is_too_long_is_refused_and_a_link_may_come_and_go_whatever_is_refused() {
    isolated(
        "refused::what_is_too_long_is_refused_and_a_link_may_come_and_go_whatever_is_refused",
        || {
            each_way(|(mut a_in, mut a_out), (mut b_in, mut b_out)| {
                let mut frames = [frame(60, 1), frame(1515, 2), frame(1514, 3)];
                let sent =
                    Transmitted { packets: 2, bytes: 1574, refused: 1, ..Transmitted::default() };
                assert_eq!(send(&mut a_out, &mut frames), sent);
                assert_eq!(receive(&mut b_in).1, [frame(60, 1), frame(1514, 3)]);
                shell("ip link set a0 down");
                for _ in 0..3 {
                    assert_eq!(receive(&mut a_in).0, Received::default());
                }
                shell("ip link set a0 up");
                assert_eq!(send(&mut b_out, &mut [frame(60, 1)]).packets, 1);
                assert_eq!(receive(&mut a_in).1, [frame(60, 1)]);
                shell("ip link set a0 down; ip link delete a0");
                let broken = (0..200).find_map(|_| a_in.receive(&mut Batch::new()).err());
                let error = broken.expect("the device is gone");
                assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
            });
        },
    );
}

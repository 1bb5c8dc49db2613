//! Super-packets and checksums that a device completes.

use mooring_packet::Offload;
use mooring_packet::offload::GsoKind;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::{Protocol, checksum};

use crate::test_bench::frames::{arp_reply, inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    BUFFERS, Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, INSIDE, OUR_OUTSIDE, OUR_OUTSIDE_IP,
    OUTSIDE, POOL, SERVER,
};
use crate::{DropReason, Verdict};

/// The frame as a kernel hands it over with NEEDS_CSUM: the field at `at` holds the sum of the
/// pseudo-header alone.
fn with_partial_checksum(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    let l4_len = (frame.len() - 34) as u16;
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, frame[23]]);
    pseudo.extend(l4_len.to_be_bytes());
    let sum = checksum::rfc1071(&pseudo);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The frame as the device then puts it on the wire.
fn completed(mut frame: Vec<u8>, at: usize) -> Vec<u8> {
    let checksum = !checksum::rfc1071(&frame[34..]);
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn a_checksum_that_is_still_partial_is_right_when_completed() {
    let mut bench = Bench::ready();
    let (tcp, udp) = (Offload::partial_checksum(34, 16), Offload::partial_checksum(34, 6));
    let syn = inside(HOST, SERVER).tcp(5000, 80, "S", b"");
    let datagram = inside(HOST, SERVER).udp(5000, 53, b"question");
    for (frame, offload, at) in [(syn, tcp, 50), (datagram, udp, 40)] {
        let partial = with_partial_checksum(frame, at);
        let (verdict, sent) = bench.send_offloaded(INSIDE, &partial, offload);
        assert_eq!(verdict, Verdict::Tx(OUTSIDE));
        let (port, remote) = match Seen::read(&completed(sent, at)).transport {
            Transport::Tcp(port, remote) | Transport::Udp(port, remote) => (port, remote),
            other => panic!("not the packet: {other:?}"),
        };
        let answer = match at {
            50 => outside(SERVER, POOL).tcp(remote, port, "SA", b""),
            _ => outside(SERVER, POOL).udp(remote, port, b"answer"),
        };
        let partial = with_partial_checksum(answer, at);
        let (verdict, sent) = bench.send_offloaded(OUTSIDE, &partial, offload);
        assert_eq!(verdict, Verdict::Tx(INSIDE));
        let seen = Seen::read(&completed(sent, at));
        assert_eq!((seen.source, seen.destination, seen.ttl), (SERVER, HOST, 63));
    }
}

#[test]
fn a_super_packet_is_as_long_as_one_of_its_segments() {
    let mut bench = Bench::ready();
    bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
    let frame = inside(HOST, SERVER).tcp(5000, 80, "A", &[7; 60_000]);
    let partial = with_partial_checksum(frame, 50);
    let offload = |size| Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, size, 54);
    let (verdict, sent) = bench.send_offloaded(INSIDE, &partial, offload(1360));
    assert_eq!(verdict, Verdict::Tx(OUTSIDE), "1,400 bytes on the wire");
    let seen = Seen::read(&completed(sent, 50));
    assert_eq!((seen.source, seen.payload.len()), (POOL, 60_000));

    let (verdict, _) = bench.send_offloaded(INSIDE, &partial, offload(1361));
    assert_eq!(verdict, Verdict::Drop(DropReason::TooBig));
    let told = bench.sent_by(INSIDE);
    let error = Seen::read(&told[0]);
    assert_eq!(error.transport, Transport::Icmp(3, 4, 0, 1400));
    assert_eq!(error.payload, partial[14..14 + 548]);
}

/// Routers may cut them: each datagram of the super-packet keeps its length and leaves in pieces. All
/// have an identification of their own (RFC 6864 §4.3).
#[test]
fn the_datagrams_of_a_super_packet_that_may_be_cut_leave_in_pieces() {
    let mut bench = Bench::ready();
    let payload: Vec<u8> = (0..5_000_u32).map(|n| (n / 7) as u8).collect();
    let frame = inside(HOST, SERVER).fragmentable().udp(5000, 53, &payload);
    let partial = with_partial_checksum(frame, 40);
    let offload = Offload::partial_checksum(34, 6).with_gso(GsoKind::UdpL4, 1_400, 42);
    assert_eq!(bench.send_offloaded(INSIDE, &partial, offload).0, Verdict::Cut);
    let sent = bench.sent_by(OUTSIDE);
    let mut datagrams: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for piece in &sent {
        let ip = Ipv4::parse(&piece[14..]).expect("a packet");
        assert!(ip.checksum_is_valid() && ip.total_len() <= 1_400 && ip.ttl() == 63);
        match datagrams.last_mut() {
            Some((id, l4)) if id[..] == piece[18..20] => {
                assert_eq!(usize::from(ip.fragment_offset()), l4.len());
                l4.extend(ip.payload());
            }
            _ => {
                assert_eq!(ip.fragment_offset(), 0);
                datagrams.push((piece[18..20].to_vec(), ip.payload().to_vec()));
            }
        }
    }
    let lens: Vec<usize> = datagrams.iter().map(|(_, l4)| l4.len()).collect();
    assert_eq!((sent.len(), &lens[..]), (7, &[1_408, 1_408, 1_408, 808][..]));
    let mut whole: Vec<u8> = Vec::new();
    for (_, l4) in &datagrams {
        let pseudo = checksum::pseudo_v4(POOL, SERVER, Protocol::UDP, l4.len() as u16);
        assert_eq!(checksum::add(checksum::sum(l4), pseudo), 0xffff, "the checksum of each");
        assert_eq!(usize::from(u16::from_be_bytes([l4[4], l4[5]])), l4.len());
        whole.extend(&l4[8..]);
    }
    assert_eq!(whole, payload);
    assert_eq!(bench.engine.counters.cut, 1);
}

/// Nor is it accounted for: part of a packet is of use to nobody.
#[test]
fn a_packet_without_a_buffer_for_each_of_its_pieces_does_not_leave_at_all() {
    let payload = [7; 5_000];
    let frame = inside(HOST, SERVER).fragmentable().udp(5000, 53, &payload);
    let partial = with_partial_checksum(frame.clone(), 40);
    let super_packet = Offload::partial_checksum(34, 6).with_gso(GsoKind::UdpL4, 1_400, 42);
    for (frame, offload, pieces) in [(frame, Offload::NONE, 4), (partial, super_packet, 7)] {
        let mut bench = Bench::ready();
        let count = |bench: &Bench| {
            let session = &bench.engine.sessions(bench.now, 0).0[0];
            (session.forward.packets, bench.engine.counters.translated)
        };
        let (verdict, _) = bench.send_offloaded(INSIDE, &frame, offload);
        assert_eq!((verdict, bench.sent_by(OUTSIDE).len()), (Verdict::Cut, pieces));
        let before = count(&bench);
        // A quarter is kept for what we have to say ourselves; one piece finds no buffer.
        let taken: Vec<_> = (0..BUFFERS * 3 / 4 - (pieces - 1))
            .map(|_| bench.outbox.compose(64).expect("it is free"))
            .collect();
        let free = bench.outbox.free();
        let (verdict, _) = bench.send_offloaded(INSIDE, &frame, offload);
        assert_eq!(verdict, Verdict::Drop(DropReason::RateLimited));
        assert_eq!((bench.sent(), count(&bench), bench.outbox.free()), (vec![], before, free));
        taken.into_iter().for_each(|buffer| bench.outbox.discard(buffer));
        assert_eq!(bench.send_offloaded(INSIDE, &frame, offload).0, Verdict::Cut);
    }
}

/// Those that may not be cut are told of, by the length of one of them.
#[test]
fn the_datagrams_of_a_super_packet_that_may_not_be_cut_are_told_of() {
    let mut bench = Bench::ready();
    let partial = with_partial_checksum(inside(HOST, SERVER).udp(5000, 53, &[7; 5_000]), 40);
    let offload = |size| Offload::partial_checksum(34, 6).with_gso(GsoKind::UdpL4, size, 42);
    let (verdict, _) = bench.send_offloaded(INSIDE, &partial, offload(1_373));
    assert_eq!(verdict, Verdict::Drop(DropReason::TooBig));
    assert_eq!(Seen::read(&bench.sent_by(INSIDE)[0]).transport, Transport::Icmp(3, 4, 0, 1_400));
    assert_eq!(bench.send_offloaded(INSIDE, &partial, offload(1_372)).0, Verdict::Tx(OUTSIDE));
    let may_be_cut = inside(HOST, SERVER).fragmentable().udp(5000, 53, &[7; 5_000]);
    let nothing = with_partial_checksum(may_be_cut, 40);
    let (verdict, _) = bench.send_offloaded(INSIDE, &nothing, offload(0));
    assert_eq!(verdict, Verdict::Drop(DropReason::UnsupportedOffload));
}

#[test]
fn without_the_metadata_a_long_packet_is_too_long() {
    let mut bench = Bench::ready();
    let frame = inside(HOST, SERVER).udp(5000, 53, &[7; 60_000]);
    bench.refuse(INSIDE, &frame, DropReason::TooBig);
}

#[test]
fn the_metadata_waits_with_its_packet() {
    let mut bench = Bench::unresolved(CONFIG);
    let offload = Offload::partial_checksum(34, 6).with_gso(GsoKind::UdpL4, 1000, 42);
    let partial = with_partial_checksum(inside(HOST, SERVER).udp(5000, 53, &[7; 5000]), 40);
    assert_eq!(bench.send_offloaded(INSIDE, &partial, offload).0, Verdict::Hold);
    bench.sent();
    let reply = arp_reply((GATEWAY_MAC, GATEWAY), (OUR_OUTSIDE, OUR_OUTSIDE_IP));
    assert_eq!(bench.send(OUTSIDE, &reply).0, Verdict::Local);
    let released: Vec<_> = bench
        .outbox
        .ready_for(OUTSIDE)
        .map(|packet| (packet.offload, packet.bytes().to_vec()))
        .collect();
    let [(kept, frame)] = &released[..] else { panic!("one packet is expected") };
    assert_eq!(*kept, offload);
    assert_eq!(Seen::read(&completed(frame.clone(), 40)).source, POOL);
}

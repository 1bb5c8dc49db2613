//! ICMP errors of our own: who is told what, and how often.

use std::net::Ipv4Addr;

use mooring_packet::offload::GsoKind;
use mooring_packet::{BufferPool, Offload};
use mooring_policy::InterfaceId;
use mooring_wire::ipv4::Ipv4;
use mooring_wire::{Protocol, checksum};

use super::open_udp;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OTHER_HOST, OUR_INSIDE, OUR_INSIDE_IP, OUR_OUTSIDE,
    OUR_OUTSIDE_IP, OUTSIDE, POOL, SERVER, STRANGER, config_with,
};
use crate::{DropReason, Outbox, Verdict};

/// The one error that `sent` holds, which must have left by `interface`.
fn only_error(sent: &[(InterfaceId, Vec<u8>)], interface: InterfaceId) -> Seen {
    let [(egress, frame)] = sent else { panic!("one error is expected: {sent:02x?}") };
    assert_eq!(*egress, interface);
    Seen::read(frame)
}

/// An error of ours about `frame`, which HOST sent, quoting it from its IP header on.
fn to_host(kind: u8, code: u8, mtu: u16, frame: &[u8]) -> Seen {
    Seen {
        macs: (OUR_INSIDE, HOST_MAC),
        source: OUR_INSIDE_IP,
        destination: HOST,
        ttl: 64,
        transport: Transport::Icmp(kind, code, 0, mtu),
        payload: frame[14..frame.len().min(14 + 548)].to_vec(),
    }
}

/// RFC 1812 §4.3.2.3 and §5.3.1.
#[test]
fn a_packet_whose_time_ends_here_is_quoted_as_it_was_sent() {
    let mut bench = Bench::ready();
    for ttl in [0, 1] {
        let probe = inside(HOST, SERVER).ttl(ttl).udp(33434, 33434, &[7; 800]);
        let told = bench.refuse(INSIDE, &probe, DropReason::TtlExpired);
        assert_eq!(only_error(&told, INSIDE), to_host(11, 0, 0, &probe));
    }
    assert_eq!(bench.sessions(), 0, "a probe begins no session");
}

#[test]
fn the_time_of_a_packet_of_a_session_ends_here_too() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let forward = inside(HOST, SERVER).ttl(1).udp(5000, 53, b"");
    let told = bench.refuse(INSIDE, &forward, DropReason::TtlExpired);
    assert_eq!(only_error(&told, INSIDE), to_host(11, 0, 0, &forward));

    let reverse = outside(SERVER, POOL).ttl(1).udp(53, port, b"");
    let told = bench.refuse(OUTSIDE, &reverse, DropReason::TtlExpired);
    let error = only_error(&told, OUTSIDE);
    assert_eq!((error.source, error.destination), (OUR_OUTSIDE_IP, SERVER));
    assert_eq!(error.macs, (OUR_OUTSIDE, GATEWAY_MAC));
    assert_eq!(error.transport, Transport::Icmp(11, 0, 0, 0));
    assert_eq!(error.payload, reverse[14..], "the outside view: its own packet");
    assert_eq!(bench.engine.counters.originated, 2);
}

/// "All else unsolicited is silence": time that ends here makes no exception.
#[test]
fn what_nobody_would_carry_learns_nothing_from_its_time() {
    let mut bench = Bench::ready();
    let to_inside = outside(SERVER, HOST).ttl(1).udp(1, 2, b"");
    bench.ignore(OUTSIDE, &to_inside, DropReason::NoRule);
    let to_pool = outside(SERVER, POOL).ttl(1).udp(1, 2, b"");
    bench.ignore(OUTSIDE, &to_pool, DropReason::NoSession);
    let forged = outside(OTHER_HOST, STRANGER).ttl(1).udp(1, 2, b"");
    bench.ignore(OUTSIDE, &forged, DropReason::NoRule);
    let mail = inside(HOST, SERVER).ttl(1).tcp(5000, 25, "S", b"");
    bench.ignore(INSIDE, &mail, DropReason::RuleDrop);
}

/// RFC 1191 §4; the outside link carries 1,400 bytes.
#[test]
fn a_packet_that_may_not_be_cut_is_told_how_long_it_may_be() {
    let mut bench = Bench::ready();
    let fits = inside(HOST, SERVER).udp(5000, 53, &[7; 1372]);
    assert_eq!(bench.forward(INSIDE, &fits).len(), 14 + 1400);
    let too_long = inside(HOST, SERVER).udp(5000, 53, &[7; 1373]);
    let told = bench.refuse(INSIDE, &too_long, DropReason::TooBig);
    assert_eq!(only_error(&told, INSIDE), to_host(3, 4, 1400, &too_long));
}

/// However many other errors are wanted: a connection hangs that is not told.
#[test]
fn other_errors_do_not_use_up_those_about_length() {
    let mut bench = Bench::ready();
    for _ in 0..1_100 {
        bench.send(INSIDE, &inside(HOST, SERVER).ttl(1).udp(1, 2, b""));
        bench.sent();
    }
    let too_long = inside(OTHER_HOST, SERVER).udp(5000, 53, &[7; 1373]);
    let told = bench.refuse(INSIDE, &too_long, DropReason::TooBig);
    assert_eq!(told.len(), 1);
}

/// RFC 791 §3.2: header, options and identification are those of the whole; all but the last piece
/// are a multiple of 8 bytes long.
#[test]
fn a_packet_that_may_be_cut_leaves_in_pieces() {
    let mut bench = Bench::ready();
    let payload: Vec<u8> = (0..4_000).map(|n| n as u8).collect();
    let too_long = inside(HOST, SERVER).fragmentable().udp(5000, 53, &payload);
    for (completed, offload) in [(true, Offload::NONE), (false, Offload::partial_checksum(34, 6))] {
        let mut frame = too_long.clone();
        if !completed {
            let sum = checksum::pseudo_v4(HOST, SERVER, Protocol::UDP, 4_008);
            frame[40..42].copy_from_slice(&sum.to_be_bytes());
        }
        let (verdict, _) = bench.send_offloaded(INSIDE, &frame, offload);
        assert_eq!(verdict, Verdict::Cut);
        let pieces = bench.sent_by(OUTSIDE);
        let mut whole = Vec::new();
        for piece in &pieces {
            let ip = Ipv4::parse(&piece[14..]).unwrap();
            assert!(ip.checksum_is_valid() && ip.total_len() <= 1400 && ip.ttl() == 63);
            assert_eq!(usize::from(ip.fragment_offset()), whole.len());
            whole.extend(ip.payload());
            assert_eq!(ip.more_fragments(), whole.len() < 4_008);
        }
        assert_eq!((pieces.len(), whole.len()), (3, 4_008));
        let pseudo = checksum::pseudo_v4(POOL, SERVER, Protocol::UDP, 4_008);
        assert_eq!(checksum::add(checksum::sum(&whole), pseudo), 0xffff);
        assert_eq!(whole[8..], payload);
    }
    assert_eq!(bench.engine.counters.cut, 2);
}

/// A quarter of the buffers is kept for what we have to say ourselves.
#[test]
fn a_packet_is_not_too_big_because_no_buffer_is_free_for_its_pieces() {
    let mut bench = Bench::ready();
    let frame = inside(HOST, SERVER).fragmentable().udp(5000, 53, &[0; 4_000]);
    let mut cut = 0;
    while bench.send(INSIDE, &frame).0 == Verdict::Cut {
        cut += 1;
    }
    assert!(cut > 0);
    assert_eq!((bench.dropped(DropReason::RateLimited), bench.dropped(DropReason::TooBig)), (1, 0));
    bench.sent();
    assert_eq!(bench.send(INSIDE, &frame).0, Verdict::Cut);
}

/// Two hosts may choose the same identification, and go out with one address.
#[test]
fn pieces_of_several_hosts_are_not_mixed_up() {
    let mut bench = Bench::ready();
    let identifications = [HOST, OTHER_HOST].map(|host| {
        let frame = inside(host, SERVER).fragmentable().udp(5000, 53, &[0; 2_000]);
        assert_eq!(bench.send(INSIDE, &frame).0, Verdict::Cut);
        let pieces = bench.sent_by(OUTSIDE);
        let [first, second] = &pieces[..] else { panic!("two pieces are expected") };
        assert_eq!(first[18..20], second[18..20]);
        (frame[18..20].to_vec(), first[18..20].to_vec())
    });
    let [(one, sent_as), (other, other_sent_as)] = identifications;
    assert_eq!(one, other, "as the hosts have sent them");
    assert_ne!(sent_as, other_sent_as);
}

/// RFC 6864 §4.3: however many are cut, and beside what passes in pieces.
#[test]
fn packets_that_are_cut_have_identifications_that_nothing_else_has() {
    let mut bench = Bench::ready();
    let id = |piece: &[u8]| [piece[18], piece[19]];
    let mut seen = std::collections::HashSet::new();
    let frame = inside(HOST, SERVER).fragmentable().udp(5000, 53, &[0; 1_500]);
    for _ in 0..2_000 {
        assert_eq!(bench.send(INSIDE, &frame).0, Verdict::Cut);
        assert!(seen.insert(id(&bench.sent_by(OUTSIDE)[0])), "it is not in use");
    }
    // Another host's pieces carry one of them.
    let taken = *seen.iter().next().expect("there are some");
    let whole = inside(OTHER_HOST, SERVER).udp(5000, 53, &[0; 100]);
    let ip = inside(OTHER_HOST, SERVER);
    let piece = ip.pieces(u16::from_be_bytes(taken), 17, &whole[34..], 64).remove(0);
    assert!(seen.insert(id(&bench.forward(INSIDE, &piece))), "they get another one");
}

/// The device that cuts a super-packet of TCP can as well cut it into shorter segments.
#[test]
fn a_super_packet_that_may_be_cut_gets_shorter_segments() {
    let mut bench = Bench::ready();
    bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
    let frame = inside(HOST, SERVER).fragmentable().tcp(5000, 80, "A", &[7; 4_000]);
    let offload = Offload::partial_checksum(34, 16).with_gso(GsoKind::TcpV4, 1_460, 54);
    let (verdict, told) = bench.send_super(INSIDE, &frame, offload);
    assert_eq!(verdict, Verdict::Tx(OUTSIDE));
    // The headers of IPv4 and TCP have 20 bytes each.
    assert_eq!(told, offload.with_segments_of(1_400 - 40));
    // The next ones of the connection fit as they are.
    let fits = offload.with_segments_of(1_000);
    assert_eq!(bench.send_super(INSIDE, &frame, fits), (Verdict::Tx(OUTSIDE), fits));
}

#[test]
fn a_host_is_told_when_its_ports_are_exhausted() {
    let config = config_with("").replace(
        "addresses = [\"203.0.113.10/32\"]",
        "addresses = [\"203.0.113.10/32\"]\nports = \"2000-2001\"",
    );
    let mut bench = Bench::ready_with(&config);
    for port in [1, 2] {
        bench.forward(INSIDE, &inside(HOST, SERVER).udp(port, 53, b""));
    }
    let third = inside(HOST, SERVER).udp(3, 53, b"");
    let told = bench.refuse(INSIDE, &third, DropReason::PortsExhausted);
    assert_eq!(only_error(&told, INSIDE), to_host(3, 1, 0, &third));
    bench.forward(INSIDE, &inside(HOST, SERVER).tcp(3, 80, "S", b""));
}

/// RFC 6888 REQ-11 B: neither is there anything for a host that a deterministic pool has no slice for.
#[test]
fn a_host_is_told_when_it_has_no_address() {
    let plan = "{ kind = \"deterministic\", source = \"10.0.0.128/25\", ports_per_host = 100 }";
    let config = config_with("").replace(
        "addresses = [\"203.0.113.10/32\"]",
        &format!("addresses = [\"203.0.113.10/32\"]\nallocation = {plan}"),
    );
    let mut bench = Bench::ready_with(&config);
    let packet = inside(HOST, SERVER).udp(1, 53, b"");
    let told = bench.refuse(INSIDE, &packet, DropReason::PoolEmpty);
    assert_eq!(only_error(&told, INSIDE), to_host(3, 1, 0, &packet));
}

/// RFC 6888 REQ-11: no session is deleted to make room.
#[test]
fn a_host_is_told_when_the_table_is_full() {
    let mut bench = Bench::ready_with(&config_with("[limits]\nsessions = 2"));
    let packet = |port| inside(HOST, SERVER).udp(port, 53, b"");
    for port in [1, 2] {
        bench.forward(INSIDE, &packet(port));
    }
    let told = bench.refuse(INSIDE, &packet(3), DropReason::TableFull);
    assert_eq!(only_error(&told, INSIDE), to_host(3, 1, 0, &packet(3)));
    for port in [1, 2] {
        bench.forward(INSIDE, &packet(port));
    }
    let occupancy = bench.engine.occupancy();
    assert_eq!((occupancy.sessions, occupancy.leased_ports), (2, 2));
}

#[test]
fn nobody_outside_is_told_that_the_table_is_full() {
    let forwarded = "[[rule]]\nname = \"web\"\nkind = \"port-forward\"\naddress = \"203.0.113.10\"\n\
                     protocol = \"udp\"\nport = \"8080\"\ntarget = \"10.0.0.3:80\"\n";
    let config = config_with(&format!("{forwarded}[limits]\nsessions = 1"));
    let mut bench = Bench::ready_with(&config);
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(1000, 8080, b""));
    let other = outside(STRANGER, POOL).udp(1000, 8080, b"");
    bench.ignore(OUTSIDE, &other, DropReason::TableFull);
}

/// RFC 6888 REQ-4.
#[test]
fn a_host_is_told_when_it_has_all_it_may_have() {
    let mut bench = Bench::ready_with(&config_with("[limits]\nsessions_per_source = 1"));
    open_udp(&mut bench);
    let more = inside(HOST, STRANGER).udp(5000, 53, b"");
    let told = bench.refuse(INSIDE, &more, DropReason::SourceLimit);
    assert_eq!(only_error(&told, INSIDE), to_host(3, 1, 0, &more));
    bench.forward(INSIDE, &inside(OTHER_HOST, SERVER).udp(5000, 53, b""));
}

/// RFC 1122 §3.2.2.
#[test]
fn there_is_no_error_about_an_error() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let translated = inside(POOL, SERVER).udp(port, 53, b"");
    let error = outside(STRANGER, POOL).ttl(1).error((3, 3), 0, &translated);
    bench.ignore(OUTSIDE, &error, DropReason::TtlExpired);
}

#[test]
fn there_is_no_error_to_whom_no_machine_can_be() {
    let mut bench = Bench::ready();
    for source in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        let packet = inside(source, SERVER).ttl(1).udp(1, 2, b"");
        bench.ignore(INSIDE, &packet, DropReason::Martian);
    }
}

/// RFC 1812 §4.3.2.8: errors are limited in rate, here 1,000 a second and as many at once.
#[test]
fn errors_are_limited_in_rate() {
    let mut bench = Bench::ready();
    let probe = inside(HOST, SERVER).ttl(1).udp(33434, 33434, b"");
    let told = |bench: &mut Bench, probes: usize| -> usize {
        (0..probes).map(|_| bench.refuse(INSIDE, &probe, DropReason::TtlExpired).len()).sum()
    };
    assert_eq!(told(&mut bench, 1_500), 1_000);
    bench.pass(100);
    assert_eq!(told(&mut bench, 300), 100);
    bench.pass(60_000);
    assert_eq!(told(&mut bench, 1_500), 1_000);
    assert_eq!(bench.engine.counters.originated, 2_100);
    assert_eq!(bench.dropped(DropReason::TtlExpired), 3_300);
}

#[test]
fn an_error_needs_a_free_buffer_and_is_no_loss_without() {
    let mut bench = Bench::ready();
    bench.outbox = Outbox::new(BufferPool::new(0, 0));
    let probe = inside(HOST, SERVER).ttl(1).udp(33434, 33434, b"");
    bench.ignore(INSIDE, &probe, DropReason::TtlExpired);
    assert_eq!(bench.engine.counters.originated, 0);
}

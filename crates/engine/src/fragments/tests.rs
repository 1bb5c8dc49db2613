//! Packets in pieces, as they come and as they leave.

mod order;
mod v6;

use crate::test_bench::frames::{Ip, inside, outside, with_byte};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    BUFFERS, Bench, CONFIG, GATEWAY, HOST, INSIDE, OTHER_HOST, OUR_INSIDE_IP, OUTSIDE, POOL,
    SERVER, config_with,
};
use crate::walk::tests::reloaded::reload;
use crate::{DropReason, Share, Stage, Verdict, WorkerId};
use mooring_policy::InterfaceId;

const UDP: u8 = 17;
const ICMP: u8 = 1;

/// The pieces of a datagram with this payload, from port 5000 to port 53.
fn question(ip: Ip, identification: u16, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let whole = ip.clone().udp(5000, 53, payload);
    ip.pieces(identification, UDP, &whole[34..], size)
}

/// The packet that pieces are of, and their identification.
fn joined(pieces: &[Vec<u8>]) -> (Vec<u8>, u16) {
    let mut pieces = pieces.to_vec();
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    pieces.sort_by_key(|piece| word(piece, 20) & 0x1fff);
    let mut whole = pieces[0][..34].to_vec();
    let identification = word(&whole, 18);
    for (at, piece) in pieces.iter().enumerate() {
        let offset = usize::from(word(piece, 20) & 0x1fff) * 8;
        assert_eq!(offset, whole.len() - 34, "no byte is missing or there twice");
        assert_eq!(word(piece, 20) & 0x2000 == 0, at + 1 == pieces.len(), "the last one says so");
        assert_eq!(word(piece, 18), identification, "they belong together");
        assert_eq!(usize::from(word(piece, 16)), piece.len() - 14);
        assert_eq!(piece[22..24], whole[22..24], "TTL and protocol");
        assert_eq!(piece[26..34], whole[26..34], "both addresses");
        let mut header = piece.clone();
        header.truncate(34);
        assert_eq!(mooring_wire::checksum::rfc1071(&header[14..]), 0xffff, "the header's checksum");
        whole.extend(&piece[34..]);
    }
    let len = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&len.to_be_bytes());
    whole[20..22].fill(0);
    mooring_wire::ipv4::Ipv4::parse(&mut whole[14..]).expect("it is whole").fill_checksum();
    (whole, identification)
}

fn memory(bench: &Bench) -> (usize, usize) {
    let occupancy = bench.engine.occupancy();
    (occupancy.fragmented, occupancy.waiting_fragments)
}

#[test]
fn a_datagram_in_pieces_goes_out_and_its_answer_comes_back() {
    let mut bench = Bench::ready();
    let payload: Vec<u8> = (0..4_000_u32).map(|n| n as u8).collect();
    let pieces = question(inside(HOST, SERVER), 7, &payload, 1_376);
    let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect();
    let (whole, identification) = joined(&sent);
    let seen = Seen::read(&whole);
    assert_eq!((seen.source, seen.destination, seen.ttl), (POOL, SERVER, 63));
    assert_eq!((&seen.payload, identification), (&payload, 7));
    let Transport::Udp(port, 53) = seen.transport else { panic!("{seen:?}") };
    let ip = outside(SERVER, POOL);
    let answer = ip.clone().udp(53, port, &payload);
    let pieces = ip.pieces(9, UDP, &answer[34..], 1_376);
    let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(OUTSIDE, piece)).collect();
    let (whole, identification) = joined(&sent);
    let seen = Seen::read(&whole);
    assert_eq!((seen.destination, seen.transport), (HOST, Transport::Udp(53, 5000)));
    assert_eq!((seen.payload, identification), (payload, 9));
    assert_eq!(memory(&bench), (0, 0), "what has come whole is forgotten");
    let (sessions, _) = bench.engine.sessions(bench.now, 0);
    assert_eq!((sessions[0].forward.packets, sessions[0].reverse.packets), (3, 3));
}

#[test]
fn pings_in_pieces_pass() {
    let mut bench = Bench::ready();
    let ip = inside(HOST, SERVER);
    let whole = ip.clone().icmp(8, 0, [[0, 77], [0, 1]], &[5; 3_000]);
    let pieces = ip.pieces(7, ICMP, &whole[34..], 1_376);
    let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect();
    let seen = Seen::read(&joined(&sent).0);
    assert_eq!((seen.source, seen.payload), (POOL, vec![5; 3_000]));
    assert!(matches!(seen.transport, Transport::Icmp(8, 0, _, 1)));
}

/// RFC 6864 §4.3, RFC 7857 §10.
#[test]
fn two_hosts_with_one_identification_leave_with_two() {
    let mut bench = Bench::ready();
    let mut sent = [Vec::new(), Vec::new()];
    let both = [HOST, OTHER_HOST].map(|host| question(inside(host, SERVER), 7, &[1; 3_000], 1_376));
    for at in 0..both[0].len() {
        for (sent, pieces) in sent.iter_mut().zip(&both) {
            sent.push(bench.forward(INSIDE, &pieces[at]));
        }
    }
    let [first, second] = sent.map(|pieces| joined(&pieces));
    assert_eq!(first.1, 7);
    assert_ne!(second.1, 7);
    for (whole, _) in [&first, &second] {
        assert_eq!(Seen::read(whole).payload, [1; 3_000]);
    }
}

/// RFC 3022 §6.3: one after the other, while the receiver may still wait for a piece.
#[test]
fn a_host_does_not_take_up_the_identification_of_another_that_has_passed() {
    let mut bench = Bench::ready();
    let [first, second] = [HOST, OTHER_HOST].map(|host| {
        let pieces = question(inside(host, SERVER), 7, &[1; 3_000], 1_376);
        joined(&pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect::<Vec<_>>())
    });
    assert_eq!(memory(&bench), (0, 0), "both have passed");
    assert_eq!(first.1, 7);
    assert_ne!(second.1, 7);
}

#[test]
fn pieces_to_a_forwarded_port_and_through_a_hairpin() {
    let mut bench = Bench::ready_with(&config_with(
        r#"
        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.10"
        protocol = "udp"
        port = "53"
        target = "10.0.0.3:80"
    "#,
    ));
    for (link, ip) in [(OUTSIDE, outside(SERVER, POOL)), (INSIDE, inside(HOST, POOL))] {
        let source = if link == OUTSIDE { SERVER } else { POOL };
        for backwards in [false, true] {
            let mut pieces = question(ip.clone(), 7, &[3; 3_000], 1_376);
            if backwards {
                pieces.reverse();
            }
            let mut sent = Vec::new();
            for piece in pieces {
                match bench.send(link, &piece) {
                    (Verdict::Tx(INSIDE), frame) => sent.push(frame),
                    (verdict, _) => assert_eq!(verdict, Verdict::Hold),
                }
            }
            sent.extend(bench.sent_by(INSIDE));
            let seen = Seen::read(&joined(&sent).0);
            assert_eq!((seen.source, seen.destination, seen.ttl), (source, OTHER_HOST, 63));
            assert!(matches!(seen.transport, Transport::Udp(_, 80)));
        }
    }
    assert_eq!(memory(&bench), (0, 0));
}

#[test]
fn protocols_without_ports_pass_by_static_addresses() {
    let rule = r#"
    [[rule]]
    name = "host"
    kind = "static"
    inside = "10.0.0.3"
    outside = "203.0.113.20"

    [[rule]]"#;
    let mut bench = Bench::ready_with(&CONFIG.replacen("[[rule]]", rule, 1));
    let pieces = inside(OTHER_HOST, SERVER).pieces(7, 47, &[9; 40], 16);
    let sent: Vec<_> = pieces.iter().map(|piece| bench.forward(INSIDE, piece)).collect();
    let (whole, _) = joined(&sent);
    assert_eq!((&whole[26..30], &whole[34..]), (&[203, 0, 113, 20][..], &[9; 40][..]));
}

#[test]
fn what_only_the_receiver_could_read_is_dropped() {
    let mut bench = Bench::ready();
    let refused = DropReason::FragmentUntranslated;
    let ping = inside(HOST, OUR_INSIDE_IP);
    let whole = ping.clone().icmp(8, 0, [[0, 77], [0, 1]], &[5; 100]);
    for piece in ping.pieces(7, ICMP, &whole[34..], 64) {
        bench.ignore(INSIDE, &piece, refused);
    }
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b"question"));
    let ip = outside(GATEWAY, POOL);
    let error = ip.clone().error((3, 3), 0, &sent);
    for piece in ip.pieces(7, ICMP, &error[34..], 16) {
        bench.ignore(OUTSIDE, &piece, refused);
    }
    assert_eq!(bench.sessions(), 1);
}

/// The worker that remembers the pieces finds the owner of the flow by the first one.
#[test]
fn pieces_find_their_worker_wherever_they_arrive() {
    let share = |worker| Share::new(worker, 2).expect("one of two");
    let mut workers = [0, 1].map(|worker| Bench::ready_as(share(worker), CONFIG));
    let mut give = |link, pieces: &[Vec<u8>], arrives: usize| {
        let mut handed = 0;
        let sent = pieces.iter().map(|piece| {
            let (mut at, mut outcome) = (arrives, workers[arrives].send(link, piece));
            while let Verdict::HandOver(WorkerId(owner)) = outcome.0 {
                assert_ne!(usize::from(owner), at);
                at = owner.into();
                handed += 1;
                assert!(handed <= 2 * pieces.len(), "at most twice each");
                outcome = workers[at].send_handed(link, false, piece);
            }
            assert!(matches!(outcome.0, Verdict::Tx(egress) if egress != link), "{outcome:?}");
            outcome.1
        });
        (joined(&sent.collect::<Vec<_>>()).0, handed)
    };
    let mut handed_twice = false;
    for identification in 0..16 {
        let arrives = usize::from(identification) % 2;
        let question = question(inside(HOST, SERVER), identification, &[1; 40], 16);
        let seen = Seen::read(&give(INSIDE, &question, arrives).0);
        let Transport::Udp(port, 53) = seen.transport else { panic!("{seen:?}") };
        let ip = outside(SERVER, POOL);
        let answer = ip.clone().udp(53, port, &[2; 40]);
        let answer = ip.pieces(identification, UDP, &answer[34..], 16);
        let (whole, handed) = give(OUTSIDE, &answer, arrives);
        assert_eq!(Seen::read(&whole).transport, Transport::Udp(53, 5000));
        handed_twice |= handed == 2 * answer.len();
    }
    assert!(handed_twice, "otherwise the case was not met");
}

/// Those that came before the first one go where it goes, behind it.
#[test]
fn pieces_that_wait_are_handed_over_behind_the_first_one() {
    let share = |worker| Share::new(worker, 2).expect("one of two");
    let mut workers = [0, 1].map(|worker| Bench::ready_as(share(worker), CONFIG));
    let mut handed_behind = 0;
    for identification in 0..16 {
        let arrives = usize::from(identification) % 2;
        let mut outward = question(inside(HOST, SERVER), identification, &[1; 40], 16);
        outward.reverse();
        let give = |workers: &mut [Bench; 2], link, pieces: &[Vec<u8>]| {
            let sent = pieces.iter().map(|piece| follow(workers, (link, arrives, false), piece));
            let (sent, behind): (Vec<_>, Vec<usize>) = sent.unzip();
            (joined(&sent.concat()).0, behind.iter().sum::<usize>())
        };
        let seen = Seen::read(&give(&mut workers, INSIDE, &outward).0);
        let Transport::Udp(port, 53) = seen.transport else { panic!("{seen:?}") };
        let ip = outside(SERVER, POOL);
        let answer = ip.clone().udp(53, port, &[2; 40]);
        let mut inward = ip.pieces(identification, UDP, &answer[34..], 16);
        inward.reverse();
        let (whole, behind) = give(&mut workers, OUTSIDE, &inward);
        assert_eq!(Seen::read(&whole).transport, Transport::Udp(53, 5000));
        handed_behind += behind;
    }
    assert!(handed_behind > 0, "otherwise the case was not met");
    for worker in &workers {
        assert_eq!(memory(worker), (0, 0));
        assert_eq!(worker.outbox.free(), (BUFFERS, BUFFERS));
    }
}

/// Follows a piece from worker to worker; what left because of it, and how many were handed over that
/// had waited.
fn follow(
    workers: &mut [Bench; 2],
    (link, at, handed): (InterfaceId, usize, bool),
    piece: &[u8],
) -> (Vec<Vec<u8>>, usize) {
    let worker = &mut workers[at];
    let (verdict, after) = match handed {
        true => worker.send_handed(link, false, piece),
        false => worker.send(link, piece),
    };
    let waited: Vec<_> =
        worker.outbox.handed().map(|(to, packet)| (to, packet.bytes().to_vec())).collect();
    let left = worker.sent().into_iter().map(|(_, frame)| frame);
    let left: Vec<_> = left.collect();
    let (mut sent, mut behind) = match verdict {
        Verdict::Tx(_) => (vec![after], 0),
        Verdict::Hold => (Vec::new(), 0),
        Verdict::HandOver(WorkerId(to)) => follow(workers, (link, to.into(), true), &after),
        other => panic!("{other:?}"),
    };
    sent.extend(left);
    for (to, bytes) in waited {
        assert_eq!((to.ingress, to.stage), (link, Stage::Arrived));
        let (more, further) = follow(workers, (link, to.to.0.into(), true), &bytes);
        sent.extend(more);
        behind += 1 + further;
    }
    (sent, behind)
}

/// RFC 1858 §3, RFC 7112 §5: whatever the protocol, also where options make the header longer.
#[test]
fn a_first_piece_has_its_whole_l4_header() {
    let mut bench = Bench::ready();
    let ip = inside(HOST, SERVER);
    let whole = ip.clone().tcp(5000, 80, "S", &[1; 40]);
    let pieces = ip.clone().pieces(7, 6, &whole[34..], 8);
    bench.ignore(INSIDE, &pieces[0], DropReason::FragmentTiny);
    bench.ignore(INSIDE, &pieces[1], DropReason::FragmentTiny);
    bench.ignore(INSIDE, &pieces[3], DropReason::FragmentOverlap);
    let mut with_options = whole[34..].to_vec();
    with_options[12] = 0xf0;
    let first = ip.clone().pieces(8, 6, &with_options, 56).remove(0);
    bench.ignore(INSIDE, &first, DropReason::FragmentTiny);
    let sctp = ip.pieces(9, 132, &[0; 40], 8).remove(0);
    bench.ignore(INSIDE, &sctp, DropReason::FragmentTiny);
    assert_eq!(bench.sessions(), 0);
}

/// RFC 8200 §4.5, and RFC 791 §3.2 for IPv4. No Parameter Problem is sent: we put nothing together.
#[test]
fn a_piece_with_others_behind_it_is_a_multiple_of_8_bytes() {
    let mut bench = Bench::ready();
    for len in [9, 13, 15] {
        let odd = inside(HOST, SERVER).piece(0, true).other(UDP, &[0; 16][..len]);
        bench.ignore(INSIDE, &odd, DropReason::Malformed);
    }
    assert_eq!(memory(&bench), (0, 0));
}

/// The "ping of death": a datagram would be longer than its length field can tell, with its header.
#[test]
fn a_piece_that_ends_beyond_65535_bytes_is_malformed() {
    let mut bench = Bench::ready();
    let last = |offset: u16, len: usize| {
        inside(HOST, SERVER).piece(offset, false).other(ICMP, &vec![0; len])
    };
    bench.ignore(INSIDE, &last(0x1fff, 600), DropReason::Malformed);
    // 20 bytes of header and 65,515 others are the most.
    bench.ignore(INSIDE, &last(65_512 / 8, 4), DropReason::Malformed);
    assert_eq!(bench.send(INSIDE, &last(65_512 / 8, 3)).0, Verdict::Hold);
}

/// RFC 3128: what would write over the flags of a TCP header that has passed ends its datagram.
#[test]
fn a_piece_that_would_overwrite_a_tcp_header_is_dropped_and_so_is_all_behind_it() {
    let mut bench = Bench::ready();
    let ip = inside(HOST, SERVER);
    let whole = ip.clone().tcp(5000, 80, "S", &[1; 40]);
    let pieces = ip.pieces(7, 6, &whole[34..], 32);
    let flags =
        |offset| inside(HOST, SERVER).identified(7).piece(offset, true).other(6, &[0xff; 16]);
    bench.ignore(INSIDE, &flags(1), DropReason::FragmentTiny);
    bench.forward(INSIDE, &pieces[0]);
    for offset in [1, 2] {
        bench.ignore(INSIDE, &flags(offset), DropReason::FragmentTiny);
    }
    bench.ignore(INSIDE, &pieces[1], DropReason::FragmentOverlap);
}

/// RFC 8200 §4.5: a piece that the network has doubled does not end its datagram.
#[test]
fn a_piece_that_comes_twice_is_dropped_alone() {
    let mut bench = Bench::ready();
    let pieces = question(inside(HOST, SERVER), 7, &[1; 40], 16);
    let sent: Vec<_> = pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| {
            let sent = bench.forward(INSIDE, piece);
            if at + 1 < pieces.len() {
                bench.ignore(INSIDE, piece, DropReason::FragmentDuplicate);
                bench.ignore(INSIDE, &pieces[0], DropReason::FragmentDuplicate);
            }
            sent
        })
        .collect();
    assert_eq!(Seen::read(&joined(&sent).0).payload, [1; 40]);
}

/// RFC 5722 §4.
#[test]
fn overlapping_pieces_are_dropped() {
    let mut bench = Bench::ready();
    let pieces = question(inside(HOST, SERVER), 7, &[1; 40], 16);
    bench.forward(INSIDE, &pieces[0]);
    let overlap = inside(HOST, SERVER).identified(7).piece(1, true).other(UDP, &[0; 16]);
    bench.ignore(INSIDE, &overlap, DropReason::FragmentOverlap);
    bench.ignore(INSIDE, &pieces[2], DropReason::FragmentOverlap);
}

#[test]
fn no_more_packets_are_remembered_than_the_limit_says() {
    let mut bench =
        Bench::ready_with(&config_with("[limits]\nfragments = 2\nfragments_per_source = 2"));
    let first = |id| question(inside(HOST, SERVER), id, &[1; 40], 16).remove(0);
    bench.forward(INSIDE, &first(1));
    bench.forward(INSIDE, &first(2));
    bench.ignore(INSIDE, &first(3), DropReason::FragmentLimit);
    let forgotten = bench.engine.fragments.next_deadline().map(|at| at.as_millis());
    assert_eq!(forgotten, Some(bench.now.as_millis() + 2_000));
    assert!(bench.engine.next_deadline() <= bench.engine.fragments.next_deadline());
    bench.rest(2_000);
    assert_eq!(memory(&bench), (0, 0));
    bench.forward(INSIDE, &first(3));
}

/// One sender does not take the memory from the others.
#[test]
fn a_sender_has_its_share_of_what_is_remembered() {
    let mut bench = Bench::ready_with(&config_with("[limits]\nfragments = 8"));
    let first = |host, id| question(inside(host, SERVER), id, &[1; 40], 16).remove(0);
    for host in [HOST, OTHER_HOST] {
        // A quarter, if nothing is said.
        bench.forward(INSIDE, &first(host, 1));
        bench.forward(INSIDE, &first(host, 2));
        bench.ignore(INSIDE, &first(host, 3), DropReason::FragmentLimit);
    }
    bench.rest(2_000);
    bench.forward(INSIDE, &first(HOST, 3));
}

/// With `source_prefix_v4` or `source_prefix_v6` a sender is a prefix.
#[test]
fn the_share_of_a_sender_is_that_of_its_prefix() {
    let mut bench =
        Bench::ready_with(&config_with("[limits]\nfragments = 8\nsource_prefix_v4 = 31"));
    let first = |host, id| question(inside(host, SERVER), id, &[1; 40], 16).remove(0);
    bench.forward(INSIDE, &first(HOST, 1));
    bench.forward(INSIDE, &first(OTHER_HOST, 1));
    bench.ignore(INSIDE, &first(HOST, 2), DropReason::FragmentLimit);
    bench.ignore(INSIDE, &first(OTHER_HOST, 2), DropReason::FragmentLimit);
}

#[test]
fn the_share_of_a_sender_follows_a_reload() {
    let limits = |most: &str| config_with(&format!("[limits]\nfragments = 8\n{most}"));
    let mut bench = Bench::ready_with(&limits(""));
    let first = |host, id| question(inside(host, SERVER), id, &[1; 40], 16).remove(0);
    let mut passed = |config: &str, host| {
        reload(&mut bench, config);
        let passes = |&id: &u16| bench.send(INSIDE, &first(host, id)).0 == Verdict::Tx(OUTSIDE);
        (1..9).filter(passes).count()
    };
    assert_eq!(passed(&limits("fragments_per_source = 4"), HOST), 4);
    assert_eq!(passed(&limits("fragments_per_source = 1"), OTHER_HOST), 1);
}

/// Nor the room for what waits.
#[test]
fn a_sender_has_its_share_of_what_waits() {
    let mut bench = Bench::ready();
    let mut held = |host| {
        let early = |id| question(inside(host, SERVER), id, &[1; 40], 16).remove(1);
        (0..290).filter(|&id| bench.send(INSIDE, &early(id)).0 == Verdict::Hold).count()
    };
    assert_eq!((held(HOST), held(OTHER_HOST)), (256, BUFFERS / 2 - 256));
}

/// RFC 792: Time Exceeded is for first pieces alone.
#[test]
fn time_exceeded_is_said_once() {
    let mut bench = Bench::ready();
    let pieces = question(inside(HOST, SERVER).ttl(1), 7, &[1; 40], 16);
    let said = bench.refuse(INSIDE, &pieces[0], DropReason::TtlExpired);
    assert_eq!(said.len(), 1);
    bench.ignore(INSIDE, &pieces[1], DropReason::FragmentUntranslated);
    let fine = question(inside(HOST, SERVER), 8, &[1; 40], 16);
    bench.forward(INSIDE, &fine[0]);
    bench.ignore(
        INSIDE,
        &question(inside(HOST, SERVER).ttl(1), 8, &[1; 40], 16)[1],
        DropReason::TtlExpired,
    );
}

#[test]
fn pieces_too_long_for_the_next_link_are_cut_again() {
    let mut bench = Bench::ready();
    let payload: Vec<u8> = (0..3_500_u32).map(|n| n as u8).collect();
    for piece in question(inside(HOST, SERVER), 7, &payload, 1_480).iter().take(2) {
        assert_eq!(bench.send(INSIDE, piece).0, Verdict::Cut);
    }
    let last = question(inside(HOST, SERVER), 7, &payload, 1_480).remove(2);
    let (verdict, last) = bench.send(INSIDE, &last);
    assert_eq!(verdict, Verdict::Tx(OUTSIDE));
    let mut sent = bench.sent_by(OUTSIDE);
    sent.push(last);
    assert_eq!(sent.len(), 5);
    assert!(sent.iter().all(|piece| piece.len() <= 14 + 1_400));
    assert_eq!(Seen::read(&joined(&sent).0).payload, payload);
}

/// RFC 1122 §3.2.2: an error about the first piece, none about others.
#[test]
fn pieces_that_may_not_be_cut_are_told_of_once() {
    let mut bench = Bench::ready();
    let may_not = |frame: &Vec<u8>| {
        let mut frame = with_byte(frame.clone(), 20, frame[20] | 0x40);
        let mut ip = mooring_wire::ipv4::Ipv4::parse(&mut frame[14..]).expect("a packet");
        ip.fill_checksum();
        frame
    };
    let pieces = question(inside(HOST, SERVER), 7, &[1; 3_500], 1_480);
    let said = bench.refuse(INSIDE, &may_not(&pieces[0]), DropReason::TooBig);
    let seen = Seen::read(&said[0].1);
    assert!(matches!(seen.transport, Transport::Icmp(3, 4, 0, 1_400)), "{seen:?}");
    bench.ignore(INSIDE, &may_not(&pieces[1]), DropReason::FragmentUntranslated);
}

/// RFC 1122 §3.2.2: nor about a later piece that is longer than the first one was.
#[test]
fn a_later_piece_that_may_not_be_cut_is_dropped_in_silence() {
    let mut bench = Bench::ready();
    let first = question(inside(HOST, SERVER), 7, &[1; 3_500], 1_376).remove(0);
    bench.forward(INSIDE, &first);
    let later = question(inside(HOST, SERVER), 7, &[1; 3_500], 1_480).remove(1);
    let mut later = with_byte(later.clone(), 20, later[20] | 0x40);
    let mut ip = mooring_wire::ipv4::Ipv4::parse(&mut later[14..]).expect("a packet");
    ip.fill_checksum();
    bench.ignore(INSIDE, &later, DropReason::TooBig);
}

#[test]
fn pieces_wait_for_the_neighbour_in_their_order() {
    let mut bench = Bench::unresolved(CONFIG);
    bench.learn(INSIDE, HOST, crate::test_bench::HOST_MAC);
    let pieces = question(inside(HOST, SERVER), 7, &[1; 40], 16);
    for piece in [&pieces[1], &pieces[0], &pieces[2]] {
        assert_eq!(bench.send(INSIDE, piece).0, Verdict::Hold);
    }
    bench.sent();
    let sent = bench.gateway_answers();
    assert_eq!(sent.iter().map(|frame| frame[21]).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(Seen::read(&joined(&sent).0).payload, [1; 40]);
    assert_eq!(bench.outbox.free(), (BUFFERS, BUFFERS));
}

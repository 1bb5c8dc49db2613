//! The errors themselves: which packets get one, and how they look. When one is due is in the tests
//! of the walk.

use mooring_packet::{BufferPool, Offload, Packet};

use super::{Complainer, Complaint, complain};
use crate::Outbox;
use crate::classify::{Class, Classified, classify};
use crate::test_bench::frames::inside;
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{HOST, HOST_MAC, INSIDE, OUR_INSIDE, OUR_INSIDE_IP, SERVER};

/// Complains about `frame`; `None` when it gets no answer.
fn answer(frame: &[u8], complaint: Complaint) -> Option<Vec<u8>> {
    let mut outbox = Outbox::new(BufferPool::new(1, 0));
    let from = Complainer { interface: INSIDE, mac: OUR_INSIDE, address: OUR_INSIDE_IP };
    let mut frame = frame.to_vec();
    let len = frame.len();
    let packet = Packet::new(&mut frame, 0, len, Offload::NONE);
    let mut classified = Classified::NOTHING;
    classify(&packet, OUR_INSIDE, &mut classified);
    let said = classified.class == Class::Flow
        && complain(packet.bytes(), &classified.v4, complaint, from, &mut outbox);
    let sent: Vec<_> = outbox.ready_for(INSIDE).map(|packet| packet.bytes().to_vec()).collect();
    assert_eq!(said, sent.len() == 1);
    outbox.clear();
    assert_eq!(outbox.free(), (1, 0));
    sent.into_iter().next()
}

#[test]
fn each_complaint_has_its_type_and_code() {
    let frame = inside(HOST, SERVER).udp(1, 2, b"abc");
    for (complaint, kind, code, mtu) in [
        (Complaint::TimeExceeded, 11, 0, 0),
        (Complaint::TooBig(1400), 3, 4, 1400),
        (Complaint::HostUnreachable, 3, 1, 0),
    ] {
        let sent = answer(&frame, complaint).expect("a datagram gets an answer");
        let expected = Seen {
            macs: (OUR_INSIDE, HOST_MAC),
            source: OUR_INSIDE_IP,
            destination: HOST,
            ttl: 64,
            transport: Transport::Icmp(kind, code, 0, mtu),
            payload: frame[14..].to_vec(),
        };
        assert_eq!(Seen::read(&sent), expected);
        // RFC 1812 §4.3.2.5: precedence 6; not to be cut, so that the identification may be 0.
        assert_eq!((sent[15], &sent[18..22]), (0xc0, &[0, 0, 0x40, 0][..]));
    }
}

/// RFC 1812 §4.3.2.3: no more than 576 bytes in all, and nothing beyond the packet.
#[test]
fn as_much_is_quoted_as_fits_and_no_padding() {
    let long = inside(HOST, SERVER).udp(1, 2, &[7; 1000]);
    let sent = answer(&long, Complaint::TimeExceeded).expect("a datagram gets an answer");
    assert_eq!(sent.len(), 14 + 576);
    assert_eq!(Seen::read(&sent).payload, long[14..14 + 548]);

    let mut padded = inside(HOST, SERVER).udp(1, 2, b"");
    padded.resize(60, 0xee);
    let sent = answer(&padded, Complaint::TimeExceeded).expect("a datagram gets an answer");
    assert_eq!(Seen::read(&sent).payload, padded[14..42]);
}

/// RFC 1122 §3.2.2.
#[test]
fn some_packets_get_no_answer() {
    let quoted = inside(SERVER, HOST).udp(1, 2, b"");
    let errors = [3, 4, 5, 11, 12].map(|kind| inside(HOST, SERVER).error((kind, 0), 0, &quoted));
    let unknown = [1, 9, 10, 40].map(|kind| inside(HOST, SERVER).icmp(kind, 0, [[0; 2]; 2], b""));
    let later_pieces = [(1, true), (1, false)]
        .map(|(offset, more)| inside(HOST, SERVER).piece(offset, more).udp(1, 2, b"12345678"));
    let nobody = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]]
        .map(|source| inside(source.into(), SERVER).udp(1, 2, b""));
    let cut_short = [vec![], quoted[..13].to_vec(), quoted[..33].to_vec()];
    let silent =
        errors.iter().chain(&unknown).chain(&later_pieces).chain(&nobody).chain(&cut_short);
    for frame in silent {
        assert_eq!(answer(frame, Complaint::TimeExceeded), None, "{frame:02x?}");
    }
}

#[test]
fn queries_get_an_answer() {
    let query = inside(HOST, SERVER).echo_request(1, 1);
    let reply = inside(HOST, SERVER).echo_reply(1, 1);
    let timestamp = inside(HOST, SERVER).icmp(13, 0, [[0, 1], [0, 1]], &[0; 12]);
    for frame in [query, reply, timestamp] {
        assert!(answer(&frame, Complaint::TimeExceeded).is_some(), "{frame:02x?}");
    }
}

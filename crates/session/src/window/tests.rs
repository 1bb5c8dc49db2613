//! Segments by their numbers; whole conversations are in `conversation`.

mod conversation;

use mooring_wire::tcp::{Flags, Tcp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::segment::window_scale;
use super::{Connection, Judged, Segment};
use crate::Direction::{self, Forward, Reverse};
use crate::State;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const RST: Flags = Flags::RST;
const SYN_ACK: Flags = Flags(SYN.0 | ACK.0);

/// Initial numbers of the host inside and of the remote end.
const OURS: u32 = 1_000;
const THEIRS: u32 = 0xffff_fff0;

fn segment(flags: Flags, sequence: u32, acknowledgment: u32) -> Segment {
    Segment {
        sequence,
        acknowledgment,
        window: 10_000,
        flags,
        payload: 0,
        scale: None,
        in_pieces: false,
    }
}

/// A connection that has been opened from inside.
fn open() -> Connection {
    let mut connection = Connection::default();
    let steps = [
        (State::HalfOpen, Forward, segment(SYN, OURS, 0)),
        (State::HalfOpen, Reverse, segment(SYN_ACK, THEIRS, OURS + 1)),
        (State::Established, Forward, segment(ACK, OURS + 1, THEIRS.wrapping_add(1))),
    ];
    for (state, direction, segment) in steps {
        assert_eq!(connection.judge(state, direction, &segment), Judged::Real, "{segment:?}");
    }
    connection
}

fn judge(connection: &mut Connection, direction: Direction, segment: Segment) -> Judged {
    connection.judge(State::Established, direction, &segment)
}

#[test]
fn data_and_acknowledgments_in_the_window_are_real() {
    let mut connection = open();
    let theirs = THEIRS.wrapping_add(1);
    let data = |sequence, payload| Segment { payload, ..segment(ACK, sequence, theirs) };
    assert_eq!(judge(&mut connection, Forward, data(OURS + 1, 5_000)), Judged::Real);
    // Lost before us, in part; then what was lost.
    assert_eq!(judge(&mut connection, Forward, data(OURS + 8_001, 2_000)), Judged::Real);
    assert_eq!(judge(&mut connection, Forward, data(OURS + 5_001, 3_000)), Judged::Real);
    let acked = segment(ACK, theirs, OURS + 10_001);
    assert_eq!(judge(&mut connection, Reverse, acked), Judged::Real);
    // A keep-alive (RFC 9293 §3.8.4).
    assert_eq!(judge(&mut connection, Forward, data(OURS + 10_000, 0)), Judged::Real);
    assert_eq!(judge(&mut connection, Forward, data(OURS + 10_000, 1)), Judged::Real);
}

#[test]
fn what_lies_outside_of_the_window_is_not() {
    let mut connection = open();
    let theirs = THEIRS.wrapping_add(1);
    let outside = [
        // Beyond what the host has offered.
        segment(ACK, theirs.wrapping_add(10_002), OURS + 1),
        // Older than any window.
        segment(ACK, theirs.wrapping_sub(66_002), OURS + 1),
        // It acknowledges what was not sent.
        segment(ACK, theirs, OURS + 2),
        segment(ACK, theirs, (OURS + 1).wrapping_sub(132_002)),
        segment(Flags::FIN | ACK, theirs.wrapping_add(1 << 31), OURS + 1),
        segment(SYN_ACK, theirs.wrapping_add(1 << 20), OURS + 1),
        segment(SYN_ACK, theirs.wrapping_add(1 << 20), OURS + 77),
    ];
    for segment in outside {
        assert_eq!(judge(&mut connection, Reverse, segment), Judged::Outside, "{segment:?}");
    }
    assert_eq!(judge(&mut connection, Reverse, segment(ACK, theirs, OURS + 1)), Judged::Real);
}

/// RFC 9293 §3.10.7.4: a segment without ACK is none of an open connection.
#[test]
fn a_segment_that_acknowledges_nothing_changes_nothing() {
    let mut connection = open();
    let fin = segment(Flags::FIN, THEIRS.wrapping_add(1), 0);
    assert_eq!(judge(&mut connection, Reverse, fin), Judged::Unproven);
}

/// RFC 5961 §3.2.
#[test]
fn only_a_reset_with_the_number_that_is_expected_is_real() {
    let mut connection = open();
    let theirs = THEIRS.wrapping_add(1);
    let data = Segment { payload: 500, ..segment(ACK, theirs, OURS + 1) };
    assert_eq!(judge(&mut connection, Reverse, data), Judged::Real);
    let reset = |number| segment(RST, number, 0);
    let expected = [
        // As far as the host has acknowledged, and as far as the remote end has sent.
        (theirs, Judged::Real),
        (theirs.wrapping_add(500), Judged::Real),
        // In the window: the host will ask.
        (theirs.wrapping_add(1), Judged::Unproven),
        (theirs.wrapping_add(499), Judged::Unproven),
        (theirs.wrapping_add(9_000), Judged::Unproven),
        (theirs.wrapping_add(11_000), Judged::Outside),
        (theirs.wrapping_add(1 << 31), Judged::Outside),
        (0x1234_5678, Judged::Outside),
    ];
    for (number, judged) in expected {
        assert_eq!(judge(&mut connection, Reverse, reset(number)), judged, "{number:#x}");
    }
}

/// RFC 9293 §3.10.7.3: what refuses a SYN acknowledges it, and has no number of its own.
#[test]
fn a_refusal_is_known_by_what_it_acknowledges() {
    let mut connection = Connection::default();
    let state = State::HalfOpen;
    assert_eq!(connection.judge(state, Forward, &segment(SYN, OURS, 0)), Judged::Real);
    let refusal = |number| segment(RST | ACK, 0, number);
    assert_eq!(connection.judge(state, Reverse, &refusal(0x7777_7777)), Judged::Outside);
    assert_eq!(connection.judge(state, Reverse, &segment(RST, 0, 0)), Judged::Outside);
    assert_eq!(connection.judge(state, Reverse, &refusal(OURS + 1)), Judged::Real);
}

#[test]
fn an_answer_that_answers_no_syn_opens_nothing() {
    let mut connection = Connection::default();
    let state = State::HalfOpen;
    assert_eq!(connection.judge(state, Forward, &segment(SYN, OURS, 0)), Judged::Real);
    let blind = segment(SYN_ACK, 5, OURS + 70_000);
    assert_eq!(connection.judge(state, Reverse, &blind), Judged::Outside);
    let real = segment(SYN_ACK, THEIRS, OURS + 1);
    assert_eq!(connection.judge(state, Reverse, &real), Judged::Real);
}

/// RFC 5961 §4 in kind: whoever only knows the ports sends a SYN before the remote end has answered.
/// Whether the host falls for it or not, its session waits for who can acknowledge its SYN.
#[test]
fn a_blind_syn_neither_opens_nor_moves_what_waits_for_its_answer() {
    for host_believes in [false, true] {
        let mut connection = Connection::default();
        let state = State::HalfOpen;
        assert_eq!(connection.judge(state, Forward, &segment(SYN, OURS, 0)), Judged::Real);
        let blind = segment(SYN, 0x5000_0000, 0);
        assert_eq!(connection.judge(state, Reverse, &blind), Judged::Unproven);
        if host_believes {
            let answer = segment(SYN_ACK, OURS, 0x5000_0001);
            assert_eq!(connection.judge(state, Forward, &answer), Judged::Real);
            assert_eq!(connection.judge(state, Reverse, &blind), Judged::Unproven, "again");
        }
        let guess = segment(SYN_ACK, 0x5000_0000, OURS + 70_000);
        assert_eq!(connection.judge(state, Reverse, &guess), Judged::Outside);
        let real = segment(SYN_ACK, THEIRS, OURS + 1);
        assert_eq!(connection.judge(state, Reverse, &real), Judged::Real);
        let theirs = THEIRS.wrapping_add(1);
        assert_eq!(judge(&mut connection, Forward, segment(ACK, OURS + 1, theirs)), Judged::Real);
        let data = Segment { payload: 10, ..segment(ACK, theirs, OURS + 1) };
        assert_eq!(judge(&mut connection, Reverse, data), Judged::Real);
        let forged = segment(ACK, 0x5000_0001, OURS + 1);
        assert_eq!(judge(&mut connection, Reverse, forged), Judged::Outside);
    }
}

/// RFC 5382 §4.1 REQ-2 a: both SYN-ACK pass, and if that of the remote end is lost before us, its next
/// acknowledgment stands for it.
#[test]
fn connections_that_both_ends_open_at_once_open_by_what_the_remote_end_acknowledges() {
    let expected = [
        (segment(SYN_ACK, THEIRS, OURS + 1), Judged::Real),
        (segment(ACK, THEIRS.wrapping_add(1), OURS + 1), Judged::Opens),
        (segment(ACK, THEIRS.wrapping_add(1), OURS), Judged::Real),
        (segment(ACK, THEIRS.wrapping_add(1), OURS + 2), Judged::Outside),
    ];
    for (answer, judged) in expected {
        let mut connection = Connection::default();
        let crossing = [
            (Forward, segment(SYN, OURS, 0), Judged::Real),
            (Reverse, segment(SYN, THEIRS, 0), Judged::Unproven),
            (Forward, segment(SYN_ACK, OURS, THEIRS.wrapping_add(1)), Judged::Real),
            (Reverse, answer, judged),
        ];
        for (direction, segment, judged) in crossing {
            let seen = connection.judge(State::HalfOpen, direction, &segment);
            assert_eq!(seen, judged, "{direction:?} {segment:?}");
        }
    }
}

/// The remote end begins twice, the second time from another number, and the host crosses that: what
/// acknowledges the host's SYN is of the second one. Who has not seen that SYN moves nothing.
#[test]
fn a_syn_that_is_sent_anew_is_believed_when_it_answers_the_hosts_own() {
    let anew = THEIRS.wrapping_add(0x4000_0000);
    let crossed = || {
        let mut connection = Connection::default();
        let crossing = [
            (State::HalfOpenReverse, Reverse, segment(SYN, THEIRS, 0)),
            (State::HalfOpenReverse, Reverse, segment(SYN, anew, 0)),
            (State::HalfOpenReverse, Forward, segment(SYN, OURS, 0)),
        ];
        for (state, direction, segment) in crossing {
            connection.judge(state, direction, &segment);
        }
        connection
    };
    let mut connection = crossed();
    let blind = segment(SYN_ACK, anew, OURS.wrapping_add(77_777));
    assert_eq!(judge(&mut connection, Reverse, blind), Judged::Outside);
    assert_eq!(judge(&mut connection, Reverse, segment(SYN_ACK, anew, OURS + 1)), Judged::Real);
    let next = segment(ACK, anew.wrapping_add(1), OURS + 1);
    assert_eq!(judge(&mut connection, Reverse, next), Judged::Real, "it goes on from there");
}

/// The same where the ports were used before.
#[test]
fn a_closed_connection_may_be_opened_again_from_both_ends_at_once() {
    let mut connection = open();
    let (ours, theirs) = (0x7000_0000, 0x5000_0000);
    let crossing = [
        (State::Closing, Forward, segment(SYN, ours, 0), Judged::Real),
        (State::HalfOpen, Reverse, segment(SYN, theirs, 0), Judged::Unproven),
        (State::HalfOpen, Forward, segment(SYN_ACK, ours, theirs + 1), Judged::Real),
        (State::HalfOpen, Reverse, segment(ACK, theirs + 1, ours + 1), Judged::Opens),
    ];
    for (state, direction, segment, judged) in crossing {
        assert_eq!(connection.judge(state, direction, &segment), judged, "{segment:?}");
    }
}

/// RFC 5961 §4.2: the end that has the connection asks; what it then hears is exact.
#[test]
fn a_syn_does_not_move_a_connection_that_is_open() {
    let mut connection = open();
    let theirs = THEIRS.wrapping_add(1);
    assert_eq!(judge(&mut connection, Reverse, segment(SYN, 77_777, 0)), Judged::Unproven);
    let challenge = segment(ACK, OURS + 1, theirs);
    assert_eq!(judge(&mut connection, Forward, challenge), Judged::Real, "it goes on");
    assert_eq!(judge(&mut connection, Reverse, segment(ACK, theirs, OURS + 1)), Judged::Real);
    let reset = segment(RST, theirs, 0);
    assert_eq!(judge(&mut connection, Reverse, reset), Judged::Real, "its sender was the real one");
}

/// A host that has started anew and uses its port again, while the other end has nothing left.
#[test]
fn a_syn_that_is_answered_begins_a_connection_in_place_of_the_other() {
    for (first, second) in [(Forward, Reverse), (Reverse, Forward)] {
        let mut connection = open();
        assert_eq!(judge(&mut connection, first, segment(SYN, 0x7000_0000, 0)), Judged::Unproven);
        let wrong = segment(SYN_ACK, 0x5000_0000, 0x7000_0002);
        assert_eq!(judge(&mut connection, second, wrong), Judged::Outside);
        let answer = segment(SYN_ACK, 0x5000_0000, 0x7000_0001);
        assert_eq!(judge(&mut connection, second, answer), Judged::Real);
        let data = Segment { payload: 100, ..segment(ACK, 0x7000_0001, 0x5000_0001) };
        assert_eq!(judge(&mut connection, first, data), Judged::Real);
        let old = segment(ACK, OURS + 1, THEIRS.wrapping_add(1));
        assert_eq!(judge(&mut connection, Forward, old), Judged::Outside);
    }
}

/// A reload that switches tracking on: the host inside says where its connection stands.
#[test]
fn a_connection_that_was_not_seen_to_begin_is_taken_up_from_inside() {
    let mut connection = Connection::default();
    let blind = Segment { payload: 100, ..segment(ACK, 99, 99) };
    for blind in [blind, segment(RST, 99, 0), segment(SYN, 99, 0), segment(SYN_ACK, 99, 99)] {
        assert_eq!(judge(&mut connection, Reverse, blind), Judged::Unproven, "{blind:?}");
    }
    assert_eq!(judge(&mut connection, Forward, segment(ACK, 5_000, 700_000)), Judged::Real);
    // What had passed before is acknowledged later.
    let data = Segment { payload: 1_000, ..segment(ACK, 700_500, 5_000) };
    assert_eq!(judge(&mut connection, Reverse, data), Judged::Real);
    assert_eq!(judge(&mut connection, Forward, segment(ACK, 5_000, 701_500)), Judged::Real);
    let burst = Segment { payload: 60_000, ..segment(ACK, 5_000, 701_500) };
    assert_eq!(judge(&mut connection, Forward, burst), Judged::Real);
    assert_eq!(judge(&mut connection, Reverse, segment(RST, 1 << 31, 0)), Judged::Outside);
    assert_eq!(judge(&mut connection, Reverse, segment(ACK, 1 << 31, 5_000)), Judged::Outside);
    assert_eq!(judge(&mut connection, Reverse, segment(RST, 701_500, 0)), Judged::Real);
}

/// Without the rest of it we do not know how long it was.
#[test]
fn what_a_segment_in_pieces_carried_may_be_acknowledged() {
    let mut connection = open();
    let theirs = THEIRS.wrapping_add(1);
    let piece = Segment { payload: 1_000, in_pieces: true, ..segment(ACK, OURS + 1, theirs) };
    assert_eq!(judge(&mut connection, Forward, piece), Judged::Real);
    assert_eq!(judge(&mut connection, Reverse, segment(ACK, theirs, OURS + 8_001)), Judged::Real);
}

#[test]
fn windows_are_scaled_as_both_syn_say() {
    for (shift, judged) in [(Some(7), Judged::Real), (None, Judged::Outside)] {
        let mut connection = Connection::default();
        let syn = Segment { scale: Some(2), ..segment(SYN, OURS, 0) };
        let answer = Segment { scale: shift, ..segment(SYN_ACK, THEIRS, OURS + 1) };
        assert_eq!(connection.judge(State::HalfOpen, Forward, &syn), Judged::Real);
        assert_eq!(connection.judge(State::HalfOpen, Reverse, &answer), Judged::Real);
        let theirs = THEIRS.wrapping_add(1);
        assert_eq!(judge(&mut connection, Forward, segment(ACK, OURS + 1, theirs)), Judged::Real);
        assert_eq!(judge(&mut connection, Reverse, segment(ACK, theirs, OURS + 1)), Judged::Real);
        // 10,000 << 7 bytes, or 10,000.
        let far = Segment { payload: 10, ..segment(ACK, OURS + 1_200_000, theirs) };
        assert_eq!(judge(&mut connection, Forward, far), judged);
    }
}

#[test]
fn the_scale_is_found_among_the_options() {
    assert_eq!(window_scale(&[2, 4, 5, 0xb4, 1, 3, 3, 7]), Some(7));
    assert_eq!(window_scale(&[3, 3, 15, 0]), Some(14), "RFC 7323 §2.3");
    assert_eq!(window_scale(&[2, 4, 5, 0xb4, 0, 3, 3, 7]), None, "behind the end");
    for damaged in [&[3][..], &[3, 3], &[2, 0, 3, 3], &[2, 1], &[8, 40, 1], &[]] {
        window_scale(damaged);
    }
    let mut bytes = [0; 24];
    bytes[12] = 0x60;
    bytes[13] = SYN.0;
    bytes[20..].copy_from_slice(&[1, 3, 3, 9]);
    let tcp = Tcp::parse(&bytes[..]).expect("a header with options");
    assert_eq!(Segment::read(&tcp, 0, false).scale, Some(9));
}

/// What is sent blindly, at random numbers, is dropped but for about window / 2^32 of it.
#[test]
fn blind_segments_are_outside() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut passed = [0_u32; 3];
    for _ in 0..200_000 {
        for (at, flags) in [ACK, RST, Flags::FIN | ACK].into_iter().enumerate() {
            let blind = segment(flags, random.next_u32(), random.next_u32());
            let judged = judge(&mut open(), Reverse, blind);
            passed[at] += u32::from(judged != Judged::Outside);
            assert!(judged != Judged::Real, "one in {} billion", if at == 1 { 2 } else { 55_000 });
        }
    }
    // 76,000 of 2^32 for a RST (and most of these the host asks about); the others have to guess two
    // numbers.
    assert!(passed[0] == 0 && passed[2] == 0 && passed[1] <= 15, "{passed:?} of 200,000");
}

//! The life of a session, step by step and as a whole table.

use mooring_wire::Protocol;
use mooring_wire::tcp::Flags;

use super::State::{
    Closing, Established, FinForward, FinReverse, HalfOpen, HalfOpenReverse, New, NewReverse,
    PickedUp, Reopening, Reset, Transitory,
};
use super::{State, TimeoutClass};
use crate::Direction::{self, Forward, Reverse};

/// What each segment makes of each state: from inside SYN, SYN and ACK, FIN, RST, anything else; then
/// the same from outside.
///
/// RFC 7857 §2 figure 1 and RFC 6146 §3.5.2.2, its origin: INIT is `HalfOpen` (the client is inside)
/// and `HalfOpenReverse`; C/S FIN RCV are `FinForward`/`FinReverse`; C FIN + S FIN RCV is `Closing`;
/// TRANS is `Transitory`. Beyond them:
/// - a RST after the first FIN leads to TRANS as it does before; RFC 6146 would keep two hours;
/// - a FIN in TRANS is not forgotten over its being a sign of life;
/// - SYN opens what was closed or reset (RFC 5382 §4.1 REQ-2), at once from inside, from outside when
///   the inside host has answered (`Reopening`);
/// - who is inside and sends RST is believed until it says otherwise (`Reset`; RFC 7857 §7.1);
/// - an answer that is a FIN, too, is not forgotten over its being an answer;
/// - `PickedUp` is ours.
///
/// `New` and `NewReverse` are of other protocols; whatever they meet, it is total.
const TABLE: [(State, [State; 5], [State; 5]); 12] = [
    (
        HalfOpen,
        [HalfOpen, HalfOpen, HalfOpen, HalfOpen, HalfOpen],
        [Established, Established, HalfOpen, HalfOpen, HalfOpen],
    ),
    (
        HalfOpenReverse,
        [Established, Established, HalfOpenReverse, HalfOpenReverse, HalfOpenReverse],
        [HalfOpenReverse, HalfOpenReverse, HalfOpenReverse, HalfOpenReverse, HalfOpenReverse],
    ),
    (
        Established,
        [Established, Established, FinForward, Reset, Established],
        [Established, Established, FinReverse, Transitory, Established],
    ),
    (
        FinForward,
        [FinForward, FinForward, FinForward, Reset, FinForward],
        [FinForward, FinForward, Closing, Transitory, FinForward],
    ),
    (
        FinReverse,
        [FinReverse, FinReverse, Closing, Reset, FinReverse],
        [FinReverse, FinReverse, FinReverse, Transitory, FinReverse],
    ),
    (
        Closing,
        [HalfOpen, Closing, Closing, Closing, Closing],
        [HalfOpenReverse, Closing, Closing, Closing, Closing],
    ),
    (
        Transitory,
        [HalfOpen, Established, FinForward, Reset, Established],
        [Reopening, Established, FinReverse, Transitory, Established],
    ),
    (
        Reset,
        [HalfOpen, Established, FinForward, Reset, Established],
        [Reopening, Reset, Reset, Reset, Reset],
    ),
    (
        Reopening,
        [Established, Established, Established, Reopening, Established],
        [Reopening, Reopening, Reopening, Reopening, Reopening],
    ),
    (
        PickedUp,
        [HalfOpen, PickedUp, PickedUp, PickedUp, PickedUp],
        [PickedUp, Established, FinReverse, PickedUp, Established],
    ),
    (
        New,
        [Established, Established, FinForward, Reset, Established],
        [Established, Established, FinReverse, Transitory, Established],
    ),
    (
        NewReverse,
        [Established, Established, FinForward, Reset, Established],
        [Established, Established, FinReverse, Transitory, Established],
    ),
];

/// RFC 7857 §2, RFC 6146 §3.5.2.2: every state, direction and combination of flags.
#[test]
fn every_segment_in_every_state_does_what_the_table_says() {
    let mut tried = 0;
    for (state, inside, outside) in TABLE {
        for (direction, row) in [(Forward, inside), (Reverse, outside)] {
            for bits in 0..=u8::MAX {
                let flags = Flags(bits);
                let [fin, syn, rst, _, ack, ..] = [0, 1, 2, 3, 4].map(|bit| bits >> bit & 1 == 1);
                let expected = match (syn, rst) {
                    // Of no connection.
                    (true, true) => state,
                    (true, false) if state == PickedUp && direction == Forward && ack => state,
                    (true, false) if state == HalfOpen && direction == Reverse && ack && fin => {
                        FinReverse
                    }
                    (true, false) => row[usize::from(ack)],
                    (false, true) => row[3],
                    // An answer acknowledges something, or it is none.
                    (false, false) if state == PickedUp && !ack => state,
                    (false, false) if fin => row[2],
                    (false, false) => row[4],
                };
                assert_eq!(
                    state.after_segment(direction, flags),
                    expected,
                    "{state:?} {direction:?} {flags}"
                );
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 12 * 2 * 256);
}

fn walk(segments: &[(Direction, Flags)]) -> Vec<State> {
    walk_from(State::initial(Protocol::TCP, Forward), segments)
}

fn walk_from(mut state: State, segments: &[(Direction, Flags)]) -> Vec<State> {
    segments
        .iter()
        .map(|&(direction, flags)| {
            state = state.after_segment(direction, flags);
            state
        })
        .collect()
}

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;

#[test]
fn a_connection_opens_and_closes() {
    let seen = walk(&[
        (Forward, SYN),
        (Reverse, SYN | ACK),
        (Forward, ACK),
        (Reverse, FIN),
        (Forward, ACK),
        (Forward, FIN),
        (Reverse, ACK),
    ]);
    let expected = [HalfOpen, Established, Established, FinReverse, FinReverse, Closing, Closing];
    assert_eq!(seen, expected);
}

/// RFC 5382 §4.1 REQ-2 a: simultaneous open, in both orders.
#[test]
fn both_ends_may_open_at_once() {
    let answers = [(Forward, SYN | ACK), (Reverse, SYN | ACK)];
    for first in [Forward, Reverse] {
        let begun = State::initial(Protocol::TCP, first);
        let seen =
            walk_from(begun, &[(first, SYN), (first.opposite(), SYN), answers[0], answers[1]]);
        assert_eq!(seen, [begun, Established, Established, Established]);
    }
}

/// Both FIN cross.
#[test]
fn both_ends_may_close_at_once() {
    for first in [Forward, Reverse] {
        let seen = walk_from(Established, &[(first, FIN | ACK), (first.opposite(), FIN | ACK)]);
        assert_eq!(seen[1], Closing);
    }
}

/// RFC 7857 §2.2.
#[test]
fn a_stray_reset_does_not_end_a_connection_that_goes_on() {
    for goes_on in [Forward, Reverse] {
        let seen = walk(&[(Forward, SYN), (Reverse, SYN), (Reverse, RST), (goes_on, ACK)]);
        assert_eq!(seen[2..], [Transitory, Established]);
    }
    let seen = walk_from(Established, &[(Forward, RST), (Reverse, ACK), (Forward, ACK)]);
    assert_eq!(seen, [Reset, Reset, Established], "of its own only the host inside can say so");
}

/// A blind RST and a blind SYN behind it do not take a connection from the host that has it.
#[test]
fn a_stray_reset_and_a_stray_syn_do_not_end_a_connection_that_goes_on() {
    let seen =
        walk_from(Established, &[(Reverse, RST), (Reverse, SYN), (Reverse, ACK), (Forward, ACK)]);
    assert_eq!(seen, [Transitory, Reopening, Reopening, Established]);
}

#[test]
fn a_closed_connection_opens_again() {
    for closed in [Closing, Transitory, Reset] {
        let seen = walk_from(closed, &[(Forward, SYN), (Reverse, SYN | ACK)]);
        assert_eq!(seen, [HalfOpen, Established]);
        let seen = walk_from(closed, &[(Reverse, SYN), (Forward, SYN | ACK)]);
        assert!(seen[0].half_open().is_some() && seen[1] == Established, "{seen:?}");
    }
}

#[test]
fn a_refused_connection_cannot_be_pinned_from_outside() {
    let seen = walk(&[(Forward, SYN), (Reverse, RST), (Reverse, ACK)]);
    assert_eq!(seen, [HalfOpen; 3]);
}

/// A RST between the last segments of a connection does not give it two hours.
#[test]
fn a_reset_does_not_bring_a_closed_connection_back() {
    let seen =
        walk_from(Closing, &[(Reverse, RST), (Reverse, ACK), (Forward, RST), (Forward, ACK)]);
    assert_eq!(seen, [Closing; 4]);
}

#[test]
fn a_connection_that_the_remote_end_begins() {
    let first = State::initial(Protocol::TCP, Reverse);
    let seen = walk_from(first, &[(Reverse, SYN), (Reverse, ACK), (Forward, SYN | ACK)]);
    assert_eq!(seen, [first, first, Established], "the answer opens it, nothing else");
    let again = walk_from(Closing, &[(Reverse, SYN), (Forward, SYN | ACK)]);
    assert_eq!(again, [HalfOpenReverse, Established]);
}

#[test]
fn what_was_picked_up_is_open_when_it_is_answered() {
    let seen =
        walk_from(PickedUp, &[(Forward, ACK), (Reverse, SYN), (Reverse, RST), (Reverse, ACK)]);
    assert_eq!(seen, [PickedUp, PickedUp, PickedUp, Established]);
}

#[test]
fn a_datagram_is_answered_by_the_other_end() {
    let first = State::initial(Protocol::UDP, Reverse);
    assert_eq!(first.after_datagram(Reverse), first);
    assert_eq!(first.after_datagram(Forward), Established);
    let first = State::initial(Protocol::UDP, Forward);
    assert_eq!(first.after_datagram(Forward), first);
    assert_eq!(first.after_datagram(Reverse), Established);
}

#[test]
fn a_half_open_one_needs_the_syn_of_the_other_end() {
    assert_eq!(walk(&[(Reverse, ACK), (Forward, ACK)]), [HalfOpen; 2]);
}

/// RFC 7857 §2.1: the timeouts of opening and of closing are told apart.
#[test]
fn what_is_half_open_has_a_timeout_of_its_own() {
    for (state, ..) in TABLE {
        let class = state.timeout_class(Protocol::TCP);
        let expected = match state.name() {
            "half_open" => TimeoutClass::TcpHalfOpen,
            "transitory" => TimeoutClass::TcpTransitory,
            "closing" if state == Closing => TimeoutClass::TcpTransitory,
            _ => TimeoutClass::TcpEstablished,
        };
        assert_eq!(class, expected, "{state:?}");
        assert_eq!(state.half_open().is_some(), class == TimeoutClass::TcpHalfOpen, "{state:?}");
    }
}

/// RFC 7857 §7.1; and the first RFC 4787 REQ-6.
#[test]
fn errors_and_what_is_repeated_into_nothing_refresh_nothing() {
    for (state, ..) in TABLE {
        for (direction, outbound) in
            [(Forward, false), (Forward, true), (Reverse, false), (Reverse, true)]
        {
            let again = |flags| state.refreshes(state, direction, Some(flags), outbound);
            assert!(!again(RST) && !again(RST | ACK), "{state:?}");
            let open = !state.is_transitory();
            let closed = open || matches!(state, Closing | Transitory | Reset);
            let expected = if direction == Forward { closed } else { open && !outbound };
            assert_eq!(again(ACK), expected, "{state:?} {direction:?} {outbound}");
        }
    }
}

#[test]
fn a_datagram_that_changes_nothing_is_known_beforehand() {
    for (state, ..) in TABLE {
        for direction in [Forward, Reverse] {
            let stays = state.after_datagram(direction) == state;
            assert_eq!(state.stays_after_datagram(direction), stays, "{state:?} {direction:?}");
        }
    }
}

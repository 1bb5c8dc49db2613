//! Pieces in whatever order, some twice, some never.

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::{proptest, test_runner::Config};

use super::{joined, memory, question};
use crate::test_bench::frames::inside;
use crate::test_bench::seen::Seen;
use crate::test_bench::{BUFFERS, Bench, HOST, INSIDE, OTHER_HOST, OUTSIDE, POOL, SERVER};
use crate::{DropReason, Verdict};

/// Gives the pieces in this order; returns what left.
fn give(bench: &mut Bench, pieces: &[&Vec<u8>]) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    for piece in pieces {
        if let (Verdict::Tx(OUTSIDE), frame) = bench.send(INSIDE, piece) {
            sent.push(frame);
        }
        sent.extend(bench.sent_by(OUTSIDE));
    }
    sent
}

#[test]
fn pieces_before_the_first_wait_and_leave_behind_it_in_order_of_arrival() {
    let mut bench = Bench::ready();
    let pieces = question(inside(HOST, SERVER), 7, &[1; 40], 16);
    let sent = give(&mut bench, &[&pieces[2], &pieces[1], &pieces[0]]);
    assert_eq!(sent.iter().map(|frame| frame[21]).collect::<Vec<_>>(), [0, 4, 2]);
    assert_eq!(Seen::read(&joined(&sent).0).source, POOL);
    assert_eq!(bench.engine.counters.held, 2);
    assert_eq!((memory(&bench), bench.outbox.free()), ((0, 0), (BUFFERS, BUFFERS)));
}

#[test]
fn pieces_that_wait_for_a_dropped_first_one_are_dropped() {
    let mut bench = Bench::ready();
    let ip = inside(HOST, SERVER);
    let mail = ip.clone().tcp(5000, 25, "S", &[1; 40]);
    let pieces = ip.pieces(7, 6, &mail[34..], 24);
    assert_eq!(bench.send(INSIDE, &pieces[2]).0, Verdict::Hold);
    bench.ignore(INSIDE, &pieces[0], DropReason::RuleDrop);
    bench.ignore(INSIDE, &pieces[1], DropReason::FragmentUntranslated);
    assert_eq!(bench.dropped(DropReason::FragmentUntranslated), 2);
    assert_eq!((memory(&bench), bench.outbox.free()), ((0, 0), (BUFFERS, BUFFERS)));
}

#[test]
fn pieces_whose_first_one_never_comes_wait_two_seconds() {
    let mut bench = Bench::ready();
    let pieces = question(inside(HOST, SERVER), 7, &[1; 40], 16);
    assert_eq!(bench.send(INSIDE, &pieces[1]).0, Verdict::Hold);
    bench.rest(1_999);
    assert_eq!(memory(&bench), (1, 1));
    bench.rest(1);
    assert_eq!((memory(&bench), bench.outbox.free()), ((0, 0), (BUFFERS, BUFFERS)));
    assert_eq!(bench.dropped(DropReason::FragmentUntranslated), 1);
}

/// Whoever sends no first pieces gets half of the buffers, and nobody else waits for him.
#[test]
fn pieces_that_wait_leave_half_of_the_buffers() {
    let mut bench = Bench::ready();
    let mut held = 0;
    for id in 0..400 {
        let host = if id % 2 == 0 { HOST } else { OTHER_HOST };
        let piece = question(inside(host, SERVER), id, &[1; 40], 16).remove(1);
        held += usize::from(bench.send(INSIDE, &piece).0 == Verdict::Hold);
    }
    assert_eq!(held, BUFFERS / 2);
    assert_eq!(bench.dropped(DropReason::FragmentLimit), 400 - held as u64);
}

proptest! {
    #![proptest_config(Config::with_cases(64))]

    /// What leaves is the translated datagram, or parts of it; and nothing is left behind.
    #[test]
    fn whatever_the_order_the_datagram_that_leaves_is_the_one_that_came(
        payload in vec(any::<u8>(), 20..3_000),
        size in 1..170_usize,
        order in vec(any::<u16>(), 400),
        twice in any::<Option<proptest::sample::Index>>(),
        lost in any::<Option<proptest::sample::Index>>(),
    ) {
        let mut bench = Bench::ready();
        let pieces = question(inside(HOST, SERVER), 7, &payload, size * 8);
        let mut given: Vec<&Vec<u8>> = pieces.iter().collect();
        if let Some(lost) = lost {
            given.remove(lost.index(pieces.len()));
        }
        if let Some(twice) = twice {
            given.push(&pieces[twice.index(pieces.len())]);
        }
        let mut order: Vec<_> = given.into_iter().zip(order.iter().cycle()).collect();
        order.sort_by_key(|(_, key)| **key);
        let given: Vec<_> = order.into_iter().map(|(piece, _)| piece).collect();
        let sent = give(&mut bench, &given);
        if lost.is_none() && twice.is_none() {
            prop_assert_eq!(sent.len(), pieces.len());
            prop_assert_eq!(memory(&bench), (0, 0));
            if pieces.len() > 1 {
                prop_assert_eq!(&Seen::read(&joined(&sent).0).payload, &payload);
            }
        }
        for frame in &sent {
            prop_assert!(pieces.iter().any(|piece| piece[20..22] == frame[20..22] && piece[42.min(piece.len())..] == frame[42.min(frame.len())..]));
        }
        bench.rest(2_000);
        prop_assert_eq!((memory(&bench), bench.outbox.free()), ((0, 0), (BUFFERS, BUFFERS)));
    }
}

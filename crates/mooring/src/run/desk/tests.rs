//! The desk between a client on a socket and a worker that is not one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::UNIX_EPOCH;

use crossbeam::channel::{Sender, bounded};
use mio::{Poll, Token, Waker};
use mooring_engine::view::SessionView;
use mooring_engine::{Event, EventKind, EventPage, Told};
use mooring_observe::query::{Answer, List, Page, Query, Records};
use mooring_observe::report::Report;
use mooring_policy::Generation;
use mooring_session::{Counts, Tick};
use mooring_wire::Protocol;
use serde_json::Value;

use super::{Desk, Shown, Since, WorkerLine};
use crate::run::clock::Clock;
use crate::run::worker::Command;

/// What `show sessions` reads of two workers that have `pages` pages of two sessions each, the second
/// of which dies after `lives` pages.
fn show_sessions(pages: u32, lives: u32) -> String {
    let poll = Poll::new().expect("the system has descriptors");
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("the poll is new"));
    let workers = [pages, lives].map(|lives| worker(pages, lives));
    let lines = workers
        .each_ref()
        .map(|(commands, _)| WorkerLine { commands: commands.clone(), waker: Arc::clone(&waker) });
    let answer = ask(Desk::new(shown(), Clock::start(), lines.into()), "sessions");
    for (_, thread) in workers {
        thread.join().expect("the worker does not panic");
    }
    answer
}

/// What `show TOPIC` reads of workers that give these answers, one each.
fn show(topic: &str, answers: Vec<Answer>) -> String {
    let poll = Poll::new().expect("the system has descriptors");
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("the poll is new"));
    let workers = answers.into_iter().map(|answer| {
        let (commands, inbox) = bounded(1);
        let thread = thread::spawn(move || match inbox.recv() {
            Ok(Command::Ask(_, reply)) => reply.send(answer).expect("the desk waits"),
            other => panic!("nothing else is asked: {other:?}"),
        });
        (WorkerLine { commands, waker: Arc::clone(&waker) }, thread)
    });
    let (lines, threads): (Vec<_>, Vec<_>) = workers.unzip();
    let desk = Desk::new(shown(), Clock::start(), lines);
    let answer = ask(desk, topic);
    threads.into_iter().for_each(|thread| thread.join().expect("the worker does not panic"));
    answer
}

/// What a client of the desk reads that asks this.
fn ask(desk: Desk, question: &str) -> String {
    let (mut client, server) = UnixStream::pair().expect("a socket pair");
    writeln!(client, "{question}").expect("the pair is open");
    let answered = thread::spawn(move || desk.inner.attend(&server));
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the answer is text");
    answered.join().expect("the desk does not panic");
    answer
}

fn shown() -> Shown {
    let policy = mooring_policy::load(MINIMAL).expect("the example is valid").policy;
    let report = Report { interfaces: Vec::new(), generation: Generation(1) };
    let since = Since::now(&policy, UNIX_EPOCH).into();
    Shown {
        report,
        policy: Arc::new(policy),
        not_taken: Arc::default(),
        given: Arc::default(),
        since,
    }
}

#[test]
fn events_of_all_workers_are_shown_in_the_order_of_time() {
    let page = |times: [u64; 2]| {
        let event = |at| Event::new(EventKind::TableFull, Tick::from_millis(at));
        let told = |at| Told { number: at, pool: None, event: event(at) };
        Answer::Events(EventPage {
            events: times.map(told).into(),
            missed: 0,
            next: 9,
            more: false,
        })
    };
    let answer = show("events", vec![page([1_000, 4_000]), page([2_000, 3_000])]);
    let rows: Vec<Value> = serde_json::from_str(&answer).expect("it is one JSON array");
    let workers: Vec<_> = rows.iter().map(|row| row["worker"].as_u64()).collect();
    assert_eq!(workers, [Some(0), Some(1), Some(1), Some(0)]);
    assert!(rows.iter().all(|row| row["kind"] == "table_full"), "{answer}");
}

/// Answers for `lives` of its `pages` pages. Its last answer finds it dead already.
fn worker(pages: u32, lives: u32) -> (Sender<Command>, JoinHandle<()>) {
    let (commands, inbox) = bounded(1);
    let mut inbox = (lives > 0).then_some(inbox);
    let thread = thread::spawn(move || {
        while let Some(alive) = inbox.take() {
            let command = alive.recv().expect("the desk asks for every page");
            let Command::Ask(Query::Page(List::Sessions, page), reply) = command else {
                panic!("nothing else is asked: {command:?}");
            };
            inbox = (page + 1 < lives).then_some(alive);
            let next = (page + 1 < pages).then_some(page + 1);
            let records = Records::Sessions([0, 1].map(|at| session(2 * page + at)).into());
            reply.send(Answer::Page(Page { records, next })).expect("the desk waits");
        }
    });
    (commands, thread)
}

#[test]
fn the_pages_of_all_workers_are_one_array() {
    let answer = show_sessions(700, 700);
    let rows: Vec<Value> = serde_json::from_str(&answer).expect("it is one JSON array");
    let expected = [0, 1].into_iter().flat_map(|worker| (0..1_400).map(move |at| (worker, at)));
    let seen = rows.iter().map(|row| (row["worker"].as_u64(), row["age_ms"].as_u64()));
    assert!(seen.eq(expected.map(|(worker, at)| (Some(worker), Some(at)))));
}

#[test]
fn a_worker_that_dies_in_an_answer_cuts_it_off() {
    let answer = show_sessions(700, 300);
    assert!(answer.starts_with("[{") && !answer.ends_with('\n'), "{} bytes", answer.len());
    assert!(serde_json::from_str::<Value>(&answer).is_err());
}

#[test]
fn a_worker_that_dies_before_is_an_error() {
    assert_eq!(show_sessions(0, 0), "{\"error\":\"the worker does not answer\"}\n");
}

fn session(number: u32) -> SessionView {
    SessionView {
        protocol: Protocol::UDP,
        inside: ("10.0.0.2".parse().unwrap(), 5000),
        outside: ("203.0.113.10".parse().unwrap(), 40001),
        remote: ("192.0.2.2".parse().unwrap(), 53),
        state: "established",
        begun_inside: true,
        rule: "egress".to_owned(),
        age: u64::from(number),
        idle: 0,
        expires: 300_000,
        forward: Counts::default(),
        reverse: Counts::default(),
    }
}

const MINIMAL: &str = include_str!("../../../../../configs/minimal.toml");

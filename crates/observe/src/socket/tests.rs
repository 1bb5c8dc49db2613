//! Both sides on one pair of sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};

use super::{AskError, BUFFER, Incoming, Question, Reply, Topic, Unanswered, serve, turn_away};

/// What the client reads to the end, and how it ends.
fn exchange(
    topic: Topic,
    answer: impl FnOnce(Question, &mut Reply<'_>) -> Result<(), Unanswered> + Send,
) -> Result<(String, io::Result<usize>), AskError> {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    thread::scope(|scope| {
        scope.spawn(move || serve(&server, answer));
        let mut text = String::new();
        let end = Incoming::ask(client, &Question::Show(topic))?.read_to_string(&mut text);
        Ok((text, end))
    })
}

/// The bytes that answer these bytes.
fn raw(question: &[u8]) -> String {
    let (mut client, server) = UnixStream::pair().expect("a socket pair");
    client.write_all(question).expect("the pair is open");
    client.shutdown(Shutdown::Write).expect("the pair is open");
    // Whether there is an answer is what the client sees.
    let _ = serve(&server, |topic, reply| reply.rows([topic.to_string()]));
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the answer is text");
    answer
}

#[test]
fn one_line_is_asked_and_one_answered() {
    assert_eq!(raw(b"drops\n"), "[\"drops\"]\n");
}

#[test]
fn nonsense_gets_an_error_and_not_silence() {
    let expected = "{\"error\":\"there is nothing called `sesions` to show\"}\n";
    assert_eq!(raw(b"sesions\n"), expected);
    assert!(raw(b"").starts_with("{\"error\""));
}

#[test]
fn names_and_topics_agree() {
    for topic in Topic::ALL {
        assert_eq!(topic.name().parse(), Ok(topic));
    }
}

#[test]
fn pages_become_one_array() {
    let rows = 3 * BUFFER as u64;
    let (text, end) = exchange(Topic::Sessions, |_, reply| {
        for page in 0..rows / 1_024 {
            reply.rows((page * 1_024..(page + 1) * 1_024).filter(|row| page != 1 || *row == 0))?;
        }
        Ok(())
    })
    .expect("it is answered");
    assert_eq!(end.expect("it ends"), text.len());
    assert!(text.ends_with("]\n") && text.lines().count() == 1);
    let read: Vec<u64> = serde_json::from_str(&text).expect("it is JSON");
    assert!(read.into_iter().eq((0..1_024).chain(2_048..rows)));
}

#[test]
fn answers_without_rows_and_objects_are_whole_too() {
    let text = |answer: fn(&mut Reply<'_>) -> Result<(), Unanswered>| {
        let (text, end) = exchange(Topic::Drops, |_, reply| answer(reply)).expect("an answer");
        end.map(|_| text).expect("it ends")
    };
    assert_eq!(text(|_| Ok(())), "[]\n");
    assert_eq!(text(|reply| reply.rows([(); 0])), "[]\n");
    assert_eq!(text(|reply| reply.object(&json!({ "too_big": 3 }))), "{\"too_big\":3}\n");
}

#[test]
fn the_first_rows_arrive_before_the_last_exist() {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    let (seen, wait) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            serve(&server, |_, reply| {
                reply.rows((0..BUFFER).map(|_| "early"))?;
                wait.recv().expect("the client tells when it has seen some");
                reply.rows(["late"])
            })
        });
        let mut answer =
            Incoming::ask(client, &Question::Show(Topic::Sessions)).expect("an answer");
        let mut text = vec![0; 1_024];
        answer.read_exact(&mut text).expect("the early rows have arrived");
        seen.send(()).expect("the server waits");
        answer.read_to_end(&mut text).expect("the answer ends");
        let rows: Vec<String> = serde_json::from_slice(&text).expect("it is JSON");
        assert_eq!((rows.len(), rows[BUFFER].as_str()), (BUFFER + 1, "late"));
    });
}

#[test]
fn an_error_before_the_first_row_is_told() {
    let refused = |_: Question, reply: &mut Reply<'_>| {
        reply.rows([(); 0])?;
        Err(Unanswered::Refused("the \"worker\" is gone".to_owned()))
    };
    let error = exchange(Topic::Sessions, refused).expect_err("there is no answer");
    assert!(
        matches!(&error, AskError::Refused(why) if why == "the \"worker\" is gone"),
        "{error:?}"
    );
}

#[test]
fn an_error_after_a_row_cuts_the_answer_off() {
    for rows in [1, BUFFER] {
        let (text, end) = exchange(Topic::Sessions, |_, reply| {
            reply.rows((0..rows).map(|_| json!({ "error": "a field of a row" })))?;
            Err(Unanswered::Refused("the worker is gone".to_owned()))
        })
        .expect("it begins like an answer");
        assert_eq!(end.expect_err("it has no end").kind(), ErrorKind::UnexpectedEof);
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{rows} rows are no whole answer");
    }
}

#[test]
fn whoever_is_turned_away_hears_why() {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    turn_away(&server, "too many ask");
    drop(server);
    let error = Incoming::ask(client, &Question::Show(Topic::Drops)).expect_err("no answer");
    assert!(matches!(&error, AskError::Refused(why) if why == "too many ask"), "{error}");
}

#[test]
fn whoever_closes_at_once_gave_no_answer() {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    drop(server);
    let error = Incoming::ask(client, &Question::Show(Topic::Drops)).expect_err("nobody is there");
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn a_client_that_goes_away_ends_the_work() {
    let (client, server) = UnixStream::pair().expect("a socket pair");
    thread::scope(|scope| {
        let served = scope.spawn(move || serve(&server, |_, reply| reply.rows(0_u64..)));
        let mut answer =
            Incoming::ask(client, &Question::Show(Topic::Sessions)).expect("an answer");
        answer.read_exact(&mut [0; 64]).expect("it has begun");
        drop(answer);
        let outcome = served.join().expect("it does not panic");
        assert!(matches!(outcome, Err(Unanswered::Unreachable(_))), "{outcome:?}");
    });
}

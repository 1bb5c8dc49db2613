//! A connection: requests in, answers out, one after the other.

use crate::request::{HEAD_LIMIT, Head, Request};
use crate::response::{Response, Status};

/// A client's connection. Its memory is taken when it is made, and by long answers.
///
/// Whoever owns the socket calls, in turn: [`receive`](Self::receive) with what came,
/// [`answer`](Self::answer), then sends [`output`](Self::output) and says so with
/// [`sent`](Self::sent); closes when it is [`finished`](Self::finished); and drops the client at
/// [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct Connection {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that have left.
    sent: usize,
    /// Nothing more is read: the last answer says so.
    closing: bool,
    /// When the present step began, in milliseconds.
    since: u64,
}

impl Connection {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self {
            input: Vec::with_capacity(HEAD_LIMIT),
            output: Vec::with_capacity(SHORT_ANSWER),
            sent: 0,
            closing: false,
            since: now_ms,
        }
    }

    /// The same memory for another client.
    pub fn reset(&mut self, now_ms: u64) {
        self.input.clear();
        self.output.clear();
        (self.sent, self.closing, self.since) = (0, false, now_ms);
    }

    /// Takes what the client sent, and returns how many bytes of it: none while an answer waits
    /// behind a full head, all (unread) after the last answer.
    pub fn receive(&mut self, now_ms: u64, bytes: &[u8]) -> usize {
        if self.closing {
            return bytes.len();
        }
        let taken = bytes.len().min(HEAD_LIMIT - self.input.len());
        if taken > 0 && self.is_idle() {
            self.since = now_ms;
        }
        self.input.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// How many bytes [`receive`](Self::receive) would take.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.closing { usize::MAX } else { HEAD_LIMIT - self.input.len() }
    }

    /// Answers the next request by `respond`, if one is complete and the answer before it has left.
    /// True if an answer was written.
    pub fn answer(&mut self, now_ms: u64, respond: impl FnOnce(Request<'_>) -> Response) -> bool {
        if self.closing || !self.output.is_empty() || self.input.is_empty() {
            return false;
        }
        let read = match Head::read(&self.input) {
            Ok(None) => return false,
            Ok(Some(head)) => {
                let method = Some(head.request.method);
                respond(head.request).write(method, head.close, &mut self.output);
                self.closing = head.close;
                head.len
            }
            Err(status) => {
                Response::bare(status).write(None, true, &mut self.output);
                self.closing = true;
                self.input.len()
            }
        };
        self.input.drain(..read);
        self.since = now_ms;
        true
    }

    /// Answers a client that was too slow, if it has begun a request.
    pub fn give_up(&mut self, now_ms: u64) {
        if !self.input.is_empty() && self.output.is_empty() && !self.closing {
            Response::bare(Status::RequestTimeout).write(None, true, &mut self.output);
        }
        self.input.clear();
        (self.closing, self.since) = (true, now_ms);
    }

    /// What is to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Notes that the first `bytes` of the output have left.
    pub fn sent(&mut self, now_ms: u64, bytes: usize) {
        self.sent = (self.sent + bytes).min(self.output.len());
        if self.sent == self.output.len() && self.sent > 0 {
            self.output.clear();
            self.output.shrink_to(SHORT_ANSWER);
            (self.sent, self.since) = (0, now_ms);
        }
    }

    /// True when everything is said and the connection is to be closed.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.closing && self.output.is_empty()
    }

    /// True between two requests: nothing is lost when it is closed now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty()
    }

    /// When the client has been too slow, in milliseconds.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        let limit = if !self.output.is_empty() {
            ANSWER_LIMIT
        } else if self.closing || !self.input.is_empty() {
            HEAD_TIME_LIMIT
        } else {
            IDLE_LIMIT
        };
        self.since.saturating_add(limit)
    }
}

/// Milliseconds between two requests.
const IDLE_LIMIT: u64 = 15_000;

/// Milliseconds from the first byte of a head to its last, and for saying goodbye.
const HEAD_TIME_LIMIT: u64 = 5_000;

/// Milliseconds for taking an answer.
const ANSWER_LIMIT: u64 = 10_000;

/// Bytes kept for answers; a longer one takes its own memory until it has left.
const SHORT_ANSWER: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any};
    use proptest::proptest;

    use super::Connection;
    use crate::{HEAD_LIMIT, Method, Response, Status};

    const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

    fn respond(request: crate::Request<'_>) -> Response {
        match request.path {
            "/a" => Response::text(Status::Ok, "ok\n"),
            _ => Response::bare(Status::NotFound),
        }
    }

    fn answers(connection: &mut Connection) -> String {
        let mut all = Vec::new();
        while connection.answer(0, respond) {
            all.extend_from_slice(connection.output());
            connection.sent(0, connection.output().len());
        }
        String::from_utf8(all).expect("text")
    }

    #[test]
    fn answers_and_stays_open() {
        let mut connection = Connection::new(0);
        connection.receive(0, REQUEST);
        assert_eq!(
            answers(&mut connection),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
             Cache-Control: no-store\r\n\r\nok\n"
        );
        assert!(!connection.finished() && connection.is_idle());
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let mut connection = Connection::new(0);
        connection.receive(0, b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = answers(&mut connection);
        assert!(answer.contains("Content-Length: 3\r\n") && answer.ends_with("\r\n\r\n"));
    }

    #[test]
    fn pipelined_requests_are_answered_in_order_and_one_at_a_time() {
        let mut connection = Connection::new(0);
        connection.receive(0, &[REQUEST, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert!(connection.answer(0, respond));
        assert!(!connection.answer(0, respond), "the first answer has not left yet");
        connection.sent(0, connection.output().len());
        assert!(answers(&mut connection).starts_with("HTTP/1.1 404 Not Found"));
    }

    #[test]
    fn rubbish_is_refused_and_what_follows_is_not_read() {
        let mut connection = Connection::new(0);
        connection.receive(0, b"\x16\x03\x01\x02");
        let answer = answers(&mut connection);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Connection: close"));
        assert!(connection.finished());
        assert_eq!(connection.receive(0, REQUEST), REQUEST.len());
        assert_eq!(answers(&mut connection), "");
    }

    #[test]
    fn a_head_has_a_bound() {
        let mut connection = Connection::new(0);
        let mut head = REQUEST[..REQUEST.len() - 2].to_vec();
        head.resize(2 * HEAD_LIMIT, b'a');
        assert_eq!(connection.receive(0, &head), HEAD_LIMIT);
        assert!(answers(&mut connection).starts_with("HTTP/1.1 431"));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let mut connection = Connection::new(0);
        connection.receive(0, b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answers(&mut connection).contains("\r\nAllow: GET, HEAD\r\n"));
    }

    #[test]
    fn slow_bytes_do_not_move_the_deadline() {
        let mut connection = Connection::new(0);
        let idle = connection.deadline();
        connection.receive(1_000, b"GET");
        let due = connection.deadline();
        assert!(due < idle);
        connection.receive(due - 1, b" ");
        assert_eq!(connection.deadline(), due);
        connection.give_up(due);
        assert!(connection.output().starts_with(b"HTTP/1.1 408"));
    }

    #[test]
    fn an_idle_client_is_left_without_a_word() {
        let mut connection = Connection::new(0);
        connection.give_up(connection.deadline());
        assert!(connection.finished() && connection.output().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_cut_of_the_bytes_does_not_matter(cut in vec(1usize..9, 1..40)) {
            let stream = [REQUEST, b"HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n", REQUEST].concat();
            let mut whole = Connection::new(0);
            whole.receive(0, &stream);
            let expected = answers(&mut whole);
            let mut parts = Connection::new(0);
            let (mut rest, mut seen) = (&stream[..], String::new());
            for len in cut.into_iter().chain([stream.len()]) {
                let (now, later) = rest.split_at(len.min(rest.len()));
                parts.receive(0, now);
                seen.push_str(&answers(&mut parts));
                rest = later;
            }
            assert_eq!(seen, expected);
        }

        #[test]
        fn any_bytes_are_borne(chunks in vec(vec(any::<u8>(), 0..600), 0..20)) {
            let mut connection = Connection::new(0);
            for chunk in chunks {
                assert!(connection.receive(0, &chunk) <= chunk.len());
                answers(&mut connection);
                assert!(connection.input.len() <= HEAD_LIMIT);
            }
        }
    }

    #[test]
    fn a_request_of_the_last_client_is_not_answered_to_the_next() {
        let mut connection = Connection::new(0);
        connection.receive(0, REQUEST);
        connection.answer(0, |request| {
            assert_eq!(request.method, Method::Get);
            respond(request)
        });
        connection.reset(5);
        assert!(connection.is_idle() && connection.output().is_empty());
    }
}

//! Real sockets, and a clock that the test turns.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::Waker;
use mooring_http::{Response, Status};
use mooring_session::Tick;

use super::{HttpServer, MAX_CLIENTS};

struct Running {
    address: SocketAddr,
    stopper: Waker,
    clock: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        let server =
            HttpServer::bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
        let address = server.local_addr().expect("bound");
        let stopper = server.stopper().expect("descriptors");
        let clock = Arc::new(AtomicU64::new(0));
        let time = Arc::clone(&clock);
        let thread = thread::spawn(move || {
            let now = || Tick::from_millis(time.load(Ordering::Relaxed));
            let respond = |request: mooring_http::Request<'_>| {
                Response::text(Status::Ok, format!("{}{}", request.path, "x".repeat(1 << 20)))
            };
            server.run(now, respond).expect("it can wait");
        });
        Self { address, stopper, clock, thread }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream
    }

    fn stop(self) {
        self.stopper.wake().expect("it runs");
        self.thread.join().expect("no panic");
    }
}

fn fetch(mut stream: &TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    answer
}

#[test]
fn long_answers_arrive_whole_beside_silent_clients() {
    let running = Running::start();
    let silent: Vec<TcpStream> = (0..MAX_CLIENTS - 1).map(|_| running.connect()).collect();
    for mut stream in &silent {
        stream.write_all(b"GET / HT").expect("open");
    }
    let answer = fetch(&running.connect(), "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert_eq!(body.len(), "/metrics".len() + (1 << 20));
    running.stop();
}

#[test]
fn in_a_full_house_an_idle_client_makes_room() {
    let running = Running::start();
    let idle: Vec<TcpStream> = (0..3 * MAX_CLIENTS).map(|_| running.connect()).collect();
    assert!(fetch(&running.connect(), "/").contains(" 200 "));
    drop(idle);
    running.stop();
}

#[test]
fn a_slow_client_is_told_and_ended() {
    let running = Running::start();
    let mut slow = running.connect();
    slow.write_all(b"GET / HTTP/1.1\r\n").expect("open");
    // Answered, so the bytes of the slow client, sent before, have been read.
    assert!(fetch(&running.connect(), "/").contains(" 200 "));
    running.clock.store(6_000, Ordering::Relaxed);
    // Any event makes it look at its clock.
    drop(running.connect());
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("it closes");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    running.stop();
}

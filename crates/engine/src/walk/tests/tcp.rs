//! TCP connections: how far they have come, and how long they stay (RFC 7857 §2, RFC 5382 §4).
//!
//! The names of VPP's tests stand beside those that ask the same.

use crate::DropReason;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, CONFIG, GATEWAY, GATEWAY_MAC, HOST, HOST_MAC, INSIDE, OUTSIDE, POOL, SERVER, STRANGER,
    config_with,
};

/// A connection of the host from port 5000 to port 80 of the server.
struct Connection {
    bench: Bench,
    /// The port by which the server sees it.
    port: u16,
}

impl Connection {
    /// Only the host's SYN has passed.
    fn begun(config: &str) -> Self {
        let mut connection = Self { bench: Bench::ready_with(config), port: 0 };
        connection.port = connection.syn();
        connection
    }

    /// The handshake is over.
    fn open(config: &str) -> Self {
        let mut connection = Self::begun(config);
        connection.server("SA");
        connection.host("A");
        assert_eq!(connection.state(), "established");
        connection
    }

    /// The host sends a SYN; the port by which the server sees it.
    fn syn(&mut self) -> u16 {
        let sent = self.bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
        let Transport::Tcp(port, 80) = Seen::read(&sent).transport else { panic!("{sent:02x?}") };
        port
    }

    fn host(&mut self, flags: &str) {
        self.bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, flags, b""));
    }

    fn server(&mut self, flags: &str) {
        self.bench.forward(OUTSIDE, &outside(SERVER, POOL).tcp(80, self.port, flags, b""));
    }

    /// Time passes, in which the neighbours have been heard of.
    fn rest(&mut self, milliseconds: u64) {
        self.bench.rest(milliseconds);
        self.bench.learn(INSIDE, HOST, HOST_MAC);
        self.bench.learn(OUTSIDE, GATEWAY, GATEWAY_MAC);
    }

    fn close(&mut self) {
        self.host("FA");
        self.server("FA");
        self.host("A");
    }

    /// The state of the one session.
    fn state(&self) -> &'static str {
        let (sessions, _) = self.bench.engine.sessions(self.bench.now, 0);
        let [session] = &sessions[..] else { panic!("one session: {sessions:?}") };
        session.state
    }

    /// Whether the session is gone, all it held with it.
    fn is_gone(&self) -> bool {
        let left = self.bench.engine.occupancy();
        assert_eq!(left.sessions == 0, left.leased_ports == 0, "{left:?}");
        left.sessions == 0
    }
}

/// VPP: tcp_close, tcp_session_close_in.
#[test]
fn a_connection_that_the_host_closes_ends_four_minutes_later() {
    let mut connection = Connection::open(CONFIG);
    connection.host("FA");
    connection.server("A");
    assert_eq!(connection.state(), "closing");
    connection.rest(7_000_000);
    connection.server("FA");
    connection.host("A");
    connection.rest(239_000);
    assert_eq!(connection.state(), "closing");
    connection.rest(3_000);
    assert!(connection.is_gone());
}

/// VPP: tcp_session_close_out.
#[test]
fn a_connection_that_the_server_closes_ends_four_minutes_later() {
    let mut connection = Connection::open(CONFIG);
    connection.server("FA");
    connection.host("A");
    connection.host("FA");
    connection.server("A");
    connection.rest(239_000);
    assert!(!connection.is_gone());
    connection.rest(3_000);
    assert!(connection.is_gone());
}

/// VPP: tcp_session_close_simultaneous.
#[test]
fn a_connection_that_both_close_at_once_ends_four_minutes_later() {
    let mut connection = Connection::open(CONFIG);
    connection.server("FA");
    connection.host("FA");
    connection.host("A");
    connection.server("A");
    connection.rest(239_000);
    assert!(!connection.is_gone());
    connection.rest(3_000);
    assert!(connection.is_gone());
}

/// VPP: tcp_session_half_reopen_inside. Of the two hours of an open connection nothing is left.
#[test]
fn half_a_handshake_from_inside_does_not_open_it_again() {
    let mut connection = Connection::open(CONFIG);
    connection.close();
    connection.host("S");
    assert_eq!(connection.state(), "half_open");
    connection.server("A");
    connection.rest(242_000);
    assert!(connection.is_gone());
}

/// VPP: tcp_session_half_reopen_outside.
#[test]
fn half_a_handshake_from_outside_does_not_open_it_again() {
    let mut connection = Connection::open(CONFIG);
    connection.close();
    connection.server("S");
    assert_eq!(connection.state(), "half_open");
    connection.server("A");
    connection.rest(242_000);
    assert!(connection.is_gone());
}

/// VPP: tcp_session_reopen. RFC 5382 §4.1 REQ-2: with the port that it had, from either side.
#[test]
fn a_closed_connection_opens_again_in_its_place() {
    for from_inside in [true, false] {
        let mut connection = Connection::open(CONFIG);
        connection.close();
        if from_inside {
            assert_eq!(connection.syn(), connection.port);
            connection.server("SA");
        } else {
            connection.server("S");
            connection.host("SA");
        }
        assert_eq!(connection.state(), "established");
        connection.rest(7_000_000);
        assert_eq!(connection.state(), "established");
    }
}

/// VPP: tcp_session_open_retransmit1.
#[test]
fn a_syn_and_its_answer_sent_twice_open_one_connection() {
    let mut connection = Connection::begun(CONFIG);
    connection.host("S");
    connection.server("SA");
    connection.server("SA");
    connection.host("A");
    assert_eq!(connection.state(), "established");
    connection.rest(7_000_000);
    assert_eq!(connection.state(), "established");
}

/// VPP: tcp_session_open_retransmit2.
#[test]
fn a_syn_that_comes_late_once_more_changes_nothing() {
    let mut connection = Connection::open(CONFIG);
    connection.host("S");
    connection.server("A");
    assert_eq!(connection.state(), "established");
}

/// The kernel's `conntrack_tcp_unreplied.sh`; RFC 7857 §2.1.
#[test]
fn a_syn_repeated_into_nothing_ends_with_its_own_timeout() {
    let config = config_with("[timeouts]\ntcp_half_open = 20");
    let mut connection = Connection::begun(&config);
    for _ in 0..19 {
        connection.rest(1_000);
        connection.host("S");
    }
    connection.rest(3_000);
    assert!(connection.is_gone());
    // What has been open keeps the other one.
    let mut connection = Connection::open(&config);
    connection.close();
    connection.rest(200_000);
    assert_eq!(connection.state(), "closing");
}

/// RFC 5382 §4.1 REQ-2 a: the SYN cross.
#[test]
fn both_ends_may_open_it_at_once() {
    let mut connection = Connection::begun(CONFIG);
    connection.server("S");
    assert_eq!(connection.state(), "established");
    connection.host("SA");
    connection.server("SA");
    assert_eq!(connection.state(), "established");
}

/// The same; where the filtering lets it in, the one from outside may be first.
#[test]
fn both_ends_may_open_it_at_once_and_the_outside_first() {
    let open = "addresses = [\"203.0.113.10/32\"]\nfiltering = \"endpoint-independent\"";
    let config = CONFIG.replace("addresses = [\"203.0.113.10/32\"]", open);
    let mut connection = Connection::open(&config);
    let first = outside(STRANGER, POOL).tcp(90, connection.port, "S", b"");
    connection.bench.forward(OUTSIDE, &first);
    let state = |connection: &Connection| {
        let (sessions, _) = connection.bench.engine.sessions(connection.bench.now, 0);
        sessions.iter().find(|session| session.remote.1 == 90).expect("begun").state
    };
    assert_eq!(state(&connection), "half_open");
    for flags in ["S", "SA"] {
        let crossing = inside(HOST, STRANGER).tcp(5000, 90, flags, b"");
        let sent = Seen::read(&connection.bench.forward(INSIDE, &crossing));
        assert_eq!(sent.transport, Transport::Tcp(connection.port, 90));
    }
    assert_eq!(state(&connection), "established");
}

/// RFC 7857 §2.2.
#[test]
fn a_stray_reset_does_not_kill_a_connection_that_goes_on() {
    let mut connection = Connection::open(CONFIG);
    connection.server("R");
    assert_eq!(connection.state(), "transitory");
    connection.rest(200_000);
    connection.host("A");
    assert_eq!(connection.state(), "established");
    connection.rest(7_000_000);
    assert_eq!(connection.state(), "established");
}

/// RFC 7857 §2.2: "wait for 4 minutes"; §7.1: errors refresh nothing, outbound ones neither.
#[test]
fn a_reset_connection_ends_after_four_minutes_whatever_the_remote_end_sends() {
    let mut connection = Connection::open(CONFIG);
    connection.host("R");
    for _ in 0..12 {
        connection.rest(19_500);
        assert_eq!(connection.state(), "transitory");
        connection.server("A");
        connection.host("R");
    }
    connection.rest(8_000);
    assert!(connection.is_gone());
}

/// RFC 4787 REQ-6: from inside alone, if the pool says so; a reload tells sessions that live.
#[test]
fn packets_from_outside_keep_nothing_alive_where_the_pool_says_so() {
    let config = CONFIG.replace(
        "addresses = [\"203.0.113.10/32\"]",
        "addresses = [\"203.0.113.10/32\"]\nrefresh = \"outbound\"",
    );
    let mut connection = Connection::open(&config);
    for _ in 0..7 {
        connection.rest(1_000_000);
        connection.server("A");
    }
    connection.rest(442_000);
    assert!(connection.is_gone());

    let mut connection = Connection { bench: Bench::ready(), port: 0 };
    connection.port = super::open_udp(&mut connection.bench);
    connection.rest(200_000);
    super::reloaded::reload(&mut connection.bench, &config);
    let answer = outside(SERVER, POOL).udp(53, connection.port, b"answer");
    connection.bench.forward(OUTSIDE, &answer);
    connection.rest(90_000);
    assert!(!connection.is_gone());
    connection.bench.forward(OUTSIDE, &answer);
    connection.rest(12_000);
    assert!(connection.is_gone(), "300 s after the question, whatever has come since");
    connection.bench.ignore(OUTSIDE, &answer, DropReason::NoSession);
}

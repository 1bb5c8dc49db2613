//! One connection: a TCP socket and the HTTP that is spoken over it.

use mooring_http::{Connection as Http, Request, Response};
use mooring_packet::Offload;
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;

use crate::device::Line;
use crate::segment::Ends;

/// The memory of a connection, used by one client after the other.
pub(crate) struct Connection {
    /// One socket: smoltcp looks through the whole set for every packet.
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    http: Http,
    /// When the present phase of the connection began, if it has a limit of its own.
    since: u64,
    phase: Phase,
}

/// How far a connection is, in the order in which connections are given up to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nobody uses it.
    Free,
    /// Over; only waits for stray segments (TIME-WAIT).
    Over,
    /// The client has not answered our SYN yet.
    HalfOpen,
    /// Between two requests.
    Idle,
    /// The last words are on their way.
    Closing,
    /// In a request or an answer.
    Busy,
}

impl Connection {
    pub(crate) fn new() -> Self {
        let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(buffer(RX_BUFFER), buffer(TX_BUFFER));
        // Answers are written whole: waiting for more would only delay their last segment.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = sockets.add(socket);
        Self { sockets, handle, http: Http::new(0), since: 0, phase: Phase::Free }
    }

    /// Waits for the SYN of a new client, which comes next.
    pub(crate) fn open(&mut self, now_ms: u64, ends: &Ends) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        socket.abort();
        socket.listen(ends.local).expect("a closed socket and a port that is not 0");
        self.http.reset(now_ms);
        (self.since, self.phase) = (now_ms, Phase::HalfOpen);
    }

    /// Gives the connection up without a word.
    pub(crate) fn forget(&mut self) {
        self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
        self.phase = Phase::Free;
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Reads the packet of `line`, if there is one, answers by `respond`, and sends what is to be
    /// sent. Returns when it has to be called again at the latest, and how many requests it answered.
    pub(crate) fn turn<E: FnMut(&mut [u8], Offload)>(
        &mut self,
        now_ms: u64,
        interface: &mut Interface,
        line: &mut Line<'_, E>,
        respond: &impl Fn(Request<'_>) -> Response,
    ) -> Turn {
        let now = instant(now_ms);
        if line.packet.is_some() {
            interface.poll_ingress_single(now, line, &mut self.sockets);
        }
        let late = now_ms >= self.limit();
        if late {
            self.give_up(now_ms);
        }
        let requests = self.speak(now_ms, respond);
        while interface.poll_egress(now, line, &mut self.sockets) != PollResult::None {}
        self.note_phase(now_ms);
        let stack = interface.poll_at(now, &self.sockets);
        let stack = stack.map_or(u64::MAX, |at| u64::try_from(at.total_millis()).unwrap_or(0));
        let due = match self.phase {
            Phase::Free => u64::MAX,
            Phase::Over => stack,
            _ => stack.min(self.limit()),
        };
        // All that was due now has been done.
        Turn { due: due.max(now_ms + 1), requests, late }
    }

    /// Carries bytes between TCP and HTTP until neither has more. Returns the answers given.
    fn speak(&mut self, now_ms: u64, respond: &impl Fn(Request<'_>) -> Response) -> u64 {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let http = &mut self.http;
        let mut requests = 0;
        loop {
            let read = |bytes: &mut [u8]| {
                let taken = http.receive(now_ms, bytes);
                (taken, taken)
            };
            let mut moved = if socket.can_recv() { socket.recv(read).unwrap_or(0) } else { 0 };
            if http.answer(now_ms, respond) {
                requests += 1;
            }
            if socket.can_send() && !http.output().is_empty() {
                let sent = socket.send_slice(http.output()).unwrap_or(0);
                http.sent(now_ms, sent);
                moved += sent;
            }
            if moved == 0 {
                break;
            }
        }
        // A client that has said its last word gets its answer, then ours.
        let deaf = socket.state() == State::CloseWait && http.output().is_empty();
        if http.finished() || deaf {
            socket.close();
        }
        requests
    }

    /// Ends what has taken too long.
    fn give_up(&mut self, now_ms: u64) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let patient = matches!(self.phase, Phase::Idle | Phase::Busy);
        if patient && self.http.output().is_empty() && socket.send_queue() == 0 {
            self.http.give_up(now_ms);
        } else {
            socket.abort();
        }
    }

    /// When the client has taken too long.
    fn limit(&self) -> u64 {
        match self.phase {
            Phase::Free | Phase::Over => u64::MAX,
            Phase::HalfOpen => self.since + HANDSHAKE_LIMIT,
            Phase::Closing => self.since + CLOSING_LIMIT,
            Phase::Idle | Phase::Busy => self.http.deadline(),
        }
    }

    fn note_phase(&mut self, now_ms: u64) {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let phase = match socket.state() {
            // A reset during the handshake makes the socket listen again.
            State::Closed | State::Listen | State::SynSent => Phase::Free,
            State::SynReceived => Phase::HalfOpen,
            State::TimeWait => Phase::Over,
            State::Established | State::CloseWait if self.http.is_idle() => Phase::Idle,
            State::Established | State::CloseWait => Phase::Busy,
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => Phase::Closing,
        };
        if phase != self.phase {
            (self.phase, self.since) = (phase, now_ms);
        }
    }
}

/// What a turn of a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// When the next turn is due, in milliseconds.
    pub(crate) due: u64,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Whether the client was given up because it took too long.
    pub(crate) late: bool,
}

pub(crate) fn instant(now_ms: u64) -> Instant {
    Instant::from_millis(i64::try_from(now_ms).unwrap_or(i64::MAX))
}

/// Bytes of a connection's window: half a head.
const RX_BUFFER: usize = 2_048;

/// Bytes on their way to a client: several short answers.
const TX_BUFFER: usize = 1_024;

/// Milliseconds for the client's part of the handshake.
const HANDSHAKE_LIMIT: u64 = 5_000;

/// Milliseconds for the client's part of saying goodbye.
const CLOSING_LIMIT: u64 = 5_000;

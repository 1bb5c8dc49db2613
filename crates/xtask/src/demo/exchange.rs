//! The traffic of the demo, and whom the server saw.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mooring_lab::Lab;
use mooring_lab::address::{CLIENT, SERVER, at};
use mooring_lab::peers::{
    Digest, ECHO_REQUEST, HttpServer, IcmpListener, Ping, UdpEcho, download, receive,
};

/// Hosts on both sides, ready to talk.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    lab: &'a Lab,
    icmp: IcmpListener,
    udp: UdpEcho,
    web: HttpServer,
    observed: Vec<Observed>,
}

/// A source that the server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// As `mooring show` names it.
    pub(crate) protocol: &'static str,
    /// Address and port, or ICMP identifier.
    pub(crate) source: SocketAddr,
}

impl<'a> Exchange<'a> {
    /// Starts the servers.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub(crate) fn start(lab: &'a Lab) -> Result<Self> {
        Ok(Self {
            lab,
            icmp: IcmpListener::start(&lab.server)?,
            udp: UdpEcho::start(&lab.server, at(SERVER, 7000))?,
            web: HttpServer::start(&lab.server, at(SERVER, 80))?,
            observed: Vec::new(),
        })
    }

    /// Three echo requests.
    ///
    /// # Errors
    /// When one is lost.
    pub(crate) fn ping(&mut self) -> Result<((), String)> {
        let mut ping = Ping::new(&self.lab.client, CLIENT, SERVER)?;
        let mut times = Vec::new();
        for _ in 0..PINGS {
            times.push(ping.send(56)?.round_trip.as_secs_f64() * 1000.0);
        }
        let seen = self.icmp.next(ECHO_REQUEST)?;
        self.saw("icmp", SocketAddr::from((seen.source, seen.identifier())));
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(((), format!("{PINGS} of {PINGS} answered, {best:.2} ms")))
    }

    /// One datagram there and back.
    ///
    /// # Errors
    /// When it is lost or damaged.
    pub(crate) fn udp(&mut self) -> Result<((), String)> {
        let client = self.lab.client.udp(at(CLIENT, 5000))?;
        client.send_to(TEXT, at(SERVER, 7000))?;
        let (answer, from) = receive(&client)?;
        ensure!(answer == TEXT, "another text came back");
        let source = self.udp.next_source()?;
        self.saw("udp", source);
        Ok(((), format!("\"{}\" echoed by {from}", TEXT.escape_ascii())))
    }

    /// A web download, compared with what the server sent.
    ///
    /// # Errors
    /// When it is cut or damaged.
    pub(crate) fn download(&mut self, bytes: u64) -> Result<((), String)> {
        let got = download(&self.lab.client, at(SERVER, 80), bytes)?;
        ensure!(got.digest == Digest::of_noise(bytes), "the download is damaged");
        let source = self.web.next_client()?;
        self.saw("tcp", source);
        let seconds = got.time.as_secs_f64();
        let megabytes = got.bytes / 1_000_000;
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = got.bytes as f64 * 8.0 / seconds / 1e9;
        Ok(((), format!("{megabytes} MB in {seconds:.2} s ({rate:.1} Gb/s), sha256 equal")))
    }

    /// Whom the server saw, in the order of the steps.
    pub(crate) fn observed(&self) -> &[Observed] {
        &self.observed
    }

    fn saw(&mut self, protocol: &'static str, source: SocketAddr) {
        self.observed.push(Observed { protocol, source });
    }
}

const PINGS: usize = 3;
const TEXT: &[u8] = b"ahoy";

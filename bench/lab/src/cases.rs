//! What is measured.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use mooring_lab::Process;
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use rustix::process::Signal;

use crate::bed::{ADDRESSES, Bed, Running, server};
use crate::{flood, generator};

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Case {
    /// One TCP connection, from inside to outside
    TcpBulk,
    /// One TCP connection that is made from the inside, data from outside to inside
    TcpBulkReverse,
    /// One TCP connection whose sender cuts its segments itself
    TcpSegments,
    /// UDP of 1,200 bytes by one socket, more than the way can take
    UdpStream,
    /// 64-byte UDP of 1,000 flows, more than the NAT can take
    #[value(name = "small_packets_1k")]
    SmallPackets1k,
    /// The same of 60,000 flows
    #[value(name = "small_packets_60k")]
    SmallPackets60k,
    /// The highest rate of 64-byte UDP without loss
    LossFreeRate,
    /// TCP connections of one request and one answer
    ConnectRequestClose,
    /// A UDP datagram there and back: the median
    #[value(name = "ping_pong_p50")]
    PingPongP50,
    /// The same: the 99th percentile
    #[value(name = "ping_pong_p99")]
    PingPongP99,
    /// The highest rate at which UDP sessions can begin, by the packet generator (RFC 9693, section 4.5)
    SessionRate,
    /// TCP connections of one request and one answer, by the packet generator
    ConnectRate,
    /// The highest rate of packets of mixed sizes without loss, by the packet generator
    ImixLossFree,
}

impl Case {
    /// Those that compare with nftables, without the ones of the packet generator: a pair of these takes up to a minute.
    pub(crate) const ALL: [Self; 8] = [
        Self::TcpBulk,
        Self::TcpBulkReverse,
        Self::SmallPackets1k,
        Self::SmallPackets60k,
        Self::LossFreeRate,
        Self::ConnectRequestClose,
        Self::PingPongP50,
        Self::PingPongP99,
    ];

    /// Those on which joining packets can show.
    pub(crate) const COALESCING: [Self; 5] = [
        Self::TcpBulk,
        Self::TcpSegments,
        Self::UdpStream,
        Self::SmallPackets1k,
        Self::PingPongP50,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TcpBulk => "tcp_bulk",
            Self::TcpBulkReverse => "tcp_bulk_reverse",
            Self::TcpSegments => "tcp_segments",
            Self::UdpStream => "udp_stream",
            Self::SmallPackets1k => "small_packets_1k",
            Self::SmallPackets60k => "small_packets_60k",
            Self::LossFreeRate => "loss_free_rate",
            Self::ConnectRequestClose => "connect_request_close",
            Self::PingPongP50 => "ping_pong_p50",
            Self::PingPongP99 => "ping_pong_p99",
            Self::SessionRate => "session_rate",
            Self::ConnectRate => "connect_rate",
            Self::ImixLossFree => "imix_loss_free",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::TcpBulk | Self::TcpBulkReverse | Self::TcpSegments | Self::UdpStream => "Gb/s",
            Self::SmallPackets1k
            | Self::SmallPackets60k
            | Self::LossFreeRate
            | Self::ImixLossFree => "packets/s",
            Self::ConnectRequestClose | Self::ConnectRate => "connections/s",
            Self::SessionRate => "sessions/s",
            Self::PingPongP50 | Self::PingPongP99 => "us",
        }
    }

    pub(crate) fn better(self) -> &'static str {
        match self {
            Self::PingPongP50 | Self::PingPongP99 => "lower",
            _ => "higher",
        }
    }

    /// Measures through the NAT that runs; some cases start it anew meanwhile.
    pub(crate) fn measure(self, bed: &Bed, running: &mut Running<'_>) -> Result<f64> {
        match self {
            Self::TcpBulk => iperf3(bed, &[]),
            Self::TcpBulkReverse => iperf3(bed, &["--reverse"]),
            Self::TcpSegments => segments(bed),
            Self::UdpStream => datagrams(bed),
            Self::SmallPackets1k => flood::delivered(bed, 1_000),
            Self::SmallPackets60k => flood::delivered(bed, 60_000),
            Self::LossFreeRate => flood::loss_free(bed, 1_000),
            Self::ConnectRequestClose => connections(bed),
            Self::PingPongP50 => ping_pong(bed, 0.5),
            Self::PingPongP99 => ping_pong(bed, 0.99),
            Self::SessionRate => generator::session_rate(bed, running),
            Self::ConnectRate => generator::connect_rate(bed),
            Self::ImixLossFree => generator::imix_loss_free(bed),
        }
    }
}

/// Gigabits a second that arrive.
fn iperf3(bed: &Bed, direction: &[&str]) -> Result<f64> {
    let mut command = bed.lab.server.command("iperf3");
    let service = Process::spawn("iperf3 -s", command.arg("--server"))?;
    let target = server(1).to_string();
    let mut arguments = vec!["--client", &target, "--time", "3", "--omit", "1", "--json"];
    arguments.extend(direction);
    // The server may not listen yet; iperf3 says so in its report and calls it a success.
    let bits = wait_for("iperf3", LIMIT, || {
        let text = bed.lab.client.output("iperf3", &arguments)?;
        let report: serde_json::Value = serde_json::from_str(&text)?;
        Ok(report["end"]["sum_received"]["bits_per_second"].as_f64())
    })?;
    service.signal(Signal::TERM)?;
    service.wait()?;
    Ok(bits / 1e9)
}

/// As [`iperf3`], while the client's kernel leaves nothing to its device.
fn segments(bed: &Bed) -> Result<f64> {
    let switch = |on: &str| {
        let arguments = ["-K", "eth0", "tso", on, "gso", on];
        bed.lab.client.output("ethtool", &arguments).map(drop)
    };
    switch("off")?;
    let measured = iperf3(bed, &[]);
    switch("on")?;
    measured
}

/// Gigabits a second of datagrams that are read at the other end. They are read by a socket: joined ones are one
/// packet to all that counts before it.
fn datagrams(bed: &Bed) -> Result<f64> {
    let receiver = bed.lab.server.udp((server(1), STREAM).into())?;
    receiver.set_read_timeout(Some(QUIET))?;
    let socket = bed.lab.client.udp(([10, 0, 0, 2], 0).into())?;
    socket.connect((server(1), STREAM))?;
    let watch = Stopwatch::start();
    let read = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let (mut bytes, mut read) = ([0; 2048], 0);
            while watch.elapsed() < STREAMING {
                read += receiver.recv(&mut bytes).unwrap_or_default();
            }
            read
        });
        while watch.elapsed() < STREAMING {
            // Where the way is full the kernel may say so.
            let _ = socket.send(&[0; DATAGRAM]);
        }
        reading.join()
    });
    let read = read.map_err(|_| anyhow!("the receiver panicked"))?;
    ensure!(read > 0, "no datagram has arrived");
    Ok(read as f64 * 8.0 / 1e9 / STREAMING.as_secs_f64())
}

/// Connections a second: connect, send a request, read the answer to its end, over all outside
/// addresses in turn.
fn connections(bed: &Bed) -> Result<f64> {
    let listener = bed.lab.server.tcp_listener(([0, 0, 0, 0], WEB).into())?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| answer_until(&stop, &listener));
        }
        let asking = bed.lab.client.enter(|| {
            thread::scope(|clients| {
                for first in 0..CLIENTS {
                    let (stop, done) = (&stop, &done);
                    clients.spawn(move || ask_until(stop, done, first));
                }
                thread::sleep(CONNECTING);
                stop.store(true, Ordering::Relaxed);
            });
        });
        // Threads that still wait in `accept` are woken by one connection each.
        let local = bed.lab.server.enter(|| {
            for _ in 0..CLIENTS {
                drop(TcpStream::connect(("127.0.0.1", WEB)));
            }
        });
        asking.and(local)
    })?;
    Ok(done.load(Ordering::Relaxed) as f64 / watch.elapsed().as_secs_f64())
}

fn answer_until(stop: &AtomicBool, listener: &TcpListener) {
    let mut request = [0; 256];
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else { return };
        // A client that has stopped does not read its answer.
        let _ = stream.read(&mut request).and_then(|_| stream.write_all(&[b'.'; 128]));
    }
}

fn ask_until(stop: &AtomicBool, done: &AtomicU64, first: u8) {
    let mut answer = Vec::new();
    for n in 0usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let to = server(1 + ((usize::from(first) + n) % usize::from(ADDRESSES)) as u8);
        let Ok(mut stream) = TcpStream::connect((to, WEB)) else { continue };
        let _ = stream.set_read_timeout(Some(LIMIT));
        answer.clear();
        let asked = stream.write_all(&[b'?'; 64]).and_then(|()| stream.read_to_end(&mut answer));
        if asked.is_ok_and(|length| length == 128) {
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Microseconds for a datagram there and back.
fn ping_pong(bed: &Bed, quantile: f64) -> Result<f64> {
    let echo = bed.lab.server.udp((server(1), ECHO).into())?;
    let socket = bed.lab.client.udp(([10, 0, 0, 2], 0).into())?;
    socket.connect((server(1), ECHO))?;
    let mut times = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; 64];
            while let Ok((length, from)) = echo.recv_from(&mut bytes) {
                if length == 0 || echo.send_to(&bytes[..length], from).is_err() {
                    return;
                }
            }
        });
        let mut bytes = [0; 64];
        let mut exchange = || {
            let watch = Stopwatch::start();
            socket.send(&[0; 32])?;
            socket.recv(&mut bytes)?;
            anyhow::Ok(watch.elapsed().as_nanos() as u64)
        };
        let measured = (0..WARM_UP + EXCHANGES).try_for_each(|n| {
            let time = exchange()?;
            if n >= WARM_UP {
                times.saturating_record(time);
            }
            anyhow::Ok(())
        });
        // Ends the echo, whatever came of it.
        socket.send(&[]).context("an empty datagram")?;
        measured
    })?;
    Ok(times.value_at_quantile(quantile) as f64 / 1e3)
}

/// Clients, and server threads, at a time.
const CLIENTS: u8 = 32;

const CONNECTING: Duration = Duration::from_secs(3);

const STREAMING: Duration = Duration::from_secs(3);

/// How long a receiver waits before it looks at the time.
const QUIET: Duration = Duration::from_millis(100);

/// Bytes of UDP.
const DATAGRAM: usize = 1_200;

const STREAM: u16 = 4_000;
const WEB: u16 = 80;
const ECHO: u16 = 7;

const WARM_UP: u32 = 500;
const EXCHANGES: u32 = 10_000;

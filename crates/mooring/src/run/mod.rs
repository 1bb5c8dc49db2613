//! `mooring run`: from a configuration to forwarding, and back to nothing.
//!
//! Everything is opened before the first packet is taken, in an order that leaves nothing behind
//! when a step fails: configuration, control socket, kernel forwarding, ports, engine, threads. Each
//! step's value undoes it when dropped.

pub mod clock;
pub mod control_socket;
pub mod desk;
pub mod kernel_watch;
pub mod observers;
pub mod services;
pub mod worker;

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::bounded;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use mooring_control::{DesiredState, FileSource};
use mooring_engine::{Engine, Link};
use mooring_io::af_packet::{self, Receiver, Sender};
use mooring_observe::health::Heartbeat;
use mooring_observe::report::{PortInfo, Report};
use mooring_packet::Abilities;
use mooring_policy::Policy;
use mooring_wire::Mac;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use self::clock::Clock;
use self::control_socket::ControlSocket;
use self::desk::{Desk, WorkerLine};
use self::kernel_watch::KernelWatch;
use self::observers::Observers;
use self::worker::{Ports, Worker};
use crate::check::load;
use crate::cli::ConfigArgs;
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When a step of the start fails, or a worker does.
pub fn run(arguments: &ConfigArgs) -> Result<(), Failure> {
    let state = load(arguments, &mut FileSource::new(&arguments.config))?;
    let signals = Signals::register().map_err(|error| failed(&error, None))?;
    let control = ControlSocket::bind(&state.settings.control_socket)?;
    let clock = Clock::start();
    let observers = Observers::start(&state.settings, clock)?;
    observers.health().policy_is_compiled();
    let mut watch = KernelWatch::start(&state)?;
    let (ports, links) = open_ports(&state.policy)?;
    observers.health().interfaces_are_open();
    let report = report(&state, &links);
    let mut engine = engine(&state, &links)?;
    engine.set_kernel_addresses(watch.addresses().to_vec());
    let hub = Hub::new(&control, &signals).map_err(|error| failed(&error, None))?;
    let (line, worker, heartbeat) = start(engine, ports, &hub, clock)?;
    watch.inform(line.clone());
    let desk = Arc::new(Desk::new(report, Arc::clone(&state.policy), vec![line]));
    observers.ready(&desk);
    observers.health().workers_run(vec![heartbeat]);
    watch.say_guard();
    say(&format!("mooring: ready: {} forward", names(&state.policy)));
    let served = hub.serve(&control, &signals, &desk, &mut watch);
    observers.health().drains();
    desk.stop();
    let ended = worker.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")));
    drop(watch);
    served.and(ended.map_err(|error| failed(&error, None)))
}

/// Opens a port for each interface, in their order.
fn open_ports(
    policy: &Policy,
) -> Result<(Ports<Receiver, Sender>, Vec<mooring_io::link::Link>), Failure> {
    let (mut rx, mut tx, mut links) = (Vec::new(), Vec::new(), Vec::new());
    for interface in &policy.interfaces {
        let opened = af_packet::open(&interface.device);
        let (receiver, sender, link) = opened.map_err(|error| failed(&error, error.hint()))?;
        if receiver.buffer_bytes().is_ok_and(|bytes| bytes < SMALL_BUFFER) {
            say(&format!(
                "mooring: warning: the kernel queues little for `{}`: bursts may be lost (rx_lost)\n\
                 hint: raise net.core.rmem_max, or add CAP_NET_ADMIN",
                interface.device
            ));
        }
        let groups = interface.addresses.iter().filter_map(|net| match net.addr() {
            std::net::IpAddr::V6(address) => Some(Mac::solicited_node(address)),
            std::net::IpAddr::V4(_) => None,
        });
        for group in groups {
            receiver.join(group).map_err(|error| failed(&error, None))?;
        }
        rx.push(receiver);
        tx.push(sender);
        links.push(link);
    }
    Ok((Ports { rx, tx }, links))
}

/// The engine, seeded by the operating system.
fn engine(state: &DesiredState, links: &[mooring_io::link::Link]) -> Result<Engine, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| failed(&error, None))?;
    let links: Vec<Link> = links
        .iter()
        .zip(&state.policy.interfaces)
        .map(|(link, interface)| Link { mac: link.mac, mtu: mtu(link, interface.mtu) })
        .collect();
    Ok(Engine::new(Arc::clone(&state.policy), state.generation, &links, seed))
}

/// The configured MTU, if it is one that the device can carry; else the device's.
fn mtu(link: &mooring_io::link::Link, configured: Option<u16>) -> u16 {
    let device = u16::try_from(link.mtu).unwrap_or(u16::MAX);
    configured.map_or(device, |mtu| mtu.min(device))
}

/// What `show interfaces` tells without asking a worker.
fn report(state: &DesiredState, links: &[mooring_io::link::Link]) -> Report {
    let ports = state.policy.interfaces.iter().zip(links).map(|(interface, link)| PortInfo {
        name: interface.name.clone(),
        device: interface.device.clone(),
        backend: "af_packet",
        mac: link.mac.to_string(),
        mtu: mtu(link, interface.mtu),
        addresses: interface.addresses.iter().map(ToString::to_string).collect(),
        abilities: abilities(af_packet::ABILITIES),
    });
    Report { interfaces: ports.collect(), generation: state.generation }
}

fn abilities(abilities: Abilities) -> Vec<&'static str> {
    let all = [
        (abilities.partial_checksum, "partial_checksum"),
        (abilities.tcp_segmentation, "tcp_segmentation"),
        (abilities.udp_segmentation, "udp_segmentation"),
    ];
    all.into_iter().filter_map(|(able, name)| able.then_some(name)).collect()
}

fn names(policy: &Policy) -> String {
    policy.interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Starts the worker's thread. When it ends, for whatever reason, the hub is woken.
fn start(
    engine: Engine,
    ports: Ports<Receiver, Sender>,
    hub: &Hub,
    clock: Clock,
) -> Result<(WorkerLine, thread::JoinHandle<io::Result<()>>, Heartbeat), Failure> {
    let (commands, inbox) = bounded(COMMANDS);
    let (worker, waker) =
        Worker::new(engine, ports, inbox, clock).map_err(|error| failed(&error, None))?;
    let heartbeat = worker.heartbeat();
    let ended = Arc::clone(&hub.waker);
    let thread = thread::Builder::new()
        .name("worker-0".to_owned())
        .spawn(move || {
            let wake = WakeOnDrop(ended);
            let result = worker.run();
            drop(wake);
            result
        })
        .map_err(|error| failed(&error, None))?;
    Ok((WorkerLine { commands, waker: Arc::new(waker) }, thread, heartbeat))
}

/// Signals, as file descriptors that become readable.
struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let (stop, raised) = UnixStream::pair()?;
        pipe::register(SIGINT, raised.try_clone()?)?;
        pipe::register(SIGTERM, raised)?;
        let (reload, raised) = UnixStream::pair()?;
        pipe::register(SIGHUP, raised)?;
        reload.set_nonblocking(true)?;
        Ok(Self { stop, reload })
    }
}

/// What the main thread waits for.
struct Hub {
    poll: Poll,
    waker: Arc<Waker>,
}

impl Hub {
    fn new(control: &ControlSocket, signals: &Signals) -> io::Result<Self> {
        let poll = Poll::new()?;
        let descriptors = [
            (CONTROL, control.listener().as_raw_fd()),
            (STOP, signals.stop.as_raw_fd()),
            (RELOAD, signals.reload.as_raw_fd()),
        ];
        for (token, fd) in descriptors {
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), WORKER_ENDED)?);
        Ok(Self { poll, waker })
    }

    /// Answers questions and watches the kernel until a signal or the end of a worker.
    fn serve(
        mut self,
        control: &ControlSocket,
        signals: &Signals,
        desk: &Desk,
        watch: &mut KernelWatch,
    ) -> Result<(), Failure> {
        let mut events = Events::with_capacity(8);
        let clock = Clock::start();
        loop {
            match self.poll.poll(&mut events, Some(watch.pause(clock.now()))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(failed(&error, None));
                }
                _ => {}
            }
            watch.look(clock.now())?;
            for event in &events {
                match event.token() {
                    STOP | WORKER_ENDED => return Ok(()),
                    CONTROL => desk.accept(control.listener()),
                    _ => refuse_reload(&signals.reload),
                }
            }
        }
    }
}

/// Reloading is not built yet; the running state stays, and whoever asked is told.
fn refuse_reload(mut signal: &UnixStream) {
    let mut raised = [0; 16];
    while io::Read::read(&mut signal, &mut raised).is_ok_and(|read| read > 0) {}
    say("mooring: reload refused: this version reads its configuration only when it starts; \
         the running configuration stays");
}

/// Tells the main thread that a worker has ended, also when it panicked.
struct WakeOnDrop(Arc<Waker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        // The main thread may be gone already; then nobody needs to know.
        let _ = self.0.wake();
    }
}

/// A receive buffer below this (1 MB) holds fewer than 16 super-packets.
const SMALL_BUFFER: usize = 1 << 20;

/// Commands that may wait for a worker.
const COMMANDS: usize = 64;

const CONTROL: Token = Token(0);
const STOP: Token = Token(1);
const RELOAD: Token = Token(2);
const WORKER_ENDED: Token = Token(3);

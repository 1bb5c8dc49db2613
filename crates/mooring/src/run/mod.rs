//! `mooring run`: from a configuration to forwarding, and back to nothing.
//!
//! Everything is opened before the first packet is taken, in an order that leaves nothing behind
//! when a step fails: configuration, control socket, kernel forwarding, ports, engines, threads. Each
//! step's value undoes it when dropped. Then [`hub`] waits, and [`appliance`] does what it hears of.

pub mod appliance;
mod assignments;
pub mod clock;
pub mod control_socket;
pub mod crew;
pub mod desk;
pub mod devices;
mod event_log;
mod folder_watch;
pub mod hub;
pub mod kernel_watch;
mod memory;
pub mod observers;
mod plane;
pub mod ports;
mod rights;
pub mod services;
pub mod trouble_log;
pub mod worker;

use std::mem;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;

use mooring_control::kubernetes::pod::annotations_file;
use mooring_control::{DesiredState, FileSource};
use mooring_engine::{Engine, Link};
use mooring_nat::Share;
use mooring_observe::health::Health;
use mooring_observe::report::{PortInfo, Report};
use mooring_policy::{Policy, Source};

use self::appliance::Appliance;
use self::clock::Clock;
use self::control_socket::ControlSocket;
use self::crew::Crew;
use self::desk::{Desk, Shown, Since};
use self::devices::Devices;
use self::event_log::EventLog;
use self::hub::Hub;
use self::kernel_watch::KernelWatch;
use self::observers::Observers;
use self::plane::Plane;
use self::trouble_log::TroubleLog;
use self::worker::Groups;
use crate::check::take;
use crate::cli::ConfigArgs;
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When a step of the start fails, or a worker does.
pub fn run(arguments: &ConfigArgs) -> Result<(), Failure> {
    rights::raise()?;
    let mut source = FileSource::new(&arguments.config);
    let networks = assignments::networks();
    source.set_networks(networks.clone());
    let devices = Devices::read()?;
    let state = take(arguments, source.load_with(&devices.facts(), &[]))?;
    source.accepted();
    let mut hub = Hub::new(ControlSocket::bind(&state.settings.control_socket)?)?;
    let clock = Clock::start();
    let observers = Observers::start(&state.settings, clock)?;
    let plane = plane(&state, &mut hub, observers.health(), arguments)?;
    let mut watch = KernelWatch::start(&state)?;
    let workers = crew::size(&state.settings);
    let ports::Opened { ports, links, mut attached } =
        ports::open(&state.policy, workers, watch.addresses())?;
    attached.deliver(&state.policy)?;
    attached.share_out(&state.policy);
    // The kernel has delivered addresses now, and is kept from them where others send to them.
    watch.look(clock.now(), &[]).map_err(|error| kernel_watch::refused(&error))?;
    attached.leave_to_kernel(watch.addresses());
    let devices = devices.with(Devices::read()?);
    observers.health().interfaces_are_open();
    let mut engines = engines(&state, &links, workers, watch.addresses())?;
    attached.note_everywhere(memory::prepare(&mut engines));
    attached.listen(&engines.first().map(Groups::of).unwrap_or_default())?;
    rights::keep(&state)?;
    let members = engines.into_iter().zip(ports).collect();
    let crew = Crew::start(members, clock, hub.ended(), hub.ear())?;
    let lines = crew.lines().to_vec();
    let interfaces = attached.infos(&state.policy, &links, &devices);
    let shown = shown(&state, interfaces, clock);
    let desk = Arc::new(Desk::new(shown, clock, lines.clone()));
    observers.ready(&desk);
    observers.health().workers_run(crew.heartbeats());
    // Only now: an instance that fails to start keeps nobody out.
    watch.say_guard();
    say(&format!("mooring: ready: {} forward", names(&state.policy)));
    let (trouble, events) = (TroubleLog::default(), EventLog::default());
    let mut appliance = Appliance {
        source,
        state,
        devices,
        links,
        watch,
        attached,
        desk,
        lines,
        trouble,
        events,
        plane,
        networks,
        health: Arc::clone(observers.health()),
        not_free: None,
        ends: None,
        clock,
    };
    let mut served = hub.serve(&mut appliance);
    observers.health().drains();
    appliance.stop();
    match crew.join() {
        Ok(Some(())) => {}
        Ok(None) => {
            // Whatever it still sends ends with the process: until then nobody says that nothing is held.
            mem::forget(appliance);
            return served.and(Err(failed(&"a worker does not end", None)));
        }
        Err(failure) => served = served.and(Err(failure)),
    }
    // Last: the control plane says by it that nothing is held any more.
    drop(appliance);
    served
}

/// The control plane that the configuration asks for. With one, the files that a cluster replaces are
/// followed.
fn plane(
    state: &DesiredState,
    hub: &mut Hub,
    health: &Health,
    arguments: &ConfigArgs,
) -> Result<Option<Plane>, Failure> {
    if state.settings.source == Source::File {
        return Ok(None);
    }
    health.awaits_assignments();
    hub.follow_files(&arguments.config, &annotations_file())?;
    Plane::start(state, hub.news()?).map(Some)
}

/// An engine for each worker, seeded by the operating system.
fn engines(
    state: &DesiredState,
    links: &[Link],
    workers: NonZeroU8,
    kernel: &[IpAddr],
) -> Result<Vec<Engine>, Failure> {
    let shares = (0..workers.get()).filter_map(|worker| Share::new(worker, workers.get()));
    let engine = |share| {
        let seed = seed()?;
        let policy = Arc::clone(&state.policy);
        let mut engine = Engine::for_worker(share, policy, state.generation, links, seed);
        engine.set_kernel_addresses(kernel.to_vec());
        Ok(engine)
    };
    shares.map(engine).collect()
}

/// What nobody can predict (RFC 6056 §3.1: an attacker must not guess the ports).
fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| failed(&error, None))?;
    Ok(seed)
}

/// What `show` tells of the first state.
fn shown(state: &DesiredState, interfaces: Vec<PortInfo>, clock: Clock) -> Shown {
    Shown {
        report: Report { interfaces, generation: state.generation },
        policy: Arc::clone(&state.policy),
        not_taken: Arc::clone(&state.not_taken),
        given: Arc::default(),
        since: Since::now(&state.policy, clock.date(clock.now())).into(),
    }
}

fn names(policy: &Policy) -> String {
    policy.interfaces.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    /// RFC 6056 §3.1: with one seed for all, ports could be computed from those of another appliance.
    #[test]
    fn every_worker_has_a_seed_of_its_own() {
        let seeds = [(); 3].map(|()| super::seed().ok());
        assert!(seeds.iter().all(|seed| seed.is_some_and(|seed| seed != [0; 32])));
        assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != seeds[2]);
    }
}

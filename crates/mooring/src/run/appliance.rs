//! The running state, and the way from it to the next: a new configuration, or another word of the
//! kernel.
//!
//! A state is read, compiled and compared here, beside the workers, and only a good one reaches them:
//! as an immutable snapshot, which all of them have acknowledged before the one before is freed.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use mooring_control::{DesiredState, FileSource};
use mooring_engine::{Link, Supplies};
use mooring_nat::Share;
use mooring_observe::health::Health;
use mooring_observe::report::Report;
use mooring_policy::{Interface, Limits, Networks, Policy};
use mooring_session::Tick;

use super::clock::Clock;
use super::desk::{Desk, Shown, Since, WorkerLine};
use super::devices::Devices;
use super::event_log::EventLog;
use super::kernel_watch::{KernelWatch, Prepared, refused};
use super::plane::Plane;
use super::ports::Attachments;
use super::trouble_log::TroubleLog;
use super::worker::{Adopted, Adoption, Command, Groups};
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// All that changes while packets pass, but the workers.
pub struct Appliance {
    /// Where states come from.
    pub source: FileSource,
    /// What runs.
    pub state: DesiredState,
    /// As the kernel's devices are, by the last look.
    pub devices: Devices,
    /// As the workers know the links.
    pub links: Vec<Link>,
    /// Keeps the kernel out.
    pub watch: KernelWatch,
    /// What stays of the ports beside the workers.
    pub attached: Attachments,
    /// Answers questions.
    pub desk: Arc<Desk>,
    /// How to reach the workers.
    pub lines: Vec<WorkerLine>,
    /// Who contradicts us, and who does not answer.
    pub trouble: TroubleLog,
    /// What a management system is told.
    pub events: EventLog,
    /// Who says which addresses are ours, if that is not the configuration.
    pub plane: Option<Plane>,
    /// Which network each device is on, by the Pod's annotations.
    pub networks: Networks,
    /// What probes are told.
    pub health: Arc<Health>,
    /// Why what the kernel let go of is not taken up, as it was said last.
    pub not_free: Option<String>,
    /// Until when it still forwards, once the end has begun.
    pub ends: Option<Tick>,
    /// The time.
    pub clock: Clock,
}

impl Appliance {
    /// Reads the configuration again, and says what became of it.
    ///
    /// # Errors
    /// When an address that is not ours any more is not let go of.
    pub fn reload(&mut self) -> Result<(), Failure> {
        match refusal(self.try_reload())? {
            None => say(&format!("mooring: reloaded generation {}", self.state.generation.0)),
            Some(reason) => say(&format!(
                "mooring: reload refused: {reason}\n\
                 mooring: generation {} stays",
                self.state.generation.0
            )),
        }
        Ok(())
    }

    fn try_reload(&mut self) -> Result<(), Unpublished> {
        let devices = Devices::read().map_err(Failure::into_text)?;
        let facts = devices.facts();
        let made = self.made(|source, holds| source.load_with(&facts, holds))?;
        for warning in &made.0.warnings {
            say(warning.render(&self.source.path().display().to_string()).trim_end());
        }
        self.publish(made, devices)
    }

    /// Follows what the kernel says of devices, addresses and routes now.
    ///
    /// # Errors
    /// When the kernel does not say; when an address that is not ours any more is not let go of.
    pub fn follow_kernel(&mut self) -> Result<(), Failure> {
        let devices = Devices::read()?;
        let policy = &self.state.policy;
        let concerns = |now: &Devices| now.facts_for(policy) != self.devices.facts_for(policy);
        let has_news = self.state.follows_kernel && concerns(&devices);
        self.say_changes(&devices);
        if has_news {
            self.follow_facts(&devices)?;
        }
        let links = devices.links(&self.state.policy, &self.links);
        if links != self.links {
            self.tell_all(|| Command::Links(links.as_slice().into()));
            self.links = links;
        }
        // What is known now stands also where it was refused: it is told once.
        self.devices = devices;
        self.show(Arc::clone(&self.desk.shown().since));
        Ok(())
    }

    /// Puts the running configuration to work with what the kernel says now, and says what became of
    /// that.
    fn follow_facts(&mut self, devices: &Devices) -> Result<(), Failure> {
        let facts = devices.facts();
        let made = self.made(|source, holds| source.refresh(&facts, holds));
        let made = made.map_err(Unpublished::Refused);
        match refusal(made.and_then(|made| self.publish(made, devices.clone())))? {
            None => say(&format!(
                "mooring: the kernel has other addresses, routes or MTUs: generation {}",
                self.state.generation.0
            )),
            Some(reason) => say(&format!(
                "mooring: cannot follow the kernel: {reason}\n\
                 mooring: generation {} stays",
                self.state.generation.0
            )),
        }
        Ok(())
    }

    /// Puts a state to work. Afterwards all that runs is of it, or, where it is refused, nothing is.
    pub(super) fn publish(
        &mut self,
        (next, guard): (DesiredState, Prepared),
        devices: Devices,
    ) -> Result<(), Unpublished> {
        let links = devices.links(&next.policy, &self.links);
        if let Err(failure) = self.attached.deliver(&next.policy) {
            // What was given meanwhile is taken back; if not even that can be done, it was told why.
            let _ = self.attached.deliver(&self.state.policy);
            return Err(Unpublished::Refused(failure.into_text()));
        }
        let adoption = Adoption {
            policy: Arc::clone(&next.policy),
            generation: next.generation,
            links: links.as_slice().into(),
        };
        let (groups, silent) = self.adopt(&adoption);
        if let Some(worker) = silent {
            self.miss(worker, &next)?;
        }
        self.watch.adopt(guard);
        // Not before: until all workers follow, those before know better who has a session.
        self.attached.share_out(&next.policy);
        if let Some(Err(failure)) = groups.map(|groups| self.attached.listen(&groups)) {
            say(&format!("mooring: warning: not all groups are joined: {}", failure.message));
        }
        self.accept();
        self.links = links;
        self.devices = devices;
        // What sessions drain of they keep themselves.
        self.state = next;
        let now = self.clock.date(self.clock.now());
        self.show(Arc::new(self.desk.shown().since.follow(&self.state.policy, now)));
        self.report();
        Ok(())
    }

    /// A worker has not said that it works by the next state. What it was to let go of it may send from when
    /// it goes on, and nobody is to be told that nothing does.
    fn miss(&self, worker: usize, next: &DesiredState) -> Result<(), Unpublished> {
        let kept: Vec<IpAddr> = held(&next.policy).collect();
        let gone: Vec<String> = held(&self.state.policy)
            .filter(|address| !kept.contains(address))
            .map(|address| address.to_string())
            .collect();
        let (generation, seconds) = (next.generation.0, PATIENCE.as_secs());
        let silent =
            format!("worker {worker} has not taken up generation {generation} in {seconds} s");
        if gone.is_empty() {
            say(&format!("mooring: warning: {silent}"));
            return Ok(());
        }
        let message = format!("{silent}, without which {} may still be used", gone.join(", "));
        Err(Unpublished::Stuck(failed(&message, None)))
    }

    /// Gives a policy to all workers, with the memory that each needs for it, and waits until they work
    /// by it. The groups are those of the first, which speaks for all; with them comes a worker that did
    /// not say so.
    fn adopt(&self, adoption: &Adoption) -> (Option<Groups>, Option<usize>) {
        // All of it is there before the first worker adopts: they do so soon after each other.
        let workers = self.lines.len() as u8;
        let supplies = supplies(&self.state.policy, &adoption.policy, workers);
        let answers: Vec<_> = self
            .lines
            .iter()
            .zip(supplies)
            .map(|(line, supplies)| {
                let (reply, answer) = bounded(1);
                line.tell(Command::Adopt(adoption.clone(), Box::new(supplies), reply));
                answer
            })
            .collect();
        let (mut groups, mut silent, mut leftovers) = (None, None, Vec::new());
        let mut slices = 0..SLICES;
        for (worker, answer) in answers.iter().enumerate() {
            // One that is silent for so long has ended, or frees the policy itself when it goes on.
            let Some(adopted) = adopted(answer, &mut slices) else {
                silent.get_or_insert(worker);
                continue;
            };
            groups.get_or_insert(adopted.groups);
            leftovers.push(adopted.leftovers);
        }
        self.lines.iter().for_each(|line| line.tell(Command::AllFollow(adoption.generation)));
        // Freed when all is said.
        drop(leftovers);
        (groups, silent)
    }

    /// Does what time asks for.
    ///
    /// # Errors
    /// When the kernel carries our packets and cannot be kept from it, or an address cannot be let go of.
    pub fn look(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        match self.watch.look(now, &self.lines) {
            Ok(true) => self.take_what_is_free()?,
            Ok(false) => {}
            Err(error) if self.leave_to_kernel(&error)? => {}
            Err(error) => return Err(refused(&error)),
        }
        if self.attached.leave_to_kernel(self.watch.addresses()) {
            self.show(Arc::clone(&self.desk.shown().since));
        }
        self.trouble.look(&self.lines, &self.state.policy, now);
        self.heed_conflicts()?;
        self.desk.miss_events(self.events.look(&self.lines, self.clock));
        if let Some(plane) = &self.plane {
            self.desk.leave_untold(plane.untold_events());
        }
        Ok(())
    }

    /// Tells the workers to stop, and what they still had to tell is in the log.
    pub fn stop(&mut self) {
        self.desk.miss_events(self.events.close(&self.lines, self.clock));
    }

    /// How long to wait before [`Self::look`] has something to do.
    #[must_use]
    pub fn pause(&self) -> Duration {
        let now = self.clock.now();
        let end = self.ends.map_or(Duration::MAX, |end| Duration::from_millis(end.since(now)));
        let trouble = self.trouble.pause(now);
        self.watch.pause(now).min(self.events.pause(now)).min(trouble).min(end)
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        self.lines.iter().for_each(|line| line.tell(command()));
    }

    /// What `show` tells from now on; `since` is of the addresses of the policy at work.
    pub(super) fn show(&self, since: Arc<Since>) {
        let report = Report {
            interfaces: self.attached.infos(&self.state.policy, &self.links, &self.devices),
            generation: self.state.generation,
        };
        let policy = Arc::clone(&self.state.policy);
        let not_taken = Arc::clone(&self.state.not_taken);
        let given = self.source.given().cloned().unwrap_or_default();
        self.desk.show(Shown { report, policy, not_taken, given, since });
    }

    /// Says which devices have come up, gone down or changed their MTU.
    fn say_changes(&self, devices: &Devices) {
        for Interface { name, device, .. } in &self.state.policy.interfaces {
            let (before, now) = (self.devices.link(device), devices.link(device));
            let state = |link: Option<&mooring_io::link::Link>| {
                link.map(|link| (link.up, link.operation, link.mtu))
            };
            if state(before) == state(now) {
                continue;
            }
            let Some(now) = now else { continue };
            let up = if now.up { now.operation.to_string() } else { "down".to_owned() };
            say(&format!("mooring: `{name}`: device `{device}` is {up}, MTU {}", now.mtu));
        }
    }
}

/// Why a state is not at work.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// It cannot be: what was at work stays.
    Refused(String),
    /// A worker does not let go of what is not ours any more: the process has to.
    Stuck(Failure),
}

impl From<String> for Unpublished {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// Why a state was refused, if it was.
///
/// # Errors
/// When the process has to end for it.
pub(super) fn refusal(published: Result<(), Unpublished>) -> Result<Option<String>, Failure> {
    match published {
        Ok(()) => Ok(None),
        Err(Unpublished::Refused(reason)) => Ok(Some(reason)),
        Err(Unpublished::Stuck(failure)) => Err(failure),
    }
}

/// The addresses that a control plane gives to a policy.
fn held(policy: &Policy) -> impl Iterator<Item = IpAddr> {
    policy.given().filter(|given| given.standing.is_held()).map(|given| given.address)
}

/// What a worker answers in time: what is left of [`PATIENCE`], which all of them share. Time in which the whole
/// process was stopped does not count.
fn adopted(answer: &Receiver<Adopted>, slices: &mut Range<u32>) -> Option<Adopted> {
    if slices.start == slices.end {
        return answer.try_recv().ok();
    }
    let answered = slices.find_map(|_| match answer.recv_timeout(PATIENCE / SLICES) {
        Err(RecvTimeoutError::Timeout) => None,
        answer => Some(answer.ok()),
    });
    answered.flatten()
}

/// The memory that each of the workers lacks for another policy.
fn supplies(before: &Policy, after: &Policy, workers: u8) -> Vec<Supplies> {
    let shares = (0..workers).map(|worker| Share::new(worker, workers));
    let of = |share| Supplies::between(before, after, share);
    shares.map(|share| share.map_or_else(Supplies::none, of)).collect()
}

/// What differs between two states that cannot change while packets pass.
pub(super) fn needs_a_restart(from: &DesiredState, to: &DesiredState) -> Option<String> {
    let (old, new) = (&from.settings, &to.settings);
    let (limits, wanted) = (from.policy.limits, to.policy.limits);
    let fixed = |interface: &Interface| {
        let Interface { name, device, backend, tx_coalescing, .. } = interface;
        (name.clone(), device.clone(), *backend, *tx_coalescing)
    };
    let prefixes = |limits: &Limits| (limits.source_prefix_v4, limits.source_prefix_v6);
    let (here, there) = (&from.policy.interfaces, &to.policy.interfaces);
    let changed = [
        (
            "`[[interface]]`: number, order, names, devices, backends or `tx_coalescing`",
            !here.iter().map(fixed).eq(there.iter().map(fixed)),
        ),
        ("`appliance.workers`", old.workers != new.workers),
        ("`appliance.control_socket`", old.control_socket != new.control_socket),
        ("`appliance.metrics`", old.metrics != new.metrics),
        ("`appliance.health`", old.health != new.health),
        ("`control.source`", old.source != new.source),
        ("`limits.sessions`, the size of the tables,", limits.sessions != wanted.sessions),
        ("`limits.fragments`, the size of the table,", limits.fragments != wanted.fragments),
        ("`limits.sources`, the size of the table,", limits.sources != wanted.sources),
        ("`limits.source_prefix_v4` or `_v6`", prefixes(&limits) != prefixes(&wanted)),
    ];
    let changed: Vec<&str> =
        changed.into_iter().filter_map(|(what, changed)| changed.then_some(what)).collect();
    (!changed.is_empty()).then(|| format!("{} changed", changed.join(" and ")))
}

/// How long a worker may take to adopt a policy.
const PATIENCE: Duration = Duration::from_secs(5);

/// It is waited for in so many parts.
const SLICES: u32 = 50;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use mooring_control::kubernetes::ownership::RouteFacts;
    use mooring_control::kubernetes::snapshot::RouteRef;
    use mooring_control::kubernetes::tenure::{Hold, TenureId};
    use mooring_control::kubernetes::{Given, Snapshot};
    use mooring_control::{DesiredState, FileSource};
    use mooring_engine::Supplies;
    use mooring_policy::KernelFacts;

    use super::{needs_a_restart, supplies};

    fn state(text: &str) -> DesiredState {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        fs::write(&path, text).expect("the folder is writable");
        FileSource::new(&path).load().expect("a valid configuration")
    }

    const RUNNING: &str = include_str!("../../../../configs/minimal.toml");

    #[test]
    fn rules_pools_and_addresses_change_while_packets_pass() {
        let running = state(RUNNING);
        let other = RUNNING.replace("203.0.113.10", "203.0.113.77");
        assert_ne!(other, RUNNING);
        assert_eq!(needs_a_restart(&running, &state(&other)), None);
        let other = format!("{RUNNING}\n[limits]\nsessions_per_source = 7\n");
        assert_eq!(needs_a_restart(&running, &state(&other)), None);
    }

    #[test]
    fn every_worker_gets_the_memory_for_addresses_that_are_new() {
        let more = RUNNING.replace("203.0.113.10/32", "203.0.113.0/24");
        let (before, after) = (state(RUNNING), state(&more));
        let addresses = |from: &DesiredState, to: &DesiredState| {
            let all = supplies(&from.policy, &to.policy, 3);
            all.iter().map(Supplies::addresses).collect::<Vec<_>>()
        };
        assert_eq!(addresses(&before, &after), [255; 3], "one is there");
        assert_eq!(addresses(&after, &before), [0; 3]);
    }

    /// With the source `kubernetes` addresses come one by one, and as a reload: by the same way.
    #[test]
    fn an_address_that_a_route_gives_brings_its_memory() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("mooring.toml");
        let text = RUNNING
            .replace("device = \"out0\"\n", "device = \"out0\"\nnetwork = \"wan\"\n")
            .replace("addresses = [\"203.0.113.10/32\"]", "addresses_from = { routes = \"all\" }");
        let text = format!("{text}\n[control]\nsource = \"kubernetes\"\n");
        fs::write(&path, text).expect("the folder is writable");
        let mut source = FileSource::new(&path);
        let before = source.load().expect("a valid configuration");
        source.accepted();
        let facts =
            RouteFacts { name: "r".to_owned(), network: "wan".to_owned(), ..RouteFacts::default() };
        let route = RouteRef::of(&Arc::new(facts));
        let given = ["203.0.113.10", "203.0.113.77"].map(|address| Given {
            address: address.parse().expect("an address"),
            route: route.clone(),
            hold: Some(Hold::Held(TenureId(1))),
            reason: None,
        });
        assert!(source.give(Arc::new(Snapshot { given: given.to_vec(), ..Snapshot::default() })));
        let after = source.refresh(&KernelFacts::default(), &[]).expect("valid");
        let made = supplies(&before.policy, &after.policy, 2);
        assert_eq!(made.iter().map(Supplies::addresses).collect::<Vec<_>>(), [2; 2]);
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let running = state(RUNNING);
        let other = format!("{RUNNING}\n[limits]\nsessions = 77\nfragments = 7\n");
        let reason = needs_a_restart(&running, &state(&other)).expect("tables keep their size");
        assert!(reason.contains("limits.sessions") && reason.contains("limits.fragments"));
        let other = format!("{RUNNING}\n[limits]\nsources = 77\nsource_prefix_v6 = 56\n");
        let reason = needs_a_restart(&running, &state(&other)).expect("sources stay what they are");
        assert!(reason.contains("limits.sources") && reason.contains("source_prefix"));
        let other = format!("{RUNNING}\n[control]\nsource = \"kubernetes\"\n");
        let reason = needs_a_restart(&running, &state(&other)).expect("another source");
        assert!(reason.contains("control.source"), "{reason}");
        let device = &running.policy.interfaces[0].device;
        let other = RUNNING.replace(&format!("\"{device}\""), "\"other0\"");
        let reason = needs_a_restart(&running, &state(&other)).expect("another device");
        assert!(reason.starts_with("`[[interface]]`"), "{reason}");
    }
}

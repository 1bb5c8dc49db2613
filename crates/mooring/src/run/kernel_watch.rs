//! The kernel beside us, looked at before the first packet and then twice a second: whether it would
//! carry what we carry, and which addresses it answers for itself.
//!
//! Its settings belong to others and change at any time. When it begins to forward, it is kept from
//! it, or the appliance ends: it does not run beside a kernel that lets packets through untranslated.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use mooring_control::DesiredState;
use mooring_io::kernel_forwarding::{Guard, GuardError, LocalPrefixes};
use mooring_policy::{Action, Backend, Interface};
use mooring_session::Tick;

use super::desk::WorkerLine;
use super::worker::Command;
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

/// Keeps the kernel out, and watches it.
pub struct KernelWatch {
    terms: Terms,
    guard: Guard,
    /// Whether it was said what the guard is.
    said: bool,
    /// The kernel's own addresses, as the workers know them.
    addresses: Vec<IpAddr>,
    /// When to look again.
    due: Tick,
    /// Looks that failed one after the other.
    in_vain: u32,
    /// What the kernel holds and would be ours, and whether it has let go of some of that.
    waits_for: Vec<IpNet>,
    is_freed: bool,
}

/// A guard for a state that is not at work yet.
pub struct Prepared {
    terms: Terms,
    guard: Guard,
}

/// What is to be kept from the kernel.
struct Terms {
    /// Where packets arrive.
    devices: Vec<String>,
    /// Ours to answer for: what pools, rules and gateways have, and the addresses of our interfaces
    /// that are not the kernel's.
    owned: Vec<IpNet>,
    allow: bool,
}

impl KernelWatch {
    /// Looks for the first time.
    ///
    /// # Errors
    /// When the kernel would carry the same packets and cannot be kept from it.
    pub fn start(state: &DesiredState) -> Result<Self, Failure> {
        let terms = Terms::of(state);
        let refused = |error: GuardError| failed(&error, error.hint());
        let local = read_local().map_err(refused)?;
        let guard = terms.keep_out(&local).map_err(refused)?;
        let addresses = local.addresses_without(&terms.owned);
        let (due, in_vain) = (Tick::ZERO, 0);
        let (waits_for, is_freed) = (Vec::new(), false);
        Ok(Self { terms, guard, said: false, addresses, due, in_vain, waits_for, is_freed })
    }

    /// What the kernel holds of the addresses that routes give to a state, and cannot be kept from: with it
    /// the state cannot be put to work. Where the kernel does not say, who puts it to work finds out.
    #[must_use]
    pub fn in_the_way_of(&self, state: &DesiredState) -> Vec<IpNet> {
        let given: Vec<IpNet> =
            state.policy.given().map(|given| IpNet::from(given.address)).collect();
        if given.is_empty() {
            return Vec::new();
        }
        let Ok(local) = read_local() else { return Vec::new() };
        let held = local.overlapping(&given);
        if held.is_empty() {
            return held;
        }
        match Terms::of(state).keep_out(&local) {
            Err(GuardError::Refused { .. }) => held,
            Ok(_) | Err(GuardError::Unreadable(_)) => Vec::new(),
        }
    }

    /// The kernel holds this, and what runs does without it. [`Self::is_freed`] tells when that is over.
    pub fn wait_for(&mut self, held: Vec<IpNet>) {
        self.waits_for = held;
        self.is_freed = false;
    }

    /// Whether the last look found that the kernel has let go of something that was waited for.
    #[must_use]
    pub const fn is_freed(&self) -> bool {
        self.is_freed
    }

    /// Keeps the kernel from what another state will own. What the running one owns stays guarded.
    ///
    /// # Errors
    /// When the kernel would carry the same packets and cannot be kept from it.
    pub fn prepare(&self, next: &DesiredState) -> Result<Prepared, Failure> {
        let terms = Terms::of(next);
        let guard = read_local().and_then(|local| terms.keep_out(&local));
        let guard = guard.map_err(|error| failed(&error, error.hint()))?;
        Ok(Prepared { terms, guard })
    }

    /// The state that was prepared for is at work.
    pub fn adopt(&mut self, prepared: Prepared) {
        Prepared { terms: self.terms, guard: self.guard } = prepared;
        self.say_guard();
        self.due = Tick::ZERO;
    }

    /// Says what keeps the kernel out, if something has to; once.
    pub fn say_guard(&mut self) {
        if !self.said && !matches!(self.guard, Guard::NotNeeded) {
            self.said = true;
            say(&format!("mooring: {}", self.guard));
        }
    }

    /// The addresses that the kernel answers for itself.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// How long to wait before [`Self::look`] has something to do.
    #[must_use]
    pub fn pause(&self, now: Tick) -> Duration {
        Duration::from_millis(self.due.since(now))
    }

    /// Looks again, when it is time to, and tells the workers of other addresses.
    ///
    /// # Errors
    /// When the kernel has begun to carry the same packets and cannot be kept from it, or cannot be
    /// looked at any more.
    pub fn look(&mut self, now: Tick, workers: &[WorkerLine]) -> Result<(), Failure> {
        if now < self.due {
            return Ok(());
        }
        self.due = now + LOOK_EVERY;
        match self.look_now(workers) {
            // One look in vain is no reason to stop: a dump of routes that change meanwhile may fail.
            Err(GuardError::Unreadable(_)) if self.in_vain < LOOKS_IN_VAIN => self.in_vain += 1,
            Err(error) => return Err(failed(&error, error.hint())),
            Ok(()) => self.in_vain = 0,
        }
        Ok(())
    }

    fn look_now(&mut self, workers: &[WorkerLine]) -> Result<(), GuardError> {
        let local = read_local()?;
        self.is_freed = self.waits_for.iter().any(|prefix| !local.has(prefix));
        // A guard that was taken does not depend on what changes later.
        if matches!(self.guard, Guard::NotNeeded) {
            self.guard = self.terms.keep_out(&local)?;
            self.say_guard();
        }
        let addresses = local.addresses_without(&self.terms.owned);
        if addresses != self.addresses && tell(workers, &addresses) {
            self.addresses = addresses;
        }
        Ok(())
    }
}

impl Terms {
    fn of(state: &DesiredState) -> Self {
        let policy = &state.policy;
        let pools = policy.pools.iter().flat_map(|pool| pool.addresses.iter().copied());
        let own = policy.interfaces.iter().filter(|interface| !interface.from_kernel);
        let own = own.flat_map(|interface| &interface.addresses).map(|net| net.addr());
        let gateways = policy.interfaces.iter().flat_map(|i| i.gateway_addresses.iter().copied());
        let ruled = policy.rules.iter().filter_map(|rule| match &rule.action {
            Action::Static(map) => Some(map.outside),
            Action::PortForward(forward) => Some(forward.address.into()),
            Action::SourceNat(_) | Action::Bypass | Action::Drop => None,
        });
        let mut owned: Vec<IpNet> =
            pools.chain(ruled).chain(own.chain(gateways).map(IpNet::from)).collect();
        owned.sort_unstable();
        owned.dedup();
        Self {
            devices: policy
                .interfaces
                .iter()
                .filter(|i| is_shared(i))
                .map(|i| i.device.clone())
                .collect(),
            owned,
            allow: state.settings.allow_kernel_forwarding,
        }
    }

    /// Makes sure that the kernel stays out.
    fn keep_out(&self, local: &LocalPrefixes) -> Result<Guard, GuardError> {
        let devices: Vec<&str> = self.devices.iter().map(String::as_str).collect();
        Guard::check(&devices, &self.owned, local, self.allow)
    }
}

fn read_local() -> Result<LocalPrefixes, GuardError> {
    LocalPrefixes::read().map_err(GuardError::Unreadable)
}

/// Tells the workers; false when one has no room for it now.
fn tell(workers: &[WorkerLine], addresses: &[IpAddr]) -> bool {
    workers.iter().all(|worker| {
        let told = worker.commands.try_send(Command::KernelAddresses(addresses.to_vec()));
        // A worker that cannot be woken has ended, of which the hub hears.
        let _ = worker.waker.wake();
        told.is_ok()
    })
}

/// Whether the kernel gets what arrives on the interface as well. What arrives from a tap device's
/// other side is the kernel's own.
fn is_shared(interface: &Interface) -> bool {
    match interface.backend {
        Backend::AfPacket | Backend::AfXdp => true,
        Backend::Tap | Backend::TunTap => false,
    }
}

/// A change is met within a second, with time to spare for a busy machine.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks that may fail one after the other: five seconds without knowing are too many.
const LOOKS_IN_VAIN: u32 = 10;

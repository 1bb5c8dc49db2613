//! The kernel beside us, looked at before the first packet and then twice a second: whether it would
//! carry what we carry, and which addresses it answers for itself.
//!
//! Its settings belong to others and change at any time. When it begins to forward, it is kept from
//! it, or the appliance ends: it does not run beside a kernel that lets packets through untranslated.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use mooring_control::DesiredState;
use mooring_io::kernel_forwarding::{Guard, GuardError, LocalPrefixes, Reason};
use mooring_policy::{Action, Backend, Interface, KernelHold};
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
    /// What it held at the last look.
    local: LocalPrefixes,
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
        let local = read_local().map_err(|error| refused(&error))?;
        let guard = terms.keep_out(&local).map_err(|error| refused(&error))?;
        let addresses = local.addresses_without(&terms.owned);
        let (due, in_vain) = (Tick::ZERO, 0);
        Ok(Self { terms, guard, said: false, addresses, due, in_vain, local })
    }

    /// Whether the kernel held any of this no more when it was looked at last.
    #[must_use]
    pub fn has_let_go(&self, holds: &[KernelHold]) -> bool {
        holds.iter().any(|hold| !self.local.has(&hold.prefix))
    }

    /// Keeps the kernel from what another state will own. What the running one owns stays guarded.
    ///
    /// # Errors
    /// When the kernel would carry the same packets and cannot be kept from it.
    pub fn prepare(&self, next: &DesiredState) -> Result<Prepared, GuardError> {
        let terms = Terms::of(next);
        let guard = read_local().and_then(|local| terms.keep_out(&local))?;
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

    /// Looks again, when it is time to, and tells the workers of other addresses. Says whether anything was
    /// seen.
    ///
    /// # Errors
    /// When the kernel has begun to carry the same packets and cannot be kept from it, or cannot be
    /// looked at any more.
    pub fn look(&mut self, now: Tick, workers: &[WorkerLine]) -> Result<bool, GuardError> {
        if now < self.due {
            return Ok(false);
        }
        self.due = now + LOOK_EVERY;
        match self.look_now(workers) {
            // One look in vain is no reason to stop: a dump of routes that change meanwhile may fail.
            Err(GuardError::Unreadable(_)) if self.in_vain < LOOKS_IN_VAIN => {
                self.in_vain += 1;
                Ok(false)
            }
            looked => looked.map(|()| {
                self.in_vain = 0;
                true
            }),
        }
    }

    fn look_now(&mut self, workers: &[WorkerLine]) -> Result<(), GuardError> {
        self.local = read_local()?;
        // A guard that was taken does not depend on what changes later.
        if matches!(self.guard, Guard::NotNeeded) {
            self.guard = self.terms.keep_out(&self.local)?;
            self.say_guard();
        }
        let addresses = self.local.addresses_without(&self.terms.owned);
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

/// What a guard that cannot be had comes to where nothing goes on without it.
pub fn refused(error: &GuardError) -> Failure {
    failed(error, error.hint())
}

/// What the kernel holds of the addresses that routes give to a state, if that is why there is no guard
/// for it: without them there may be one.
#[must_use]
pub fn given_and_held(state: &DesiredState, error: &GuardError) -> Vec<IpNet> {
    let GuardError::Refused { reasons, .. } = error else { return Vec::new() };
    let held = reasons.iter().filter_map(|reason| match reason {
        Reason::Holds { prefix } => Some(*prefix),
        Reason::Forwards { .. } => None,
    });
    let is_given =
        |prefix: &IpNet| state.policy.given().any(|given| prefix.contains(&given.address));
    held.filter(is_given).collect()
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

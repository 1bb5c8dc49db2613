//! The capabilities of a running appliance: what it uses, and nothing else.

use std::io;

use mooring_control::DesiredState;
use mooring_io::rights;
use mooring_policy::Backend;
use rustix::thread::CapabilitySet;

use crate::exit::Failure;
use crate::failed;

/// Makes effective what is permitted of what opening ports needs: without that, capabilities of the program's file
/// would be none.
///
/// # Errors
/// The kernel's.
pub(super) fn raise() -> Result<(), Failure> {
    rights::raise().map_err(|error| failed(&format!("cannot raise capabilities: {error}"), None))
}

/// Gives up, once everything is open, whatever `state` does not use.
///
/// # Errors
/// The kernel's.
pub(super) fn keep(state: &DesiredState) -> Result<(), Failure> {
    rights::keep(used(state))
        .map_err(|error| failed(&format!("cannot give up capabilities: {error}"), None))
}

/// Gives up, for a thread that opens no port, whatever does not serve to read files: tokens are read again.
pub(super) fn keep_to_read() -> io::Result<()> {
    rights::keep(READS)
}

/// What is used while packets pass.
fn used(state: &DesiredState) -> CapabilitySet {
    let mut used = CapabilitySet::NET_RAW | READS;
    let mut interfaces = state.policy.interfaces.iter();
    let is_ours = |backend| matches!(backend, Backend::Tap | Backend::TunTap);
    let devices = interfaces.any(|interface| is_ours(interface.backend));
    // The ingress drop is put in place when the kernel begins to forward, at any time.
    if devices || !state.settings.allow_kernel_forwarding {
        used |= CapabilitySet::NET_ADMIN;
    }
    used
}

/// What root could read when it started, a reload can read; nobody in a Pod has this one.
const READS: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

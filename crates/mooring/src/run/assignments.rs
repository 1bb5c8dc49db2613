//! What a control plane and the Pod say beside the configuration, put to work.
//!
//! Taking up may fail, and then is left; letting go may not. An appliance that cannot let go of what is
//! not its own any more ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mooring_control::kubernetes::pod::{PodNetworks, annotations_file, read_networks};
use mooring_control::{DesiredState, FileSource, LoadError};
use mooring_io::kernel_forwarding::GuardError;
use mooring_policy::{KernelHold, Networks, Policy};

use super::appliance::{Appliance, Unpublished, needs_a_restart, refusal};
use super::devices::Devices;
use super::kernel_watch::{Prepared, given_and_held, refused};
use crate::exit::Failure;
use crate::failed;
use crate::say::say;

impl Appliance {
    /// Takes what the control plane says now.
    ///
    /// # Errors
    /// When an address that is not ours any more cannot be let go of.
    pub fn assign(&mut self) -> Result<(), Failure> {
        let Some(plane) = &mut self.plane else { return Ok(()) };
        plane.say_contact();
        let Some(snapshot) = plane.latest() else { return Ok(()) };
        if !self.source.give(snapshot) {
            self.report();
            self.show(Arc::clone(&self.desk.shown().since));
        } else if let Some(reason) = refusal(self.follow_others())? {
            say(&format!("mooring: cannot take up what the routes give: {reason}"));
            self.let_go()?;
        }
        // Only now: what was given before the start is at work when probes hear of it.
        self.health.is_assigned();
        Ok(())
    }

    /// Reads the annotations again that say which network each device is on.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub fn follow_networks(&mut self) -> Result<(), Failure> {
        let before = self.networks.clone();
        self.networks = networks();
        if self.networks == before {
            return Ok(());
        }
        self.source.set_networks(self.networks.clone());
        match refusal(self.follow_others())? {
            None => say("mooring: the Pod's annotations name other networks"),
            Some(reason) => {
                say(&format!("mooring: cannot follow the Pod's annotations: {reason}"));
                // What needs a restart must not come in with something else.
                self.source.set_networks(before);
            }
        }
        Ok(())
    }

    /// Reads the configuration again if the file says something else than what is at work.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub fn reload_if_changed(&mut self) -> Result<(), Failure> {
        if self.source.has_changed() { self.reload() } else { Ok(()) }
    }

    /// Begins to end. Without a control plane there is nothing to wait for; with one, whoever gives us
    /// addresses sees that we are not ready, and gives them to somebody else while we still forward.
    pub fn retire(&mut self) {
        self.health.drains();
        let now = self.clock.now();
        let patience = if self.plane.is_some() && self.ends.is_none() { LINGER } else { NONE };
        self.ends = Some(now + patience);
    }

    /// Whether the end is there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let holds = self.source.given().is_some_and(|given| given.holds_any());
        self.ends.is_some_and(|end| end <= self.clock.now() || !holds)
    }

    /// Tells the control plane what is at work.
    pub(super) fn report(&mut self) {
        if let Some(plane) = &mut self.plane {
            plane.adopted(&self.state, self.source.given().cloned().unwrap_or_default());
        }
    }

    /// A worker has seen somebody else use an address of ours.
    pub fn hear_contradiction(&mut self) {
        if self.plane.is_some() {
            self.trouble.hurry();
        }
    }

    /// Asks the control plane about addresses of ours that others use. Until it has answered nothing
    /// leaves from them.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub(super) fn heed_conflicts(&mut self) -> Result<(), Failure> {
        let Some(plane) = &mut self.plane else { return Ok(()) };
        let (conflicts, signs) = (self.trouble.contradicted(), self.trouble.signs());
        if plane.contradicted(&self.state, conflicts, signs, self.clock.now()) {
            self.assign()?;
        }
        Ok(())
    }

    /// A state that can be put to work, and what keeps the kernel from it. What a route gives and the
    /// kernel holds itself is not in it, and keeps nothing else from being taken up.
    pub(super) fn made(
        &mut self,
        make: impl Fn(&mut FileSource, &[KernelHold]) -> Result<DesiredState, LoadError>,
    ) -> Result<(DesiredState, Prepared), String> {
        let next = self.proposed(&make, &[])?;
        let error = match self.watch.prepare(&next) {
            Ok(guard) => return Ok((next, guard)),
            Err(error) => error,
        };
        let held = given_and_held(&next, &error);
        if held.is_empty() {
            return Err(refused(&error).into_text());
        }
        // Which device it is people are told, if it is known.
        let devices = Devices::read().ok();
        let device = |prefix| devices.as_ref().and_then(|devices| devices.with_address(prefix));
        let holds = held.into_iter().map(|prefix| KernelHold { prefix, device: device(prefix) });
        let next = self.proposed(&make, &holds.collect::<Vec<_>>())?;
        let guard = self.watch.prepare(&next).map_err(|error| refused(&error).into_text())?;
        Ok((next, guard))
    }

    fn proposed(
        &mut self,
        make: impl Fn(&mut FileSource, &[KernelHold]) -> Result<DesiredState, LoadError>,
        holds: &[KernelHold],
    ) -> Result<DesiredState, String> {
        let next = make(&mut self.source, holds).map_err(|error| error.to_string())?;
        match needs_a_restart(&self.state, &next) {
            Some(reason) => Err(format!("{reason}: that needs a restart")),
            None => Ok(next),
        }
    }

    /// The state that was made last is at work. What it leaves to the kernel is said once.
    pub(super) fn accept(&mut self) {
        let before = self.source.left_to_kernel().to_vec();
        self.source.accepted();
        for hold in self.source.left_to_kernel().iter().filter(|hold| !before.contains(hold)) {
            say(&format!("mooring: warning: a route gives what is not taken up: {hold}"));
        }
    }

    /// The kernel has begun to hold what a route gives: that is left to it. Says whether it was that.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub(super) fn leave_to_kernel(&mut self, error: &GuardError) -> Result<bool, Failure> {
        let is_that = !given_and_held(&self.state, error).is_empty();
        Ok(is_that && refusal(self.follow_others())?.is_none())
    }

    /// Takes up what a route gives and the kernel held until now. Where that fails it is tried again with
    /// the next look, but said once.
    ///
    /// # Errors
    /// As [`Self::assign`].
    pub(super) fn take_what_is_free(&mut self) -> Result<(), Failure> {
        if !self.watch.has_let_go(self.source.left_to_kernel()) {
            self.not_free = None;
            return Ok(());
        }
        let reason = refusal(self.follow_others())?;
        if let Some(reason) =
            reason.as_ref().filter(|reason| self.not_free.as_ref() != Some(reason))
        {
            say(&format!("mooring: cannot take up what the kernel has let go of: {reason}"));
        }
        self.not_free = reason;
        Ok(())
    }

    fn follow_others(&mut self) -> Result<(), Unpublished> {
        let facts = self.devices.facts();
        let made = self.made(|source, holds| source.refresh(&facts, holds))?;
        self.put_to_work(made)
    }

    fn let_go(&mut self) -> Result<(), Failure> {
        let left = self.made(FileSource::let_go).map_err(Unpublished::Refused);
        match refusal(left.and_then(|left| self.put_to_work(left)))? {
            None => Ok(()),
            Some(reason) => {
                let message =
                    format!("cannot let go of addresses that are not ours any more: {reason}");
                Err(failed(&message, None))
            }
        }
    }

    fn put_to_work(&mut self, made: (DesiredState, Prepared)) -> Result<(), Unpublished> {
        let before = Arc::clone(&self.state.policy);
        self.publish(made, self.devices.clone())?;
        tell_changes(&before, &self.state.policy);
        Ok(())
    }
}

/// The networks of the Pod's devices, as its annotations say. What cannot be read is said.
pub(super) fn networks() -> Networks {
    let PodNetworks { networks, problems } = read_networks(&annotations_file());
    problems.iter().for_each(|problem| say(&format!("mooring: warning: {problem}")));
    networks
}

/// Says which addresses have come and gone.
fn tell_changes(before: &Policy, now: &Policy) {
    let (had, have) = (held(before), held(now));
    let come = have.iter().filter(|row| !had.contains(row));
    let gone = had.iter().filter(|row| !have.contains(row));
    let come = come.map(|(address, route)| format!("{address} taken up, by route `{route}`"));
    let gone = gone.map(|(address, route)| format!("{address} let go of, by route `{route}`"));
    let lines: Vec<String> = gone.chain(come).collect();
    for line in lines.iter().take(LINES) {
        say(&format!("mooring: {line}"));
    }
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        say(&format!("mooring: {more} more changes; `mooring show addresses` lists all"));
    }
}

fn held(policy: &Policy) -> Vec<(IpAddr, &str)> {
    let held = policy.given().filter(|given| given.standing.is_held());
    held.map(|given| (given.address, given.route)).collect()
}

/// How long an appliance that ends forwards for addresses that nobody else has been given.
const LINGER: Duration = Duration::from_secs(20);

const NONE: Duration = Duration::ZERO;

/// Lines for one change.
const LINES: usize = 8;

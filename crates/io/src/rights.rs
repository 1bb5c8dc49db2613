//! What the kernel lets this process do: capabilities (capabilities(7)), of which an appliance needs two.
//!
//! A Pod gets them in one of two ways (docs/kubernetes.md, Rights). To root the container runtime gives what the
//! Pod adds. Another user has them from the program's file, permitted and not effective: the program raises them
//! itself. Either way it gives up everything else before the first packet.
//!
//! Capabilities belong to threads: a new one has those of the thread that starts it.

use std::cell::Cell;
use std::io;

use rustix::fs::{StatVfsMountFlags, getxattr, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Makes what is permitted of CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF effective.
///
/// # Errors
/// When the kernel refuses, which it does for no process of its own.
pub fn raise() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    let wanted = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    sets.effective |= sets.permitted & wanted;
    Ok(set_capabilities(None, sets)?)
}

/// Gives up everything but `kept` for good, in this thread and those that it starts: also what a program that it
/// runs could have, as far as it may decide that (CAP_SETPCAP).
///
/// # Errors
/// When the kernel refuses, which it does for no process of its own.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    let mut sets = capabilities(None)?;
    if sets.permitted.contains(CapabilitySet::SETPCAP) {
        sets.effective |= CapabilitySet::SETPCAP;
        set_capabilities(None, sets)?;
        bound(kept)?;
    }
    let left = sets.permitted & kept;
    GIVEN_UP.set(GIVEN_UP.get() | sets.permitted.difference(left));
    (sets.permitted, sets.effective, sets.inheritable) = (left, left, CapabilitySet::empty());
    Ok(set_capabilities(None, sets)?)
}

/// Takes everything but `kept` out of the bounding set.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// What an operator can do so that this process has the capability `short`, the name without `CAP_`.
#[must_use]
pub(crate) fn advice(short: &str) -> String {
    let one = match short {
        "NET_ADMIN" => CapabilitySet::NET_ADMIN,
        "BPF" => CapabilitySet::BPF,
        _ => CapabilitySet::NET_RAW,
    };
    if GIVEN_UP.get().contains(one) {
        return format!(
            "restart: CAP_{short} was given up at the start, when nothing in the configuration used it"
        );
    }
    Standing::now(one).advice(short)
}

/// Why a capability may be missing.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Root has all that the bounding set has.
    root: bool,
    /// The bounding set has it.
    bound: bool,
    /// The program's file permits some.
    file: bool,
    /// The file's capabilities do not count.
    no_new_privs: bool,
    /// They do not either.
    nosuid: bool,
}

impl Standing {
    /// What cannot be read is taken as it mostly is.
    fn now(one: CapabilitySet) -> Self {
        let mut attribute = [0; 64];
        let mount = statvfs(PROGRAM).map(|mount| mount.f_flag);
        Self {
            root: geteuid().is_root(),
            bound: capability_is_in_bounding_set(one).unwrap_or(true),
            file: getxattr(PROGRAM, "security.capability", &mut attribute).is_ok(),
            no_new_privs: no_new_privs().unwrap_or(false),
            nosuid: mount.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOSUID)),
        }
    }

    fn advice(self, short: &str) -> String {
        let add = format!(
            "run as root or with CAP_{short}; in a Pod: securityContext.capabilities.add: [{short}]"
        );
        let file = match (self.file, self.no_new_privs, self.nosuid) {
            _ if self.root => return add,
            (true, false, false) => return add,
            (true, true, _) => {
                "the capabilities of the program's file do not count while no_new_privs is set; in a \
                 Pod: securityContext.allowPrivilegeEscalation: true, or the user root (runAsUser: 0)"
            }
            (true, false, true) => {
                "the capabilities of the program's file do not count on a file system that is mounted \
                 nosuid; in a Pod: the user root (runAsUser: 0)"
            }
            (false, ..) => {
                "run as root, or give the program's file the capability (setcap); in a Pod: \
                 runAsUser: 0, or the image `...-file-capabilities` with \
                 securityContext.allowPrivilegeEscalation: true"
            }
        };
        if self.bound { file.to_owned() } else { format!("{add}; then: {file}") }
    }
}

thread_local! {
    /// What this thread had, and gave up itself.
    static GIVEN_UP: Cell<CapabilitySet> = const { Cell::new(CapabilitySet::empty()) };
}

/// The file that this process runs.
const PROGRAM: &str = "/proc/self/exe";

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

    use super::{Standing, advice, keep};

    const ROOT: Standing =
        Standing { root: true, bound: false, file: false, no_new_privs: true, nosuid: false };
    const OTHER: Standing =
        Standing { root: false, bound: true, file: true, no_new_privs: false, nosuid: false };
    const ADD: &str = "securityContext.capabilities.add: [NET_RAW]";
    const ESCALATION: &str = "allowPrivilegeEscalation: true";

    #[test]
    fn what_is_missing_is_named_by_the_field_that_gives_it() {
        for (standing, expected, not) in [
            (ROOT, ADD, ESCALATION),
            (Standing { bound: false, ..OTHER }, ADD, ESCALATION),
            (Standing { no_new_privs: true, ..OTHER }, ESCALATION, ADD),
            (Standing { nosuid: true, ..OTHER }, "nosuid", ADD),
            (Standing { file: false, ..OTHER }, "runAsUser: 0", ADD),
            (Standing { file: false, ..OTHER }, "-file-capabilities", ADD),
        ] {
            let advice = standing.advice("NET_RAW");
            assert!(advice.contains(expected), "{standing:?}: {advice}");
            assert!(!advice.contains(not), "{standing:?}: {advice}");
        }
    }

    #[test]
    fn two_fields_that_are_missing_are_both_named() {
        let advice = Standing { bound: false, no_new_privs: true, ..OTHER }.advice("NET_RAW");
        assert!(advice.contains(ADD) && advice.contains(ESCALATION), "{advice}");
    }

    /// In a thread of its own: what is given up does not come back.
    #[test]
    fn what_is_not_kept_is_gone_from_every_set() {
        let kept = CapabilitySet::NET_RAW;
        let thread = std::thread::spawn(move || {
            let before = capabilities(None).expect("readable");
            keep(kept).expect("given up");
            let after = capabilities(None).expect("readable");
            assert_eq!(after.permitted, before.permitted & kept);
            assert_eq!(
                (after.effective, after.inheritable),
                (after.permitted, CapabilitySet::empty())
            );
            let bound = |one| capability_is_in_bounding_set(one).expect("known");
            if before.permitted.contains(CapabilitySet::SETPCAP) {
                assert!(!bound(CapabilitySet::SYS_ADMIN));
            }
            assert_eq!(bound(kept), before.permitted.contains(kept));
        });
        thread.join().expect("as expected");
    }

    /// Who had a capability and gave it up is not told to add it.
    #[test]
    fn what_was_given_up_comes_back_by_a_restart_only() {
        let thread = std::thread::spawn(|| {
            let had = capabilities(None).expect("readable").permitted;
            let restart =
                || ["NET_RAW", "NET_ADMIN"].map(|one| advice(one).contains("restart: CAP_"));
            assert_eq!(restart(), [false, false]);
            keep(CapabilitySet::NET_RAW).expect("given up");
            assert_eq!(restart(), [false, had.contains(CapabilitySet::NET_ADMIN)]);
        });
        thread.join().expect("as expected");
    }
}

//! What a running appliance may do: nothing that it does not use.

use anyhow::{Result, ensure};
use mooring_lab::{Appliance, Config, Lab, isolated};

/// Bits of linux/capability.h.
const DAC_READ_SEARCH: u64 = 1 << 2;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

#[test]
fn a_running_appliance_keeps_no_right_that_it_does_not_use() {
    isolated("a_running_appliance_keeps_no_right_that_it_does_not_use", || {
        let guarded = NET_RAW | NET_ADMIN | DAC_READ_SEARCH;
        holds(&Config::nat44(), guarded)?;
        // Nothing would ever put an ingress drop in place, and there is no device of ours.
        let allowed = Config::nat44().appliance("allow_kernel_forwarding = true");
        holds(&allowed, NET_RAW | DAC_READ_SEARCH)?;
        holds(&allowed.inside_by_tap("tap", 1_500), guarded)
    });
}

/// It was started with all rights; afterwards the threads that carry packets have these, and no thread has others:
/// what answers probes has none.
fn holds(config: &Config, expected: u64) -> Result<()> {
    let lab = Lab::new()?;
    let appliance =
        Appliance::start(&lab.gateway, &config.clone().appliance("health = \"127.0.0.1:9465\""))?;
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        let mut sets = Vec::new();
        for set in appliance.of_threads(key)? {
            sets.push(u64::from_str_radix(&set, 16)?);
        }
        ensure!(sets.contains(&expected), "{key}: {sets:x?}, not {expected:x}");
        ensure!(sets.contains(&0), "{key}: {sets:x?}, not even one without");
        let others = sets.iter().filter(|set| ![0, expected].contains(*set)).count();
        ensure!(others == 0, "{key}: {sets:x?}, only {expected:x} is used");
    }
    appliance.stop().map(drop)
}

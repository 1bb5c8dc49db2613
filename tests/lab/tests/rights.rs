//! What a running appliance may do: nothing that it does not use.

use anyhow::{Result, ensure};
use mooring_lab::peers::Routes;
use mooring_lab::{Appliance, Config, Lab, agent, isolated};

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

/// With the source `kubernetes` there is a thread that speaks to the API server, and reads its token again.
#[test]
fn what_speaks_to_the_api_server_keeps_no_right_but_to_read() {
    isolated("what_speaks_to_the_api_server_keeps_no_right_but_to_read", || {
        let lab = Lab::new()?;
        let routes = Routes::start(&lab.gateway, agent::API.parse()?, &["203.0.113.10/32"])?;
        let mut appliance = agent::start(&lab, &agent::config())?;
        // It has asked, and reported.
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        routes.wait_for_lease(&[("203.0.113.10", "held")])?;
        let guarded = NET_RAW | NET_ADMIN | DAC_READ_SEARCH;
        only(&appliance, &[guarded, DAC_READ_SEARCH, 0])?;
        routes.name(&[]);
        appliance.stop().map(drop)
    });
}

/// It was started with all rights; afterwards the threads that carry packets have these, and no thread has others:
/// what answers probes has none.
fn holds(config: &Config, expected: u64) -> Result<()> {
    let lab = Lab::new()?;
    let appliance =
        Appliance::start(&lab.gateway, &config.clone().appliance("health = \"127.0.0.1:9465\""))?;
    only(&appliance, &[expected, 0])?;
    appliance.stop().map(drop)
}

/// Every thread has one of these sets, and each set a thread.
fn only(appliance: &Appliance, expected: &[u64]) -> Result<()> {
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        let mut sets = Vec::new();
        for set in appliance.of_threads(key)? {
            sets.push(u64::from_str_radix(&set, 16)?);
        }
        for set in expected {
            ensure!(sets.contains(set), "{key}: {sets:x?}, not {set:x}");
        }
        let others = sets.iter().filter(|set| !expected.contains(*set)).count();
        ensure!(others == 0, "{key}: {sets:x?}, only {expected:x?} are used");
    }
    Ok(())
}

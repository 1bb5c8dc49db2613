//! Everyday traffic, by the tools that people use, through every variant of the appliance.
//!
//! A test is one group of traffic on one variant; each group shows both families, and that no frame
//! with an inside address left for the outside. The plain tap backend moves no bulk here: it is there
//! to compare with, and takes half a minute for it.

mod bulk;
mod filtering;
mod mtu;
mod reach;
mod rules;

use anyhow::{Context, Result};
use mooring_lab::{Appliance, Capture, Config, Family, Mtus, Site, Variant, isolated};

#[test]
fn reach_by_af_packet() {
    isolated("reach_by_af_packet", || shown(Variant::AfPacket, reach::all));
}

#[test]
fn reach_by_two_workers() {
    isolated("reach_by_two_workers", || shown(Variant::TwoWorkers, reach::all));
}

#[test]
fn reach_by_af_xdp() {
    isolated("reach_by_af_xdp", || shown(Variant::AfXdp, reach::all));
}

#[test]
fn reach_by_tap() {
    isolated("reach_by_tap", || shown(Variant::Tap, reach::all));
}

#[test]
fn reach_by_tun_tap() {
    isolated("reach_by_tun_tap", || shown(Variant::TunTap, reach::all));
}

#[test]
fn reach_by_coalescing() {
    isolated("reach_by_coalescing", || shown(Variant::Coalescing, reach::all));
}

#[test]
fn reach_by_kernel_addresses() {
    isolated("reach_by_kernel_addresses", || shown(Variant::KernelAddresses, reach::all));
}

#[test]
fn bulk_by_af_packet() {
    isolated("bulk_by_af_packet", || shown(Variant::AfPacket, bulk::all));
}

#[test]
fn bulk_by_two_workers() {
    isolated("bulk_by_two_workers", || shown(Variant::TwoWorkers, bulk::all));
}

#[test]
fn bulk_by_af_xdp() {
    isolated("bulk_by_af_xdp", || shown(Variant::AfXdp, bulk::all));
}

#[test]
fn bulk_by_tap() {
    isolated("bulk_by_tap", || shown(Variant::Tap, bulk::all));
}

#[test]
fn bulk_by_coalescing() {
    isolated("bulk_by_coalescing", || shown(Variant::Coalescing, bulk::all));
}

#[test]
fn bulk_by_kernel_addresses() {
    isolated("bulk_by_kernel_addresses", || shown(Variant::KernelAddresses, bulk::all));
}

#[test]
fn small_mtu_by_af_packet() {
    isolated("small_mtu_by_af_packet", || mtu::everywhere(Variant::AfPacket));
}

#[test]
fn small_mtu_by_two_workers() {
    isolated("small_mtu_by_two_workers", || mtu::everywhere(Variant::TwoWorkers));
}

#[test]
fn small_mtu_by_af_xdp() {
    isolated("small_mtu_by_af_xdp", || mtu::everywhere(Variant::AfXdp));
}

#[test]
fn small_mtu_by_tap() {
    isolated("small_mtu_by_tap", || mtu::everywhere(Variant::Tap));
}

#[test]
fn small_mtu_by_tun_tap() {
    isolated("small_mtu_by_tun_tap", || mtu::everywhere(Variant::TunTap));
}

#[test]
fn small_mtu_by_coalescing() {
    isolated("small_mtu_by_coalescing", || mtu::everywhere(Variant::Coalescing));
}

#[test]
fn small_mtu_by_kernel_addresses() {
    isolated("small_mtu_by_kernel_addresses", || mtu::everywhere(Variant::KernelAddresses));
}

#[test]
fn large_mtu_by_af_xdp() {
    isolated("large_mtu_by_af_xdp", || mtu::large(Variant::AfXdp));
}

#[test]
fn rules_by_af_packet() {
    isolated("rules_by_af_packet", || shown(Variant::AfPacket, rules::all));
}

#[test]
fn rules_by_two_workers() {
    isolated("rules_by_two_workers", || shown(Variant::TwoWorkers, rules::all));
}

#[test]
fn rules_by_af_xdp() {
    isolated("rules_by_af_xdp", || shown(Variant::AfXdp, rules::all));
}

#[test]
fn rules_by_tap() {
    isolated("rules_by_tap", || shown(Variant::Tap, rules::all));
}

#[test]
fn rules_by_coalescing() {
    isolated("rules_by_coalescing", || shown(Variant::Coalescing, rules::all));
}

#[test]
fn rules_by_kernel_addresses() {
    isolated("rules_by_kernel_addresses", || shown(Variant::KernelAddresses, rules::all));
}

#[test]
fn filtering_by_af_packet() {
    isolated("filtering_by_af_packet", || shown(Variant::AfPacket, filtering::all));
}

#[test]
fn filtering_by_two_workers() {
    isolated("filtering_by_two_workers", || shown(Variant::TwoWorkers, filtering::all));
}

#[test]
fn filtering_by_af_xdp() {
    isolated("filtering_by_af_xdp", || shown(Variant::AfXdp, filtering::all));
}

#[test]
fn filtering_by_tap() {
    isolated("filtering_by_tap", || shown(Variant::Tap, filtering::all));
}

#[test]
fn filtering_by_kernel_addresses() {
    isolated("filtering_by_kernel_addresses", || shown(Variant::KernelAddresses, filtering::all));
}

/// A group of traffic: it may add to the configuration before the appliance starts.
struct Group {
    configure: fn(Config) -> Config,
    traffic: fn(&Site, &Appliance) -> Result<()>,
}

fn shown(variant: Variant, group: fn() -> Group) -> Result<()> {
    show(&Site::with_mtus(variant, Mtus::default())?, &group())
}

/// Runs the group's traffic with a capture on the outside link around it.
fn show(site: &Site, group: &Group) -> Result<()> {
    let capture = Capture::start(&site.server, "eth0")?;
    let appliance = site.start(&(group.configure)(site.config()))?;
    if let Err(error) = (group.traffic)(site, &appliance) {
        let drops = appliance.show_text(&["drops"]).unwrap_or_default();
        let sessions = appliance.show_text(&["sessions"]).unwrap_or_default();
        return Err(error).with_context(|| format!("drops:\n{drops}\nsessions:\n{sessions}"));
    }
    appliance.stop()?;
    let inside = Family::BOTH.map(|family| [family.client, family.other]);
    capture.stop()?.ensure_translated(inside.as_flattened())
}

/// The configuration as the site has it.
const fn unchanged(config: Config) -> Config {
    config
}

//! A site with one of the two NATs in it.

use anyhow::Result;
use mooring_lab::{Appliance, Config, Mtus, Site, Variant};

/// What both are told to do.
pub(crate) struct Setup {
    /// Of the appliance, added to the site's own.
    pub(crate) configure: fn(Config) -> Config,
    /// Of the kernel, in place of [`SNAT`].
    pub(crate) ruleset: String,
    pub(crate) mtus: Mtus,
    pub(crate) variant: Variant,
}

/// A site and its NAT, which runs.
pub(crate) struct Running {
    pub(crate) site: Site,
    pub(crate) appliance: Option<Appliance>,
}

impl Default for Setup {
    /// Both families of the inside network behind one address each.
    fn default() -> Self {
        Self {
            configure: |config| config,
            ruleset: SNAT.to_owned(),
            mtus: Mtus::default(),
            variant: Variant::AfPacket,
        }
    }
}

impl Setup {
    pub(crate) fn mtus(self, mtus: Mtus) -> Self {
        Self { mtus, ..self }
    }

    pub(crate) fn variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }
}

impl Running {
    pub(crate) fn mooring(setup: &Setup) -> Result<Self> {
        let site = Site::with_mtus(setup.variant, setup.mtus)?;
        let appliance = site.start(&(setup.configure)(site.config()))?;
        Ok(Self { site, appliance: Some(appliance) })
    }

    pub(crate) fn nftables(setup: &Setup) -> Result<Self> {
        let site = Site::with_mtus(Variant::AfPacket, setup.mtus)?;
        site.gateway.enable_ipv6()?;
        site.gateway.ip(KERNEL)?;
        let running = Self { site, appliance: None };
        running.rules(&setup.ruleset)?;
        for (setting, value) in FORWARDING {
            running.site.gateway.sysctl(setting, value)?;
        }
        Ok(running)
    }

    /// Adds rules to the kernel's.
    pub(crate) fn rules(&self, ruleset: &str) -> Result<()> {
        self.site.gateway.output("nft", &[ruleset]).map(drop)
    }

    /// What the appliance can say about a failure.
    pub(crate) fn said(&self) -> String {
        let Some(appliance) = &self.appliance else { return String::new() };
        let show = |what| appliance.show_text(&[what]).unwrap_or_default();
        format!("drops:\n{}\nsessions:\n{}", show("drops"), show("sessions"))
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.appliance.map_or(Ok(()), |appliance| appliance.stop().map(drop))
    }
}

/// Both families of the inside network behind one address each.
pub(crate) const SNAT: &str = "
table inet nat {
  chain pre { type nat hook prerouting priority dstnat; }
  chain post { type nat hook postrouting priority srcnat;
    oifname out0 ip saddr 10.0.0.0/8 snat ip to 203.0.113.10;
    oifname out0 ip6 saddr fd00:10::/64 snat ip6 to 2001:db8:2::10; }
}";

const KERNEL: &str = "\
address add 10.0.0.1/24 dev in0
address add fd00:10::1/64 dev in0 nodad
address add 192.0.2.1/24 dev out0
address add 2001:db8:1::1/64 dev out0 nodad
address add 203.0.113.10/32 dev lo
address add 2001:db8:2::10/128 dev lo nodad
route add default via 192.0.2.2
route add default via 2001:db8:1::2
";
const FORWARDING: [(&str, &str); 5] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
];

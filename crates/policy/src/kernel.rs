//! What the kernel says of its devices, for what a configuration leaves to it.

use std::net::IpAddr;

use ipnet::IpNet;

/// The devices of the kernel. Those that no interface names are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFacts {
    /// In any order.
    pub devices: Vec<DeviceFacts>,
}

/// One device, as the kernel has set it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its name.
    pub device: String,
    /// Its addresses with the prefix that is connected: host bits kept.
    pub addresses: Vec<IpNet>,
    /// Routes that leave by it: destination and router; `None` is on-link.
    pub routes: Vec<(IpNet, Option<IpAddr>)>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
}

impl KernelFacts {
    /// What is known of a device.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&DeviceFacts> {
        self.devices.iter().find(|facts| facts.device == name)
    }
}

//! What the kernel says of its devices, for what a configuration leaves to it.

use std::fmt;
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

/// Addresses that the kernel holds itself, and that it cannot be kept from answering for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelHold {
    /// The addresses.
    pub prefix: IpNet,
    /// The device that has them, if it is one.
    pub device: Option<String>,
}

impl fmt::Display for KernelHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, device } = self;
        write!(f, "the kernel holds {prefix} itself")?;
        if let Some(device) = device {
            write!(f, ", on device `{device}`")?;
        }
        f.write_str(
            ": take it off there (`ip address del`) or out of the route, or give the container \
             NET_ADMIN, with which the kernel is kept from it",
        )
    }
}

impl KernelFacts {
    /// What is known of a device.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&DeviceFacts> {
        self.devices.iter().find(|facts| facts.device == name)
    }
}

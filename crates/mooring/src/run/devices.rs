//! What the kernel says of the devices that interfaces are on.

use ipnet::IpNet;
use mooring_engine::Link;
use mooring_io::link::{self, Operation};
use mooring_io::routing::{self, DeviceRouting};
use mooring_policy::{DeviceFacts, Interface, KernelFacts, Policy};

use crate::exit::Failure;
use crate::failed;

/// All devices, as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(Vec<DeviceRouting>);

impl Devices {
    /// As they are now.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn read() -> Result<Self, Failure> {
        routing::devices().map(Self).map_err(|error| failed(&error, error.hint()))
    }

    /// What a policy may learn of them.
    #[must_use]
    pub fn facts(&self) -> KernelFacts {
        let facts = |device: &DeviceRouting| DeviceFacts {
            device: device.link.name.clone(),
            addresses: device.addresses.clone(),
            routes: device.routes.clone(),
            mtu: bytes(device.link.mtu),
        };
        KernelFacts { devices: self.0.iter().map(facts).collect() }
    }

    /// What a policy has learned of them, if it asked.
    #[must_use]
    pub fn facts_for(&self, policy: &Policy) -> KernelFacts {
        let mut facts = self.facts();
        facts.devices.retain(|facts| policy.interfaces.iter().any(|i| i.device == facts.device));
        facts
    }

    /// The device called `name`.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&link::Link> {
        self.0.iter().map(|device| &device.link).find(|link| link.name == name)
    }

    /// The device that has the one address of a prefix, if any.
    #[must_use]
    pub fn with_address(&self, prefix: IpNet) -> Option<String> {
        let has = |device: &&DeviceRouting| {
            device.addresses.iter().any(|net| IpNet::from(net.addr()) == prefix)
        };
        self.0.iter().find(has).map(|device| device.link.name.clone())
    }

    /// These, and those of `later` that were not there: the ones that we have made.
    #[must_use]
    pub fn with(mut self, later: Self) -> Self {
        let new = later.0.into_iter().filter(|device| self.link(&device.link.name).is_none());
        let new: Vec<_> = new.collect();
        self.0.extend(new);
        self
    }

    /// Whether packets can pass a device: "up", or what the kernel says instead.
    #[must_use]
    pub fn state(&self, device: &str) -> String {
        match self.link(device) {
            None => "gone".to_owned(),
            Some(link) if !link.up => Operation::Down.to_string(),
            // Drivers that say nothing let packets pass.
            Some(link) if link.operation == Operation::Unknown => Operation::Up.to_string(),
            Some(link) => link.operation.to_string(),
        }
    }

    /// The links of a policy's interfaces, in their order; their MAC addresses are those of `before`. A
    /// device that is not there any more has no say: its port ends the process.
    #[must_use]
    pub fn links(&self, policy: &Policy, before: &[Link]) -> Vec<Link> {
        let links = policy.interfaces.iter().zip(before).map(|(interface, before)| {
            let link = self.link(&interface.device);
            Link { mac: before.mac, mtu: link.map_or(before.mtu, |link| mtu_of(interface, link)) }
        });
        links.collect()
    }
}

/// Bytes of the longest IP packet on an interface: as its device is, or less where it is configured so.
#[must_use]
pub fn mtu_of(interface: &Interface, link: &link::Link) -> u16 {
    let mtu = bytes(link.mtu);
    interface.mtu.map_or(mtu, |configured| configured.min(mtu))
}

/// An MTU as IP packets know it.
fn bytes(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

//! The lab itself: three namespaces, two links, and what the gateway's kernel knows.

use anyhow::Result;

use crate::namespace::Namespace;

/// A client, a gateway (the appliance's) and a server, linked and addressed.
#[derive(Debug)]
pub struct Lab {
    /// Inside hosts: `eth0` with [`address::CLIENT`] and [`address::OTHER_CLIENT`].
    pub client: Namespace,
    /// The appliance's: devices `in0` and `out0`.
    pub gateway: Namespace,
    /// Outside: `eth0` with [`address::SERVER`], and [`address::FAR_SERVER`] behind it.
    pub server: Namespace,
}

/// What the gateway's own kernel holds beside the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Topology {
    /// Addresses of the kernel on `in0` and `out0`.
    pub kernel_addresses: KernelAddresses,
    /// A kernel default route to the server and `ip_forward=1`, as a Pod inherits it from its node.
    pub kernel_forwards: bool,
}

/// Addresses of the gateway's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelAddresses {
    /// None: the appliance is alone on its devices.
    #[default]
    None,
    /// Its own beside the appliance's: 10.0.0.3 and 192.0.2.3.
    Beside,
    /// The very addresses that the appliance uses: 10.0.0.1 and 192.0.2.1.
    Same,
}

impl Lab {
    /// The default: the gateway's kernel holds no address and forwards nothing.
    ///
    /// # Errors
    /// When the system refuses to make it.
    pub fn new() -> Result<Self> {
        Self::with(Topology::default())
    }

    /// A lab with this gateway.
    ///
    /// # Errors
    /// When the system refuses to make it.
    pub fn with(topology: Topology) -> Result<Self> {
        let lab = Self {
            client: Namespace::create("client")?,
            gateway: Namespace::create("gateway")?,
            server: Namespace::create("server")?,
        };
        lab.link()?;
        lab.client.ip(CLIENT)?;
        lab.server.ip(SERVER)?;
        lab.gateway.ip(match topology.kernel_addresses {
            KernelAddresses::None => "",
            KernelAddresses::Beside => GATEWAY_BESIDE,
            KernelAddresses::Same => GATEWAY_SAME,
        })?;
        if topology.kernel_forwards {
            lab.gateway.ip("route add default via 192.0.2.2 dev out0")?;
            lab.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        }
        Ok(lab)
    }

    /// A lab as in a real Pod: kernel addresses, a kernel default route, `ip_forward=1`.
    ///
    /// # Errors
    /// When the system refuses to make it.
    pub fn pod_like(kernel_addresses: KernelAddresses) -> Result<Self> {
        Self::with(Topology { kernel_addresses, kernel_forwards: true })
    }

    fn link(&self) -> Result<()> {
        let (client, server) = (self.client.name(), self.server.name());
        self.gateway.ip(&format!(
            "link add in0 type veth peer name eth0 netns {client}\n\
             link add out0 type veth peer name eth0 netns {server}\n\
             link set in0 up\n\
             link set out0 up\n"
        ))
    }
}

/// The addresses of every lab.
pub mod address {
    use std::net::{Ipv4Addr, SocketAddr};

    /// The inside host.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    /// A second inside host on the same link.
    pub const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
    /// The appliance, inside: the clients' gateway.
    pub const GATEWAY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    /// The appliance, outside.
    pub const GATEWAY_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The server, on the outside link.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    /// The same server, reached through the appliance's default route.
    pub const FAR_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The pool's only address.
    pub const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    /// Every address of the inside network that a packet of a lab may carry.
    pub const INSIDE: [Ipv4Addr; 4] =
        [GATEWAY_INSIDE, CLIENT, Ipv4Addr::new(10, 0, 0, 3), OTHER_CLIENT];

    /// An address with a port.
    #[must_use]
    pub fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
        SocketAddr::from((address, port))
    }
}

const CLIENT: &str = "\
address add 10.0.0.2/24 dev eth0
address add 10.0.0.4/24 dev eth0
link set eth0 up
route add default via 10.0.0.1 src 10.0.0.2
";
const SERVER: &str = "\
address add 192.0.2.2/24 dev eth0
address add 198.51.100.1/32 dev lo
link set eth0 up
route add 203.0.113.0/24 via 192.0.2.1
";
const GATEWAY_BESIDE: &str = "\
address add 10.0.0.3/24 dev in0
address add 192.0.2.3/24 dev out0
";
const GATEWAY_SAME: &str = "\
address add 10.0.0.1/24 dev in0
address add 192.0.2.1/24 dev out0
";

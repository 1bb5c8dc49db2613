//! How the process runs, as opposed to what happens to packets: `[appliance]` and `[control]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The tables `[appliance]` and `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Packet threads; 0 stands for one per usable core. Default 1.
    pub workers: u16,
    /// Where `show` and `explain` reach the running appliance.
    /// Default `/run/mooring/control.sock`.
    pub control_socket: PathBuf,
    /// Where `/metrics` is served; `None` is off.
    pub metrics: Option<SocketAddr>,
    /// Where `/healthz` and `/readyz` are served; `None` is off.
    pub health: Option<SocketAddr>,
    /// Run although the kernel forwards packets between the interfaces, untranslated.
    pub allow_kernel_forwarding: bool,
    /// Who says which addresses are held: `[control]`.
    pub source: Source,
    /// Seconds that the sessions of an address are kept which was taken away.
    pub session_retention: u32,
}

/// Who says which addresses are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The configuration: all that it claims are.
    #[default]
    File,
    /// The GKEIPRoutes of the Pod's namespace.
    Kubernetes,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            control_socket: PathBuf::from("/run/mooring/control.sock"),
            metrics: None,
            health: None,
            allow_kernel_forwarding: false,
            source: Source::File,
            session_retention: 30,
        }
    }
}

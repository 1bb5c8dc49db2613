//! What a Pod knows of itself by the downward API: who it is, and which network each device is on.
//!
//! The annotations stand in a file, which the kubelet writes anew when they change; that may be long
//! after the start. Who reads it watches its folder.

mod annotations;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use mooring_policy::{Networks, canonical_network};
use serde::Deserialize;
use thiserror::Error;

use self::annotations::annotations;

/// Who this Pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name: what a route's status names.
    pub name: String,
    /// Its namespace: whose routes count.
    pub namespace: String,
    /// Tells it from others of its name.
    pub uid: String,
}

/// The environment does not say who this Pod is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{variable} is not set: with source = \"kubernetes\" the manifest says who the Pod is")]
pub struct Unidentified {
    /// What is missing.
    pub variable: &'static str,
    field: &'static str,
}

/// The networks of the Pod's devices, and what of the annotations could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNetworks {
    /// What could.
    pub networks: Networks,
    /// For people.
    pub problems: Vec<String>,
}

impl Identity {
    /// Who the environment says that we are.
    ///
    /// # Errors
    /// When a variable is missing or empty.
    pub fn from_environment() -> Result<Self, Unidentified> {
        Self::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Unidentified> {
        let get = |variable, field| {
            let value = get(variable).filter(|value| !value.is_empty());
            value.ok_or(Unidentified { variable, field })
        };
        Ok(Self {
            name: get("POD_NAME", "metadata.name")?,
            namespace: get("POD_NAMESPACE", "metadata.namespace")?,
            uid: get("POD_UID", "metadata.uid")?,
        })
    }
}

impl Unidentified {
    /// What to write into the manifest.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { variable, field } = self;
        format!(
            "in the container's `env`: {{name: {variable}, valueFrom: {{fieldRef: {{fieldPath: {field}}}}}}}"
        )
    }
}

/// The file of annotations.
#[must_use]
pub fn annotations_file() -> PathBuf {
    let folder = env::var_os("MOORING_PODINFO").map_or(PathBuf::from(PODINFO), PathBuf::from);
    folder.join("annotations")
}

/// The networks that the annotations in the file tell of. Without the file there are none.
#[must_use]
pub fn read_networks(file: &Path) -> PodNetworks {
    match fs::read_to_string(file) {
        Ok(text) => networks(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => PodNetworks::default(),
        Err(error) => {
            let problem = format!("cannot read `{}`: {error}", file.display());
            PodNetworks { networks: Networks::default(), problems: vec![problem] }
        }
    }
}

/// The same of the file's text. What `networking.gke.io/interfaces` says of a device or a network beats
/// what Multus says.
fn networks(text: &str) -> PodNetworks {
    let mut found = PodNetworks::default();
    let annotations = annotations(text).unwrap_or_else(|problem| {
        found.problems.push(problem);
        BTreeMap::new()
    });
    if let Some(text) = annotations.get(INTERFACES) {
        let pairs = |given: Vec<GivenInterface>| {
            given.into_iter().filter_map(GivenInterface::pair).collect()
        };
        found.add(INTERFACES, serde_json::from_str(text).map(pairs));
    }
    for key in MULTUS {
        if let Some(text) = annotations.get(*key) {
            let pairs = |given: Vec<MultusStatus>| {
                given.into_iter().filter_map(MultusStatus::pair).collect()
            };
            found.add(key, serde_json::from_str(text).map(pairs));
            break;
        }
    }
    found
}

impl PodNetworks {
    fn add(&mut self, key: &str, pairs: serde_json::Result<Vec<(String, String)>>) {
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(error) => {
                self.problems.push(format!("the Pod's annotation {key} cannot be read: {error}"));
                return;
            }
        };
        for (network, device) in pairs {
            let known = &self.networks;
            if known.device(&network).is_none() && known.network(&device).is_none() {
                self.networks.devices.push((network, device));
            }
        }
    }
}

/// An entry of `networking.gke.io/interfaces`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenInterface {
    interface_name: String,
    /// Without it the entry names a NetworkInterface, which alone knows its network.
    network: Option<String>,
}

impl GivenInterface {
    fn pair(self) -> Option<(String, String)> {
        Some((canonical_network(&self.network?).to_owned(), self.interface_name))
    }
}

/// An entry of Multus' `network-status`.
#[derive(Deserialize)]
struct MultusStatus {
    /// Of an attachment, `namespace/name`.
    #[serde(default)]
    name: String,
    #[serde(default)]
    interface: String,
    /// The Pod's first network, whatever it is called.
    #[serde(default)]
    default: bool,
}

impl MultusStatus {
    fn pair(self) -> Option<(String, String)> {
        let named = self.name.rsplit('/').next().filter(|name| !name.is_empty());
        let network = if self.default { Some("default") } else { named };
        let device = match self.interface.as_str() {
            "" if self.default => "eth0",
            "" => return None,
            device => device,
        };
        Some((canonical_network(network?).to_owned(), device.to_owned()))
    }
}

/// Where manifests mount the downward API.
const PODINFO: &str = "/etc/podinfo";

const INTERFACES: &str = "networking.gke.io/interfaces";

/// The key of today, and the one of before 2021.
const MULTUS: &[&str] =
    &["k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status"];

#[cfg(test)]
mod tests;

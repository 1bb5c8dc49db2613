//! The agent of the Pod `nat-0`: an appliance that routes tell which addresses are its own, beside the server
//! that [`Routes`](crate::peers::Routes) is.

use std::fs;

use anyhow::Result;

use crate::appliance::Appliance;
use crate::config::Config;
use crate::isolation::SCRATCH;
use crate::topology::Lab;

/// Starts it in the gateway and waits until it says that it is ready.
///
/// # Errors
/// As [`Appliance::start`].
pub fn start(lab: &Lab, config: &Config) -> Result<Appliance> {
    start_limited(lab, config, &[])
}

/// The same behind a wrapper command.
///
/// # Errors
/// As [`Appliance::start`].
pub fn start_limited(lab: &Lab, config: &Config, wrapper: &[&str]) -> Result<Appliance> {
    let kubeconfig = format!("{SCRATCH}/kubeconfig");
    fs::write(&kubeconfig, KUBECONFIG)?;
    fs::create_dir_all(PODINFO)?;
    let kubeconfig = format!("KUBECONFIG={kubeconfig}");
    let podinfo = format!("MOORING_PODINFO={PODINFO}");
    let who = ["POD_NAME=nat-0", "POD_NAMESPACE=nat", "POD_UID=uid-of-nat-0"];
    let environment = [wrapper, &["env"], who.as_slice(), &[&kubeconfig, &podinfo]].concat();
    Appliance::start_limited(&lab.gateway, config, &environment)
}

/// [`Config::nat44`] with what routes of the network `wan` give, and health at port 9465.
#[must_use]
pub fn config() -> Config {
    Config::nat44()
        .appliance("health = \"127.0.0.1:9465\"\n\n[control]\nsource = \"kubernetes\"")
        .replace("device = \"out0\"\n", "device = \"out0\"\nnetwork = \"wan\"\n")
}

/// Where it looks for the API server.
pub const API: &str = "127.0.0.1:6443";

/// The folder of its Pod's annotations.
pub const PODINFO: &str = "/run/lab/podinfo";

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: 'http://127.0.0.1:6443'}}]
contexts: [{name: lab, context: {cluster: lab, user: lab, namespace: nat}}]
users: [{name: lab, user: {}}]
";

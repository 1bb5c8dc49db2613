//! Agents at the edge of two networks, as Pods of the shipped manifests: clients on `lan`, the world on `wan`.
//!
//! ```text
//!   client               agents (Pods)                       server
//!   10.0.0.2             eth1 10.0.0.100   eth2 192.0.2.100  192.0.2.1
//!   default via 10.0.0.1      10.0.0.101        192.0.2.101  203.0.113.0/24 on the link
//!   ──────────── lan ─────────┴─────┴───────────┴────┴──────────── wan
//! ```
//!
//! Two routes make an agent the holder: `wan` gives it 203.0.113.10 and 2001:db8:2::10, `lan` the clients' gateway. No
//! route and no neighbour of client or server is ever set by hand: what moves is told on the links.

mod controller;
mod measure;
mod moves;
mod stream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_lab::clock::{LIMIT, since_1970, wait_for};
use mooring_lab::peers::UdpEcho;
use mooring_lab::{Namespace, mooring_binary};
use serde_json::{Value, json};

pub use self::controller::Controller;
pub use self::measure::Figures;
pub use self::moves::{Held, LETTING_GO, Moves};
pub use self::stream::Stream;
use crate::{
    Cluster, Image, Kubelet, Network, Networks, Node, Tools, collection, compose, find, is_ready,
};

/// The lab. Ended by [`Edge::stop`].
pub struct Edge {
    /// The control plane.
    pub cluster: Cluster,
    /// The node of the agents.
    pub kubelet: Kubelet,
    /// A host of `lan`.
    pub client: Namespace,
    /// The world.
    pub server: Namespace,
    agent: Value,
    /// What else is shipped: the Deployment, its disruption budget, its network policy.
    rest: Vec<Value>,
}

/// What the agents' containers have for a root file system.
#[derive(Debug, Clone, Copy)]
pub enum Root {
    /// That of the image which is shipped: see [`Image::shipped`].
    Shipped,
    /// The same of the image for another user than root, and its Pods are of that profile.
    OtherUser,
    /// The binary that is measured, and the libraries that it asks for.
    Binary,
}

impl Edge {
    /// Makes all but the agents: networks, hosts, the shipped objects with a configuration of this lab,
    /// two routes that name nobody.
    ///
    /// # Errors
    /// When something is missing or refused.
    pub fn new(root: Root) -> Result<Self> {
        Self::on(Cluster::start()?, root)
    }

    /// The same on this cluster.
    ///
    /// # Errors
    /// As [`Edge::new`].
    pub fn on(cluster: Cluster, root: Root) -> Result<Self> {
        let tools = Tools::find()?;
        let networks = Networks::new(&[LAN, WAN])?;
        let client = host(&networks, "client", "lan", CLIENT)?;
        let server = host(&networks, "server", "wan", SERVER)?;
        cluster.define_routes(&tools)?;

        let scratch = tempfile::tempdir()?;
        let components: &[&str] = match root {
            Root::OtherUser => &["forwarding-sysctl", "file-capabilities"],
            Root::Shipped | Root::Binary => &["forwarding-sysctl"],
        };
        let mut objects = compose(&tools, scratch.path(), components)?;
        for object in &mut objects {
            if object["kind"] == "ConfigMap" {
                object["data"]["mooring.toml"] = CONFIG.into();
            }
        }
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let annotations = &mut object["spec"]["template"]["metadata"]["annotations"];
            annotations["networking.gke.io/interfaces"] = INTERFACES.into();
        }
        let agent = find(&objects, "Deployment")?["spec"]["template"].clone();
        let (mut objects, rest): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| SHARED.iter().any(|kind| object["kind"] == *kind));
        // The namespace first.
        objects.sort_by_key(|object| object["kind"] != "Namespace");
        cluster.api.apply(&objects)?;
        cluster.api.apply(&ROUTES.map(|(name, addresses)| route(name, addresses)))?;

        let image = match root {
            Root::Shipped => Image::shipped("")?,
            Root::OtherUser => Image::shipped("-file-capabilities")?,
            Root::Binary => Image::of_programs(&[(&mooring_binary()?, "/mooring")])?,
        };
        let node = Node { networks, images: vec![("mooring", image)], forwarding: true };
        let kubelet = Kubelet::start(&cluster, "mooring", node)?;
        Ok(Self { cluster, kubelet, client, server, agent, rest })
    }

    /// Makes an agent, and waits until it is Ready.
    ///
    /// # Errors
    /// When it does not get Ready.
    pub fn add_agent(&self, name: &str) -> Result<()> {
        let mut pod = self.agent.clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["namespace"] = "mooring".into();
        self.cluster.api.apply(&[pod])?;
        self.kubelet.wait_ready(name, true).with_context(|| format!("the agent {name}"))
    }

    /// Gives the server the rest of what is shipped, whose Deployment makes the agents where there are controllers.
    /// Returns the kinds that it does not know.
    ///
    /// # Errors
    /// When it refuses one for another reason.
    pub fn deploy(&self) -> Result<Vec<String>> {
        let mut unknown = Vec::new();
        for object in &self.rest {
            match self.cluster.api.create(&collection(object)?, object) {
                Ok(_) => {}
                Err(refused) if refused.code() == 404 => {
                    unknown.push(format!("{} {}", object["apiVersion"], object["kind"]));
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        Ok(unknown.into_iter().map(|kind| kind.replace('"', "")).collect())
    }

    /// The agents' Pods that are Ready and not about to end, by name.
    ///
    /// # Errors
    /// When the server does not say.
    pub fn ready_agents(&self) -> Result<Vec<String>> {
        let pods = self.cluster.api.get("/api/v1/namespaces/mooring/pods")?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let ready =
            pods.filter(|pod| is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null());
        Ok(ready.filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
    }

    /// Waits until a datagram of the client comes back, and was seen from the persistent address.
    ///
    /// # Errors
    /// When none comes.
    ///
    /// # Panics
    /// When it was seen from another address.
    pub fn translates(&self, echo: &UdpEcho) -> Result<()> {
        let socket = self.client.udp(SocketAddr::from((HOST, 4000)))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut buffer = [0; 100];
        wait_for("an answer", LIMIT, || {
            socket.send_to(b"hello", world(7000))?;
            Ok(socket.recv_from(&mut buffer).ok())
        })?;
        assert_eq!(echo.next_source()?.ip(), IpAddr::from(PERSISTENT));
        while echo.has_seen_any() {}
        Ok(())
    }

    /// Names an agent in the status of both routes, and returns when the API server had answered.
    ///
    /// # Errors
    /// When it refuses.
    pub fn give(&self, agent: &str) -> Result<Duration> {
        give(&self.cluster.api, Some(agent))
    }

    /// What `mooring show WHAT --json` prints in an agent's Pod.
    ///
    /// # Errors
    /// When it fails.
    pub fn show(&self, agent: &str, what: &str) -> Result<Value> {
        let pod = self.kubelet.pod(agent)?;
        Ok(serde_json::from_str(&pod.exec(&["/mooring", "show", what, "--json"])?)?)
    }

    /// The MAC address with which an agent is on `wan`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn mac(&self, agent: &str) -> Result<Vec<u8>> {
        self.kubelet.pod(agent)?.namespace.mac("eth2")
    }

    /// Ends the lab at the end of a test that was well.
    pub fn stop(self) {
        self.kubelet.stop();
        self.cluster.stop();
    }
}

/// Writes the status of both routes; the time when the last was answered.
fn give(api: &crate::Api, agent: Option<&str>) -> Result<Duration> {
    let pods: Vec<_> = agent.into_iter().collect();
    let status = json!({ "status": { "pods": pods, "conditions": [{
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "by the test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    for (name, _) in ROUTES {
        api.merge(&format!("{COLLECTION}/{name}/status"), &status)?;
    }
    Ok(since_1970())
}

fn route(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|value| json!({ "type": "gke.networking.io/cidr", "value": value }))
        .collect();
    json!({
        "apiVersion": "networking.gke.io/v1", "kind": "GKEIPRoute",
        "metadata": { "name": name, "namespace": "mooring" },
        "spec": {
            "parentRefs": [{ "name": "edge" }], "network": name, "addresses": addresses,
            "podSelector": { "matchLabels": { "app.kubernetes.io/name": "mooring" } },
        },
    })
}

fn host(networks: &Networks, role: &str, network: &str, lines: &str) -> Result<Namespace> {
    let host = Namespace::create(role)?;
    host.enable_ipv6()?;
    networks.join(&host, network, "eth0")?;
    host.ip(lines)?;
    Ok(host)
}

/// The client.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The same in IPv6.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 2);
/// The persistent address.
pub const PERSISTENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same in IPv6.
pub const PERSISTENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// An end at the server.
#[must_use]
pub fn world(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// The same in IPv6.
#[must_use]
pub fn world_v6(port: u16) -> SocketAddr {
    SocketAddr::from((IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)), port))
}

const LAN: Network = Network {
    name: "lan",
    v4: [10, 0, 0],
    v6: Some(Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 0)),
};
const WAN: Network = Network {
    name: "wan",
    v4: [192, 0, 2],
    v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0)),
};
const CLIENT: &str = "\
address add 10.0.0.2/24 dev eth0
address add fd00:10::2/64 dev eth0 nodad
route add default via 10.0.0.1
route add default via fd00:10::1
";
const SERVER: &str = "\
address add 192.0.2.1/24 dev eth0
address add 2001:db8:1::1/64 dev eth0 nodad
route add 203.0.113.0/24 dev eth0
route add 2001:db8:2::/64 dev eth0
";
const INTERFACES: &str = r#"[{"interfaceName":"eth0","network":"default"},{"interfaceName":"eth1","network":"lan"},{"interfaceName":"eth2","network":"wan"}]"#;
/// Written in this order: the clients' gateway first, the persistent addresses last.
const ROUTES: [(&str, &[&str]); 2] = [
    ("lan", &["10.0.0.1/32", "fd00:10::1/128"]),
    ("wan", &["203.0.113.10/32", "2001:db8:2::10/128"]),
];
const COLLECTION: &str = "/apis/networking.gke.io/v1/namespaces/mooring/gkeiproutes";
const SHARED: [&str; 5] = ["Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap"];
const CONFIG: &str = include_str!("mooring.toml");

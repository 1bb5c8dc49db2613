//! A kubelet for tests: it starts what manifests say, as manifests say it, in namespaces of the lab.
//!
//! It takes every Pod of its namespace (there is one node, so it is the scheduler, too), makes its network
//! and its volumes, runs its init containers and its container with the rights of its security context, asks
//! its probes, writes its status, and ends it by SIGTERM, the grace period, SIGKILL.
//!
//! What it does not do: more than one container in a Pod, cgroups and limits, seccomp for containers that may gain
//! privileges, probes of kind `exec`, volumes of other kinds than manifests of ours have. Unlike Kubernetes' own it writes a changed ConfigMap or
//! annotation at once, and sees the end of a process within 10 ms.

mod container;
mod filter;
mod image;
mod network;
mod pod;
mod probe;
mod rights;
mod status;
mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use mooring_lab::clock::{LIMIT, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

pub use self::container::{Container, Mount};
pub use self::image::Image;
pub use self::network::{Network, Networks};
pub use self::pod::Pod;
use self::pod::{Order, Running};
pub use self::rights::Rights;
use crate::api::{Api, Change, Following};
use crate::cluster::Cluster;

/// What a node has for its Pods.
#[derive(Debug)]
pub struct Node {
    /// What Pods can be connected to.
    pub networks: Networks,
    /// Images by the last part of their names, without the tag.
    pub images: Vec<(&'static str, Image)>,
    /// Whether the kernel of a Pod forwards IPv4 at first, as on most nodes.
    pub forwarding: bool,
}

/// A running kubelet. Dropped before [`Kubelet::stop`] it was a failure: its Pods' last words are printed.
pub struct Kubelet {
    api: Api,
    messages: Sender<Message>,
    manager: Option<JoinHandle<()>>,
    node: Arc<Node>,
    pods: String,
    stopped: bool,
    _following: [Following; 2],
}

enum Message {
    Pod(Change),
    ConfigMap(Change),
    Find(String, Sender<Option<Pod>>),
    Order(String, Order),
    End { told: bool },
}

impl Kubelet {
    /// Takes the Pods of a namespace that exists.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start(cluster: &Cluster, namespace: &str, node: Node) -> Result<Self> {
        let node = Arc::new(node);
        let (messages, inbox) = mpsc::channel();
        let manager = Manager {
            api: cluster.api.clone(),
            authority: cluster.authority(),
            node: Arc::clone(&node),
            pods: BTreeMap::new(),
            maps: BTreeMap::new(),
        };
        let told = |make: fn(Change) -> Message| {
            let messages = messages.clone();
            move |change| drop(messages.send(make(change)))
        };
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let following = [
            cluster.api.follow_with(&maps, told(Message::ConfigMap)),
            cluster.api.follow_with(&pods, told(Message::Pod)),
        ];
        let manager =
            thread::Builder::new().name("kubelet".to_owned()).spawn(move || manager.run(&inbox))?;
        Ok(Self {
            api: cluster.api.clone(),
            messages,
            manager: Some(manager),
            node,
            pods,
            stopped: false,
            _following: following,
        })
    }

    /// What Pods can be connected to.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.node.networks
    }

    /// A Pod whose program was started.
    ///
    /// # Errors
    /// When there is none of this name within the lab's limit.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        wait_for(&format!("the Pod {name}"), LIMIT, || {
            let (sender, answer) = mpsc::channel();
            self.messages.send(Message::Find(name.to_owned(), sender)).context("a kubelet")?;
            Ok(answer.recv()?)
        })
    }

    /// Waits until a Pod's condition Ready is so.
    ///
    /// # Errors
    /// When it is not within the lab's limit.
    pub fn wait_ready(&self, name: &str, ready: bool) -> Result<()> {
        wait_for(&format!("Ready = {ready} of the Pod {name}"), LIMIT, || {
            let pod = self.api.get(&format!("{}/{name}", self.pods));
            Ok(pod.ok().filter(|pod| is_ready(pod) == ready).map(drop))
        })
    }

    /// Gives a Pod another token in the place of its own, which is then good for nothing.
    ///
    /// # Errors
    /// When there is no kubelet any more.
    pub fn rotate_token(&self, pod: &str) -> Result<()> {
        self.order(pod, Order::RotateToken)
    }

    /// Sends a signal to a Pod's program.
    ///
    /// # Errors
    /// When there is no kubelet any more.
    pub fn signal(&self, pod: &str, signal: Signal) -> Result<()> {
        self.order(pod, Order::Signal(signal))
    }

    /// Kills all Pods at the end of a test that was well.
    pub fn stop(mut self) {
        self.stopped = true;
    }

    fn order(&self, pod: &str, order: Order) -> Result<()> {
        self.messages.send(Message::Order(pod.to_owned(), order)).context("a kubelet")
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End { told: self.stopped });
        if let Some(manager) = self.manager.take() {
            let _ = manager.join();
        }
    }
}

/// Whether a Pod's condition Ready is True.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Knows all Pods, each of which has a thread of its own.
struct Manager {
    api: Api,
    authority: PathBuf,
    node: Arc<Node>,
    /// By uid.
    pods: BTreeMap<String, (String, Running)>,
    /// By name.
    maps: BTreeMap<String, Value>,
}

impl Manager {
    fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Pod(Change::Is(pod)) => self.pod(pod),
                Message::Pod(Change::Gone(pod)) => self.end(&pod),
                Message::ConfigMap(Change::Is(map)) => self.config_map(map),
                // The files stay, as with Kubernetes' own.
                Message::ConfigMap(Change::Gone(_)) => {}
                Message::Find(name, answer) => {
                    let found = self.running(&name).and_then(Running::started);
                    let _ = answer.send(found);
                }
                Message::Order(name, order) => {
                    if let Some(running) = self.running(&name) {
                        running.order(order);
                    }
                }
                Message::End { told } => {
                    for (name, running) in std::mem::take(&mut self.pods).into_values() {
                        running.end(&name, told);
                    }
                    return;
                }
            }
        }
    }

    fn pod(&mut self, pod: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
        if pod["spec"]["nodeName"].is_null() {
            self.assign(&pod);
        } else if let Some((_, running)) = self.pods.get(&uid) {
            running.order(Order::Pod(Box::new(pod)));
        } else if pod["metadata"]["deletionTimestamp"].is_null() {
            let authority = self.authority.clone();
            let maps = self.maps.values().cloned().collect();
            let place = (self.api.clone(), Arc::clone(&self.node), authority);
            self.pods.insert(uid, (name, Running::start(place, maps, pod)));
        }
    }

    /// Does the scheduler's work.
    fn assign(&self, pod: &Value) {
        let metadata = &pod["metadata"];
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": metadata["name"] },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "lab" },
        });
        let path = status::path(pod, "binding");
        if let Err(refused) = self.api.create(&path, &binding) {
            eprintln!("kubelet: cannot take {}: {refused}", metadata["name"]);
        }
    }

    fn end(&mut self, pod: &Value) {
        if let Some((name, running)) =
            self.pods.remove(pod["metadata"]["uid"].as_str().unwrap_or_default())
        {
            running.end(&name, true);
        }
    }

    fn config_map(&mut self, map: Value) {
        for (_, running) in self.pods.values() {
            running.order(Order::ConfigMap(Box::new(map.clone())));
        }
        self.maps.insert(map["metadata"]["name"].as_str().unwrap_or_default().to_owned(), map);
    }

    /// The newest of this name: another may be about to end.
    fn running(&self, name: &str) -> Option<&Running> {
        let mut named =
            self.pods.values().filter(|(own, _)| own == name).map(|(_, running)| running);
        named.find(|running| !running.is_ending())
    }
}

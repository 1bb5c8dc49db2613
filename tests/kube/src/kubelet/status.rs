//! A Pod's status, as its kubelet writes it.

use std::net::Ipv4Addr;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::{Api, collection};

/// What there is to say of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: &'static str,
    pub(super) initialized: bool,
    pub(super) ready: bool,
    pub(super) restarts: u32,
    pub(super) address: Option<Ipv4Addr>,
    /// Why nothing runs.
    pub(super) waiting: String,
}

/// What of it the server knows.
#[derive(Debug)]
pub(super) struct Status {
    path: String,
    container: Value,
    started: String,
    /// When Ready was last another.
    turned: (bool, String),
    told: Option<State>,
}

impl Status {
    pub(super) fn new(pod: &Value) -> Self {
        let container = json!({
            "name": pod["spec"]["containers"][0]["name"],
            "image": pod["spec"]["containers"][0]["image"],
            "imageID": "",
        });
        Self {
            path: path(pod, "status"),
            container,
            started: now(),
            turned: (false, now()),
            told: None,
        }
    }

    /// Tells the server, unless it knows. Whether it knows then.
    pub(super) fn tell(&mut self, api: &Api, state: &State) -> bool {
        if self.told.as_ref() == Some(state) {
            return true;
        }
        if self.turned.0 != state.ready {
            self.turned = (state.ready, now());
        }
        let well = match api.merge(&self.path, &self.patch(state)) {
            Ok(_) => true,
            // The Pod is no more.
            Err(refused) => refused.code() == 404,
        };
        if well {
            self.told = Some(state.clone());
        }
        well
    }

    fn patch(&self, state: &State) -> Value {
        let word = |is: bool| if is { "True" } else { "False" };
        let since = |kind: &str, is: bool, at: &str| json!({ "type": kind, "status": word(is), "lastTransitionTime": at, "lastProbeTime": null });
        let mut container = self.container.clone();
        container["ready"] = state.ready.into();
        container["restartCount"] = state.restarts.into();
        container["started"] = state.waiting.is_empty().into();
        container["state"] = if state.waiting.is_empty() {
            json!({ "running": { "startedAt": self.started } })
        } else {
            json!({ "waiting": { "reason": "CreateContainerError", "message": state.waiting } })
        };
        json!({ "status": {
            "phase": state.phase,
            "startTime": self.started,
            "podIP": state.address,
            "podIPs": state.address.map(|address| vec![json!({ "ip": address })]),
            "containerStatuses": [container],
            "conditions": [
                since("PodScheduled", true, &self.started),
                since("Initialized", state.initialized, &self.started),
                since("ContainersReady", state.ready, &self.turned.1),
                since("Ready", state.ready, &self.turned.1),
            ],
        } })
    }
}

/// The path of a Pod's subresource; without one, its own.
pub(super) fn path(pod: &Value, subresource: &str) -> String {
    let mut typed = json!({ "apiVersion": "v1", "kind": "Pod" });
    typed["metadata"] = pod["metadata"].clone();
    let all = collection(&typed).unwrap_or_default();
    let own = format!("{all}/{}", pod["metadata"]["name"].as_str().unwrap_or_default());
    if subresource.is_empty() { own } else { format!("{own}/{subresource}") }
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

//! GKEIPRoute, `networking.gke.io/v1`: which addresses there are, and which Pod has them.
//!
//! The fields are those of the published schemas; where these differ, of the richer one. On GKE the
//! definition is the platform's. [`definition`] is for clusters that have none: it has the same
//! fields, and rules for what the platform says cannot be changed.
//!
//! What is read leniently here (a mode that is not known yet, a condition without a time) is what
//! nobody decides by: an object of a newer platform must not cost its address.
#![allow(unreachable_pub, reason = "the derived schema repeats each type where nobody sees it")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self as meta, LabelSelector, Time};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a route asks for.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Serialize, Deserialize, KubeSchema)]
#[allow(clippy::duplicated_attributes, reason = "each column has its own type")]
#[kube(
    group = "networking.gke.io",
    version = "v1",
    kind = "GKEIPRoute",
    plural = "gkeiproutes",
    singular = "gkeiproute",
    namespaced,
    status = "GKEIPRouteStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A GKEIPRoute gives persistent addresses of a Gateway to one Pod.",
    printcolumn(name = "Network", type_ = "string", json_path = ".spec.network"),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses[*].value"),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.pods[*]"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.parentRefs) == has(oldSelf.parentRefs)")
        .message("parentRefs cannot be added or taken away"),
    validation = Rule::new("has(self.haPolicy) == has(oldSelf.haPolicy)")
        .message("haPolicy cannot be added or taken away")
)]
pub struct GKEIPRouteSpec {
    /// The Gateways whose addresses these are. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("parentRefs cannot be changed"))]
    pub parent_refs: Option<Vec<ParentReference>>,

    /// The addresses that the Pod gets, out of those of the Gateway.
    #[schemars(length(min = 1))]
    pub addresses: Vec<Address>,

    /// The network by which packets for the addresses come. Cannot be changed.
    #[serde(default = "default_network")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("network cannot be changed"))]
    pub network: String,

    /// Which Pods of the route's namespace may get the addresses. An empty selector is not allowed.
    pub pod_selector: LabelSelector,

    /// When a Pod may get the addresses: when it is Ready, or as soon as it has a node. Cannot be
    /// changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("reactionMode cannot be changed"))]
    pub reaction_mode: ReactionMode,

    /// Gives the addresses to all Pods at a time, by health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,

    /// Whether clients of other regions reach internal addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_global_access: Option<bool>,

    /// Whether the platform keeps the addresses available by itself; not together with fast fail-over
    /// or load balancing. Cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("haPolicy cannot be changed"))]
    pub ha_policy: Option<bool>,

    /// The nodes that are watched for gratuitous ARP; set exactly with fast fail-over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
}

/// A Gateway, and the listener that lets the route in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// The group of the parent's kind.
    #[serde(default = "gateway_group")]
    #[schemars(length(max = 253), regex(pattern = GROUP))]
    pub group: String,

    /// The parent's kind.
    #[serde(default = "gateway_kind")]
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND))]
    pub kind: String,

    /// The parent's namespace; without it the route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL))]
    pub namespace: Option<String>,

    /// The parent's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The one listener that is meant; without it any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub section_name: Option<String>,

    /// The port of the listeners that are meant; without it any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// An address as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// How the value is to be read: `gke.networking.io/cidr`, or `IPAddress` for one without a prefix
    /// length.
    #[serde(rename = "type", default = "address_type")]
    #[schemars(length(min = 1, max = 253), regex(pattern = TYPE))]
    pub kind: String,

    /// The address, with the prefix length of a single one.
    #[schemars(length(min = 1, max = 253))]
    pub value: String,
}

/// When a Pod may get the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReactionMode {
    /// When its condition `Ready` is true.
    #[default]
    ReadyCondition,
    /// As soon as it has a node.
    Exists,
    /// A mode of a newer platform: only who chooses the Pod has to know it.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// Turns the route into one for many Pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancing {
    /// The health check, of the cluster's project and region.
    pub health_check_name: String,
}

/// What has become of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct GKEIPRouteStatus {
    /// The names of the Pods that have the addresses, of the route's namespace: one, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<String>>,

    /// `Accepted`, `GCPReady`, `DPV2Ready` and `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<meta::Condition>>")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Option<Vec<Condition>>,
}

/// A condition as the API has it everywhere; read also where one leaves out what it must not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation of the spec that was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl GKEIPRoute {
    /// The Pods that the status names.
    #[must_use]
    pub fn pods(&self) -> &[String] {
        self.status.as_ref().and_then(|status| status.pods.as_deref()).unwrap_or_default()
    }

    /// The conditions of a type, whose spelling differs between editions in upper and lower case, and
    /// in a prefix.
    pub fn conditions<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Condition> {
        let all = self.status.as_ref().and_then(|status| status.conditions.as_deref());
        all.unwrap_or_default().iter().filter(move |condition| is_type(&condition.kind, kind))
    }
}

/// Whether a condition's type is `kind`.
fn is_type(written: &str, kind: &str) -> bool {
    let prefixed = || {
        let (prefix, rest) = written.split_at_checked(PREFIX.len())?;
        (kind.eq_ignore_ascii_case("GCPReady") && prefix.eq_ignore_ascii_case(PREFIX))
            .then_some(rest)
    };
    written.eq_ignore_ascii_case(kind)
        || prefixed().is_some_and(|rest| rest.eq_ignore_ascii_case(kind))
}

/// The definition of GKEIPRoute, for clusters whose platform has none.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut definition =
        serde_json::to_value(GKEIPRoute::crd()).expect("a definition is plain data");
    // What is optional here is left out, as everywhere in Kubernetes; it is not null.
    forbid_null(&mut definition["spec"]["versions"]);
    serde_json::from_value(definition).expect("it was a definition before")
}

fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "nullable" || !value.is_boolean());
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(values) => values.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

fn default_network() -> String {
    "default".to_owned()
}

fn gateway_group() -> String {
    "gateway.networking.k8s.io".to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

fn address_type() -> String {
    "IPAddress".to_owned()
}

/// Before `GCPReady` where routes have been written of old.
const PREFIX: &str = "IPRoute";

const GROUP: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// As published: the alternatives are not anchored, so that this refuses little.
const TYPE: &str = r"^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$";

#[cfg(test)]
mod tests;

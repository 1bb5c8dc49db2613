//! What is shipped for Kubernetes, as the tools that read it there see it: kubectl, helm, and the schemas of
//! several versions of Kubernetes; and a [`Cluster`] with a real API server. `cargo xtask test` installs them.

#![forbid(unsafe_code)]

mod api;
mod cluster;
pub mod edge;
mod kubelet;
mod objects;
mod tools;

pub use api::{Api, Change, Follower, Following, Refusal, collection};
pub use cluster::{ADDRESS, Cluster, PORT};
pub use kubelet::{
    Container, Image, Kubelet, Mount, Network, Networks, Node, Pod, Rights, is_ready,
};
pub use objects::{Chart, compose, find, kustomize, load, problems};
pub use tools::{Tools, shipped};

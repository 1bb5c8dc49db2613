//! What is shipped for Kubernetes, as the tools that read it there see it: kubectl, helm, and the schemas of
//! several versions of Kubernetes; and a [`Cluster`] with a real API server. `cargo xtask test` installs them.

#![forbid(unsafe_code)]

mod api;
mod cluster;
mod objects;
mod tools;

pub use api::{Api, Change, Follower, Refusal, collection};
pub use cluster::{ADDRESS, Cluster, PORT};
pub use objects::{Chart, compose, find, kustomize, load, problems};
pub use tools::{Tools, shipped};

//! What is shipped for Kubernetes, as the tools that read it there see it: kubectl, helm, and the schemas of
//! several versions of Kubernetes. `cargo xtask test` installs them.

#![forbid(unsafe_code)]

mod objects;
mod tools;

pub use objects::{Chart, compose, find, kustomize, load, problems};
pub use tools::{Tools, shipped};

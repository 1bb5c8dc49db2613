//! `mooring-pod-init FILE`: becomes the container that the file describes, as a runtime of containers does before it
//! starts the program. The test kubelet calls it, in mount and process namespaces of its own.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mooring_kube_tests::Container;

fn main() -> ExitCode {
    let file = std::env::args_os().nth(1).unwrap_or_default();
    let Err(error) = Container::read(file.as_ref()).and_then(|container| container.become_it());
    eprintln!("mooring-pod-init: {error:?}");
    // What runtimes say when a program cannot be started.
    ExitCode::from(128)
}

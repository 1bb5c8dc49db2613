//! Sockets of another network namespace: a socket belongs to the one it was made in.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` in the namespace, on a thread that ends with it; in our own one if there is no name.
///
/// The name is one of `ip netns`, or a path such as `/proc/PID/ns/net` or `/proc/self/fd/N`.
///
/// # Errors
/// When there is no such namespace, or we may not enter it.
pub(crate) fn within<T: Send>(name: Option<&str>, work: impl FnOnce() -> T + Send) -> Result<T> {
    let Some(name) = name else { return Ok(work()) };
    let path = if name.contains('/') { name.into() } else { PathBuf::from(NAMED).join(name) };
    let handle = File::open(&path).with_context(|| format!("namespace {}", path.display()))?;
    let enter = move || move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network));
    thread::scope(|scope| {
        let inside = scope.spawn(move || enter().map(|()| work()));
        let done = inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.with_context(|| format!("cannot enter {}", path.display()))
    })
}

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

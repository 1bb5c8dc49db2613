//! The backends against the real kernel, each test in network namespaces of its own.
//!
//! Needs `ip` (iproute2) and `unshare` (util-linux), and root or unprivileged user namespaces.

mod af_xdp;
mod forwarding;
mod lab;
mod port;
mod refusal;
mod refused;
mod routing;
mod tap;
mod tun_tap;

//! Hosts on both sides of the appliance: each runs on threads and reports whom it saw.
//!
//! Their threads end with the lab's process.

mod http;
mod icmp;
mod inject;
mod noise;
mod programs;
mod routes;
mod udp;

pub use http::{Download, HttpServer, download};
pub use icmp::{ECHO_REQUEST, IcmpListener, IcmpSeen, Ping, Pong, TIME_EXCEEDED};
pub use inject::inject;
pub use noise::{Digest, Noise};
pub use programs::{DNS_A, DNS_AAAA, dnsmasq, iperf3, nginx, stun_server, web_root};
pub use routes::Routes;
pub use udp::{UdpEcho, receive};

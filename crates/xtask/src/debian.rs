//! What the machine must have beside Rust, and how it gets it on Debian.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace;

/// A program and the Debian package it comes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

/// What the demo needs.
pub(crate) const DEMO: &[Tool] = &[tool("ip", "iproute2"), tool("unshare", "util-linux")];

/// What the tests need.
pub(crate) const TEST: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("unshare", "util-linux"),
    tool("curl", "curl"),
    tool("tcpdump", "tcpdump"),
    tool("nft", "nftables"),
    tool("ethtool", "ethtool"),
    tool("ping", "iputils-ping"),
    tool("dig", "bind9-dnsutils"),
    tool("dnsmasq", "dnsmasq-base"),
    tool("traceroute", "traceroute"),
    tool("nginx", "nginx-light"),
    tool("wrk", "wrk"),
    tool("iperf3", "iperf3"),
    tool("arping", "iputils-arping"),
    tool("tcpreplay", "tcpreplay"),
    tool("turnserver", "coturn"),
    tool("conntrack", "conntrack"),
    tool("crun", "crun"),
    tool("musl-gcc", "musl-tools"),
    tool("git", "git"),
    tool("c++", "g++"),
    tool("python3", "python3"),
    tool("pip3", "python3-pip"),
    tool("etcd", "etcd-server"),
    tool("etcdctl", "etcd-client"),
    tool("openssl", "openssl"),
    tool("valgrind", "valgrind"),
];

/// What building a Kubernetes API server needs.
pub(crate) const KUBE_SERVER: &[Tool] = &[
    tool("go", "golang-go"),
    tool(
        "/usr/share/gocode/src/github.com/modern-go/reflect2/reflect2.go",
        "golang-github-modern-go-reflect2-dev",
    ),
    tool("dpkg-source", "dpkg-dev"),
];

/// What counting instructions needs.
pub(crate) const GATE: &[Tool] = &[tool("valgrind", "valgrind")];

/// What the comparison with nftables needs.
pub(crate) const BENCH: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("unshare", "util-linux"),
    tool("nft", "nftables"),
    tool("conntrack", "conntrack"),
    tool("ethtool", "ethtool"),
    tool("iperf3", "iperf3"),
];

/// What giving binaries to others needs, beside the compilers: an emulator for their tests, and packers.
pub(crate) const DIST: &[Tool] =
    &[tool("qemu-aarch64", "qemu-user"), tool("gzip", "gzip"), tool("git", "git")];

/// A C compiler for static programs.
pub(crate) const CROSS_X86_64: &[Tool] = &[tool("musl-gcc", "musl-tools")];

/// A C compiler for the other architecture.
pub(crate) const CROSS_AARCH64: &[Tool] = &[
    tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    tool("/usr/aarch64-linux-gnu/include/linux/if_tun.h", "libc6-dev-arm64-cross"),
];

/// Installs the packages whose programs are missing.
///
/// # Errors
/// When something is missing and we are not root or this is no Debian; the message holds the
/// command that installs it.
pub(crate) fn require(tools: &[Tool]) -> Result<()> {
    let missing: Vec<_> =
        tools.iter().filter(|tool| !has(tool.program)).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !has("apt-get") || !rustix::process::geteuid().is_root() {
        bail!(
            "these Debian packages are missing: {packages}\n\
             hint: sudo apt-get update && sudo apt-get install --no-install-recommends {packages}"
        );
    }
    println!("installing {packages}");
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    workspace::run(apt().arg("update"))?;
    workspace::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(missing))
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Ordinary users of Debian do not have `sbin` in their path.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| Path::new(&folder).join(program).is_file())
}

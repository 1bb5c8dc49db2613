//! One named network namespace: commands, threads and sockets inside it.
//!
//! A socket belongs to the namespace it was made in. So only its making happens inside
//! ([`Namespace::enter`]); afterwards any thread may use it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::clock::LIMIT;

/// A network namespace that `ip netns` knows by name.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty one: IPv4 forwarding off and IPv6 silent (no addresses, no solicitations),
    /// whatever this machine's defaults are.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(role: &str) -> Result<Self> {
        let name = format!("mtest-{}-{role}", MADE.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.sysctl("net/ipv4/ip_forward", "0")?;
        // A kernel without IPv6 has nothing to silence.
        let _ = namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
        let _ = namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1");
        // Lets the kernel's own ping sockets be used by group 0.
        namespace.sysctl("net/ipv4/ping_group_range", "0 0")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The MAC address of a device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn mac(&self, device: &str) -> Result<Vec<u8>> {
        mac_bytes(self.output("cat", &[&format!("/sys/class/net/{device}/address")])?.trim())
    }

    /// The MAC address of a neighbour that it has spoken to.
    ///
    /// # Errors
    /// When it knows none.
    pub fn neighbour_mac(&self, address: IpAddr) -> Result<Vec<u8>> {
        let said = self.output("ip", &["neigh", "show", &address.to_string()])?;
        let mac = said.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
        mac_bytes(mac.with_context(|| format!("the MAC address of {address}: {said}"))?)
    }

    /// Lets it speak IPv6 on devices made from now on: no waiting for address collisions, no
    /// addresses of its own accord.
    ///
    /// # Errors
    /// When this kernel has no IPv6.
    pub fn enable_ipv6(&self) -> Result<()> {
        for (setting, value) in
            [("accept_dad", "0"), ("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", "0")]
        {
            self.sysctl(&format!("net/ipv6/conf/all/{setting}"), value)?;
            self.sysctl(&format!("net/ipv6/conf/default/{setting}"), value)?;
        }
        Ok(())
    }

    /// Its name for `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` commands, e.g. `link set lo up`.
    ///
    /// # Errors
    /// The first line that `ip` refuses, in its words.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip")
            .args(["-netns", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run `ip` (package iproute2)")?;
        ip.stdin.take().context("stdin is piped")?.write_all(lines.as_bytes())?;
        let output = ip.wait_with_output()?;
        let refusal = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip in {}:\n{lines}\n{}", self.name, refusal.trim());
        Ok(())
    }

    /// Writes a value below `/proc/sys`, e.g. `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such setting or the value is refused.
    pub fn sysctl(&self, setting: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{setting}");
        self.enter(|| fs::write(&path, value))?.with_context(|| format!("{path} = {value}"))
    }

    /// A command that will run inside. It keeps its process id: signals reach it directly.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref()).stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end and returns what it printed.
    ///
    /// # Errors
    /// When it fails; the message holds its standard error.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = run(self.command(program).args(arguments))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `work` on a thread inside and returns its result.
    ///
    /// # Errors
    /// When the namespace is gone.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let handle = File::open(&path).context(path)?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A UDP socket inside whose receives end after the lab's time limit.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn udp(&self, local: SocketAddr) -> Result<UdpSocket> {
        let socket = self.enter(|| UdpSocket::bind(local))?.with_context(|| local.to_string())?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    }

    /// What a program prints, with a limit to its time: for tools that may wait for ever.
    ///
    /// # Errors
    /// When it fails or takes longer; the message holds all it said.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output =
            self.command("timeout").arg(TOOL_SECONDS).arg(program).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let command = format!("{program} {}", arguments.join(" "));
        ensure!(output.status.success(), "{command}: {}:\n{said}{complaint}", output.status);
        Ok(said)
    }

    /// A listening TCP socket inside.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn tcp_listener(&self, local: SocketAddr) -> Result<TcpListener> {
        self.enter(|| TcpListener::bind(local))?.with_context(|| local.to_string())
    }
}

/// Runs a command to its end; failure is an error with its standard error.
fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let refusal = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, refusal.trim());
    Ok(output)
}

/// Of `02:00:00:00:00:01` and the like.
fn mac_bytes(text: &str) -> Result<Vec<u8>> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16));
    bytes.collect::<Result<_, _>>().with_context(|| format!("a MAC address: {text}"))
}

/// A test may make several labs: their namespaces are told apart by a number.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// Many times what any tool of a lab needs.
const TOOL_SECONDS: &str = "40";

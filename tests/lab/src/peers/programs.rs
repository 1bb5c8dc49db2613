//! Real servers, as distributions package them: each runs until its [`Process`] is dropped.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::clock::{LIMIT, wait_for};
use crate::isolation::SCRATCH;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::site::Site;

/// The folder that [`nginx`] serves.
///
/// # Errors
/// When it cannot be made.
pub fn web_root() -> Result<String> {
    let root = format!("{SCRATCH}/www");
    fs::create_dir_all(&root).context("the web root")?;
    Ok(root)
}

/// nginx with the addresses of `listen` (as its `listen` directive has them, with ports); `/whoami`
/// answers with the client's address and port, everything else is a file of [`web_root`].
///
/// # Errors
/// When it is missing or refuses.
pub fn nginx(namespace: &Namespace, listen: &[&str]) -> Result<Process> {
    let (name, root) = (namespace.name(), web_root()?);
    let folder = format!("{SCRATCH}/nginx-{name}");
    fs::create_dir_all(&folder)?;
    let file = format!("{folder}/nginx.conf");
    let listen: String = listen.iter().map(|address| format!("listen {address};\n")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .collect();
    fs::write(
        &file,
        format!(
            "daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr notice;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\nsendfile on;\n{temporary}\
             server {{\n{listen}root {root};\n\
             location = /whoami {{ return 200 \"$remote_addr $remote_port\"; }}\n}}\n}}\n"
        ),
    )?;
    let mut server =
        Process::spawn("nginx", namespace.command("nginx").args(["-e", "stderr", "-c", &file]))?;
    server.wait_for_line("OS: Linux")?;
    Ok(server)
}

/// dnsmasq at port 53 of every address: `host.lab.example` has [`DNS_A`] and [`DNS_AAAA`].
///
/// # Errors
/// When it is missing or refuses.
pub fn dnsmasq(namespace: &Namespace) -> Result<Process> {
    let record = format!("--host-record=host.lab.example,{DNS_A},{DNS_AAAA}");
    let mut server = Process::spawn(
        "dnsmasq",
        namespace.command("dnsmasq").args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file=",
            "--log-facility=-",
            &record,
        ]),
    )?;
    server.wait_for_line("started")?;
    Ok(server)
}

/// An iperf3 server at its own port, for both families.
///
/// # Errors
/// When it is missing or refuses.
pub fn iperf3(namespace: &Namespace) -> Result<Process> {
    let server = Process::spawn("iperf3", namespace.command("iperf3").arg("--server"))?;
    Site::wait_for_listener(namespace, IPERF3)?;
    Ok(server)
}

/// coturn's STUN server for behaviour discovery (RFC 5780): ports 3478 and 3479 of two addresses of
/// one family.
///
/// # Errors
/// When it is missing or does not listen within the limit.
pub fn stun_server(namespace: &Namespace, addresses: [IpAddr; 2]) -> Result<Process> {
    let [first, second] = addresses.map(|address| address.to_string());
    let mut command = namespace.command("turnserver");
    command
        .args(["-n", "--log-file", "stdout", "--simple-log", "--stun-only", "--no-auth"])
        .args(["--no-tls", "--no-dtls", "--no-tcp", "--no-cli", "--relay-threads", "1"])
        .args(["--listening-ip", &first, "--listening-ip", &second])
        .arg(format!("--pidfile={SCRATCH}/turnserver-{first}.pid"))
        .arg(format!("--userdb={SCRATCH}/turnserver-{first}.db"));
    let server = Process::spawn("turnserver", &mut command)?;
    wait_for("the STUN server", LIMIT, || {
        let sockets = namespace.output("ss", &["-Hlun", "sport >= :3478 and sport <= :3479"])?;
        let ours = |line: &&str| line.contains(&first) || line.contains(&second);
        Ok((sockets.lines().filter(ours).count() >= 4).then_some(()))
    })?;
    Ok(server)
}

/// The IPv4 address that [`dnsmasq`] knows.
pub const DNS_A: &str = "198.51.100.77";
/// The IPv6 address that [`dnsmasq`] knows.
pub const DNS_AAAA: &str = "2001:db8:9::77";
const IPERF3: u16 = 5201;

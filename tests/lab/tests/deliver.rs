//! A persistent address for ordinary processes: an unmodified nginx listens on it, an unmodified
//! curl binds to it, and both ends see it untranslated.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use mooring_lab::peers::{Digest, HttpServer, UdpEcho, download, nginx, receive};
use mooring_lab::{Capture, Config, Family, Site, Variant, isolated};

#[test]
fn processes_of_the_pod_serve_and_call() {
    isolated("processes_of_the_pod_serve_and_call", || serve_and_call(Variant::AfPacket));
}

#[test]
fn processes_of_the_pod_serve_and_call_with_two_workers() {
    isolated("processes_of_the_pod_serve_and_call_with_two_workers", || {
        serve_and_call(Variant::TwoWorkers)
    });
}

#[test]
fn processes_of_the_pod_serve_and_call_beside_kernel_addresses() {
    isolated("processes_of_the_pod_serve_and_call_beside_kernel_addresses", || {
        serve_and_call(Variant::KernelAddresses)
    });
}

#[test]
fn processes_of_the_pod_serve_and_call_by_tap() {
    isolated("processes_of_the_pod_serve_and_call_by_tap", || serve_and_call(Variant::Tap));
}

/// Straight, untranslated or not as their rule says: a delivered address is the same on both sides.
#[test]
fn inside_hosts_reach_processes_of_the_pod() {
    isolated("inside_hosts_reach_processes_of_the_pod", || {
        let site = Site::new(Variant::AfPacket)?;
        let capture = Capture::start(&site.server, "eth0")?;
        let appliance = site.start(&delivering(site.config()))?;
        for (family, address) in Family::BOTH.iter().zip(DELIVERED) {
            let server = SocketAddr::new(address.parse()?, 81);
            let web = HttpServer::start(&site.gateway, server)?;
            let got = download(&site.client, server, MEGABYTES).with_context(|| {
                format!("{server}: {}", appliance.show_text(&["drops"]).unwrap_or_default())
            })?;
            ensure!(got.digest == Digest::of_noise(MEGABYTES));
            ensure!(web.next_client()?.ip() == family.pool);
            // What goes outside is seen there, so the search below can find something.
            let server = family.server.to_string();
            let said = site.client.tool("ping", &["-c", "1", "-W", "5", &server])?;
            ensure!(said.contains("1 received"), "{said}");
        }
        appliance.stop()?;
        capture.stop()?.ensure_translated(&Family::BOTH.map(|family| family.client))
    });
}

fn serve_and_call(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let appliance = site.start(&delivering(site.config()))?;
    let listen = DELIVERED.map(|address| match address.contains(':') {
        true => format!("[{address}]:80"),
        false => format!("{address}:80"),
    });
    let _web = nginx(&site.gateway, &listen.each_ref().map(String::as_str))?;
    for (family, address) in Family::BOTH.iter().zip(DELIVERED) {
        let delivered = address.parse()?;
        // From outside: the server sees its client as it is.
        let url = format!("http://{}/whoami", Family::host(delivered));
        let said = site.far.tool("curl", &["--silent", "--fail", "--max-time", "10", &url])?;
        ensure!(said.starts_with(&format!("{} ", family.far)), "nginx saw {said}");

        // To the outside: an ordinary client that binds to it.
        let web = HttpServer::start(&site.far, SocketAddr::new(family.far, 80))?;
        let url = format!("http://{}/whoami", Family::host(family.far));
        let options = ["--silent", "--fail", "--max-time", "10", "--interface", address, &url];
        let said = site.gateway.tool("curl", &options)?;
        ensure!(said.parse::<SocketAddr>()?.ip() == delivered, "the far host saw {said}");
        ensure!(web.next_client()?.ip() == delivered);

        large_upload(&site, family, delivered)?;
        ping_and_udp(&site, family, delivered)?;
    }
    appliance.stop().map(drop)
}

/// Bulk from a process of the Pod, in super-packets through the tap.
fn large_upload(site: &Site, family: &Family, delivered: std::net::IpAddr) -> Result<()> {
    let server = SocketAddr::new(delivered, 81);
    HttpServer::start(&site.gateway, server)?;
    let got = download(&site.far, server, MEGABYTES)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTES) && got.local.ip() == family.far);
    Ok(())
}

fn ping_and_udp(site: &Site, family: &Family, delivered: std::net::IpAddr) -> Result<()> {
    let target = delivered.to_string();
    let said = site.far.tool("ping", &["-c", "2", "-i", "0.2", "-W", "5", &target])?;
    ensure!(said.contains("2 received"), "{said}");
    let echo = UdpEcho::start(&site.gateway, SocketAddr::new(delivered, 7000))?;
    let client = site.far.udp(SocketAddr::new(family.far, 5000))?;
    client.send_to(b"hello", SocketAddr::new(delivered, 7000))?;
    ensure!(receive(&client)? == (b"hello".to_vec(), SocketAddr::new(delivered, 7000)));
    ensure!(echo.next_source()? == client.local_addr()?);
    Ok(())
}

/// A tap whose kernel side has the addresses.
fn delivering(config: Config) -> Config {
    let interface = "[[interface]]\nname = \"processes\"\ndevice = \"tap9\"\nbackend = \"tap\"\n\
                     addresses = [\"169.254.77.1/30\", \"fd00:77::1/64\"]\n";
    DELIVERED.iter().fold(config.table(interface), |config, address| {
        config.first_rule(&format!(
            "name = \"deliver-{}\"\nkind = \"deliver\"\naddress = \"{address}\"\n\
             interface = \"processes\"\nto = \"outside\"\n",
            address.len()
        ))
    })
}

const DELIVERED: [&str; 2] = ["203.0.113.50", "2001:db8:2::50"];
const MEGABYTES: u64 = 5_000_000;

//! What changes around a running appliance: links that go down or get shorter, addresses and routes
//! of the kernel.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::peers::{Digest, HttpServer, UdpEcho, download};
use mooring_lab::{Family, Site, Variant, isolated};

/// A link that was down carries again, for sessions that were there before.
#[test]
fn a_link_goes_down_and_comes_back() {
    isolated("a_link_goes_down_and_comes_back", || {
        let site = Site::new(Variant::AfPacket)?;
        let appliance = site.start(&site.config())?;
        let session = Session::open(&site, &Family::BOTH[0])?;
        site.gateway.ip("link set out0 down")?;
        wait_for("`show interfaces` to say so", LIMIT, || {
            Ok(appliance.show("interfaces")?.to_string().contains("\"down\"").then_some(()))
        })?;
        ensure!(!session.passes()?);
        site.gateway.ip("link set out0 up")?;
        wait_for("the session to go on", LIMIT, || Ok(session.passes()?.then_some(())))?;
        appliance.stop().map(drop)
    });
}

/// A router that is not there is told of, once, whichever worker wants it.
#[test]
fn a_router_that_does_not_answer_is_told_of() {
    isolated("a_router_that_does_not_answer_is_told_of", || {
        let site = Site::new(Variant::TwoWorkers)?;
        let mut appliance = site.start(&site.config())?;
        site.client.udp(SocketAddr::from(([10, 0, 0, 2], 0)))?.send_to(b"?", "192.0.2.99:9")?;
        appliance.wait_for_line("192.0.2.99 on `outside` does not answer")?;
        let stderr = appliance.stop()?;
        ensure!(stderr.matches("192.0.2.99").count() == 1, "{stderr}");
        Ok(())
    });
}

/// The MTU is followed: senders are told of the new one.
#[test]
fn a_link_gets_shorter() {
    isolated("a_link_gets_shorter", || {
        let site = Site::new(Variant::AfPacket)?;
        let appliance = site.start(&site.config())?;
        for family in &Family::BOTH {
            let server = SocketAddr::new(family.server, 80);
            HttpServer::start(&site.server, server)?;
            ensure!(download(&site.client, server, MEGABYTES)?.digest == expected());
        }
        site.gateway.ip("link set out0 mtu 1280")?;
        site.server.ip("link set eth0 mtu 1280")?;
        wait_for("`show interfaces` to say so", LIMIT, || {
            Ok(appliance.show("interfaces")?.to_string().contains("1280").then_some(()))
        })?;
        for family in &Family::BOTH {
            let server = SocketAddr::new(family.server, 80);
            ensure!(download(&site.client, server, MEGABYTES)?.digest == expected());
            let too_long = site
                .client
                .command("ping")
                .args(["-c", "1", "-W", "5", "-M", "do", "-s", "1400", &family.server.to_string()])
                .output()?;
            let said = String::from_utf8_lossy(&too_long.stdout).to_lowercase();
            ensure!(said.contains("1280"), "the new MTU is told: {said}");
        }
        appliance.stop().map(drop)
    });
}

/// `addresses = "kernel"`: another address and another router, as a node changes them under a Pod.
#[test]
fn the_kernels_routes_are_followed() {
    isolated("the_kernels_routes_are_followed", || {
        let site = Site::new(Variant::KernelAddresses)?;
        let appliance = site.start(&site.config())?;
        let session = Session::open(&site, &Family::BOTH[0])?;
        site.server.ip("address add 169.254.1.9/32 dev eth0\nroute add 192.0.2.7/32 dev eth0")?;
        site.gateway.ip("address add 192.0.2.7/32 dev out0\n\
             route add 169.254.1.9/32 dev out0 scope link\n\
             route replace default via 169.254.1.9 dev out0 onlink\n\
             address del 192.0.2.1/32 dev out0")?;
        site.server.ip(
            "route replace 203.0.113.0/24 via 192.0.2.7\naddress del 169.254.1.1/32 dev eth0",
        )?;
        wait_for("the new router to be used", LIMIT, || {
            Ok((session.passes()?
                && appliance.show("neighbors")?.to_string().contains("169.254.1.9"))
            .then_some(()))
        })?;
        ensure!(appliance.show("interfaces")?.to_string().contains("192.0.2.7"));
        let said = site.server.tool("ping", &["-c", "1", "-W", "5", "192.0.2.7"])?;
        ensure!(said.contains("1 received"), "the kernel answers: {said}");
        appliance.stop().map(drop)
    });
}

/// UDP from the client to an echo server.
struct Session {
    client: std::net::UdpSocket,
}

impl Session {
    fn open(site: &Site, family: &Family) -> Result<Self> {
        let echo = UdpEcho::start(&site.server, SocketAddr::new(family.server, 0))?;
        let client = site.client.udp(SocketAddr::new(family.client, 0))?;
        client.connect(echo.address()?)?;
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        let session = Self { client };
        ensure!(session.passes()?, "a first datagram");
        Ok(session)
    }

    fn passes(&self) -> Result<bool> {
        self.client.send(b"again")?;
        Ok(self.client.recv(&mut [0; 16]).is_ok())
    }
}

fn expected() -> Digest {
    Digest::of_noise(MEGABYTES)
}

const MEGABYTES: u64 = 3_000_000;

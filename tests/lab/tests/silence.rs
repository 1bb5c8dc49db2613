//! Nobody answers for what nobody serves: no RST and no ICMP error for an address of the appliance,
//! also where a kernel with addresses of its own shares the device.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use mooring_lab::{Capture, Family, Frame, Namespace, Site, Variant, isolated};

#[test]
fn closed_ports_are_silent() {
    isolated("closed_ports_are_silent", || assert_silent(Variant::AfPacket));
}

#[test]
fn closed_ports_are_silent_beside_a_kernel() {
    isolated("closed_ports_are_silent_beside_a_kernel", || assert_silent(Variant::KernelAddresses));
}

/// What is the kernel's stays the kernel's: it refuses at once, as it does in any Pod.
#[test]
fn the_kernel_answers_for_its_own_addresses() {
    isolated("the_kernel_answers_for_its_own_addresses", || {
        let site = Site::new(Variant::KernelAddresses)?;
        let appliance = site.start(&site.config())?;
        for address in ["192.0.2.1", "2001:db8:1::1"] {
            let refused = knock(&site.server, address.parse()?, 4444)?;
            ensure!(refused == ErrorKind::ConnectionRefused, "{address}: {refused}");
            let said = site.server.tool("ping", &["-c", "1", "-W", "5", address])?;
            ensure!(said.contains("1 received"), "{said}");
        }
        appliance.stop().map(drop)
    });
}

fn assert_silent(variant: Variant) -> Result<()> {
    let site = Site::new(variant)?;
    let forward = "name = \"web\"\nkind = \"port-forward\"\naddress = \"203.0.113.20\"\n\
                   port = 8080\ntarget = \"10.0.0.2:80\"\nfrom = \"outside\"";
    let capture = Capture::start(&site.server, "eth0")?;
    let appliance = site.start(&site.config().first_rule(forward))?;
    let owned = Family::BOTH.iter().map(|family| family.pool);
    let owned: Vec<IpAddr> = owned.chain(["203.0.113.20".parse()?]).collect();
    for address in &owned {
        for port in [22, 80, 9464, 40_000] {
            let answer = knock(&site.far, *address, port)?;
            ensure!(answer == ErrorKind::TimedOut, "{address}:{port} answered: {answer}");
            let any = SocketAddr::new(Family::of(*address).far, 0);
            let socket = site.far.udp(any)?;
            socket.connect(SocketAddr::new(*address, port))?;
            socket.set_read_timeout(Some(SHORT))?;
            socket.send(b"anyone?")?;
            let answer = socket.recv(&mut [0; 16]).expect_err("nobody serves there").kind();
            ensure!(answer == ErrorKind::WouldBlock, "{address}:{port} answered: {answer}");
        }
    }
    ensure!(appliance.drops("no_session")? >= 24, "{}", appliance.show("drops")?);
    appliance.stop()?;
    let frames = capture.stop()?;
    for address in owned {
        let said = frames.filter(|bytes| is_ip_from(bytes, address));
        assert_eq!(said, Vec::<&Frame>::new(), "{address} said something");
    }
    Ok(())
}

/// How a TCP connection attempt fails.
fn knock(from: &Namespace, address: IpAddr, port: u16) -> Result<ErrorKind> {
    let target = SocketAddr::new(address, port);
    let tried = from.enter(|| TcpStream::connect_timeout(&target, SHORT))?;
    Ok(tried.expect_err("nobody listens there").kind())
}

/// An IP packet, but no neighbour or group message, from this address.
fn is_ip_from(frame: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            frame.get(12..14) == Some(&[8, 0]) && frame.get(26..30) == Some(&address.octets())
        }
        IpAddr::V6(address) => {
            let of_neighbours =
                frame.get(20) == Some(&58) && matches!(frame.get(54), Some(133..=137 | 143));
            frame.get(12..14) == Some(&[0x86, 0xdd])
                && frame.get(22..38) == Some(&address.octets())
                && !of_neighbours
        }
    }
}

const SHORT: Duration = Duration::from_millis(200);

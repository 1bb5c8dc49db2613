//! Nobody answers for what nobody serves: no RST and no ICMP error for an address of the appliance,
//! also where a kernel with addresses of its own shares the device.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use mooring_lab::{Capture, Family, Frame, Namespace, Site, Variant, isolated};

#[test]
fn closed_ports_are_silent() {
    isolated("closed_ports_are_silent", || assert_silent(&Site::new(Variant::AfPacket)?));
}

#[test]
fn closed_ports_are_silent_beside_a_kernel() {
    isolated("closed_ports_are_silent_beside_a_kernel", || {
        assert_silent(&Site::new(Variant::KernelAddresses)?)
    });
}

/// The dangerous case: the Pod's kernel has every address of the appliance, and would refuse.
#[test]
fn closed_ports_are_silent_where_the_kernel_has_the_addresses() {
    isolated("closed_ports_are_silent_where_the_kernel_has_the_addresses", || {
        let site = Site::new(Variant::AfPacket)?;
        site.gateway.sysctl("net/ipv6/conf/out0/disable_ipv6", "0")?;
        site.gateway.ip(THE_SAME)?;
        assert_silent(&site)?;
        // The control: without the appliance this kernel does refuse.
        for Family { pool, .. } in Family::BOTH {
            let refused = knock(&site.server, pool, 22)?;
            ensure!(refused == ErrorKind::ConnectionRefused, "{pool}: {refused}");
        }
        Ok(())
    });
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

fn assert_silent(site: &Site) -> Result<()> {
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
        assert_eq!(frames.packets_from(address), Vec::<&Frame>::new(), "{address} said something");
    }
    Ok(())
}

/// How a TCP connection attempt fails.
fn knock(from: &Namespace, address: IpAddr, port: u16) -> Result<ErrorKind> {
    let target = SocketAddr::new(address, port);
    let tried = from.enter(|| TcpStream::connect_timeout(&target, SHORT))?;
    Ok(tried.expect_err("nobody listens there").kind())
}

/// The addresses of the appliance, for the kernel beside it.
const THE_SAME: &str = "\
address add 192.0.2.1/24 dev out0
address add 2001:db8:1::1/64 dev out0 nodad
address add 203.0.113.10/32 dev out0
address add 203.0.113.20/32 dev out0
address add 2001:db8:2::10/128 dev out0 nodad
";
const SHORT: Duration = Duration::from_millis(200);

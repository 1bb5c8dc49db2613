//! Many at once: hosts and sockets whose ports collide (`nft_nat_zones.sh`, `conntrack_clash.sh`,
//! `nf_nat_edemux.sh`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, ensure};
use mooring_lab::clock::LIMIT;
use mooring_lab::peers::{UdpEcho, receive};
use mooring_lab::{Family, Namespace};

use super::nat::Running;

/// A hundred hosts, all from port 10,000 to one port of one server: each hears its own answer, and the
/// server sees a hundred ports of one address.
pub(crate) fn a_hundred_hosts(nat: &Running) -> Result<()> {
    for family in &Family::BOTH {
        let hosts: Vec<IpAddr> = (101..=200)
            .map(|number| {
                Ok(family.pick(format!("10.0.0.{number}"), format!("fd00:10::{number}")).parse()?)
            })
            .collect::<Result<_>>()?;
        let bits = family.pick("24", "64 nodad");
        let lines = hosts.iter().map(|host| format!("address add {host}/{bits} dev eth0\n"));
        nat.site.client.ip(&lines.collect::<String>())?;
        let server = SocketAddr::new(family.far, 7000);
        let echo = UdpEcho::start(&nat.site.far, server)?;
        let sockets: Vec<_> = hosts
            .iter()
            .map(|host| nat.site.client.udp(SocketAddr::new(*host, 10_000)))
            .collect::<Result<_>>()?;
        for (number, socket) in sockets.iter().enumerate() {
            socket.send_to(format!("host {number}").as_bytes(), server)?;
        }
        for (number, socket) in sockets.iter().enumerate() {
            let (answer, from) = receive(socket)?;
            ensure!(
                answer == format!("host {number}").as_bytes() && from == server,
                "host {number}"
            );
        }
        let seen = (0..hosts.len()).map(|_| echo.next_source());
        let seen: BTreeSet<_> = seen.collect::<Result<_>>()?;
        ensure!(seen.len() == hosts.len(), "{} ports for {} hosts", seen.len(), hosts.len());
        ensure!(seen.iter().all(|end| end.ip() == family.pool), "{seen:?}");
    }
    Ok(())
}

/// Datagrams of a new flow from several threads at once: the first ones race for its session. None is
/// lost, and all come from one port.
pub(crate) fn at_one_instant(nat: &Running) -> Result<()> {
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.server, 7000);
        let sink = nat.site.server.udp(server)?;
        // The neighbours are known.
        let first = nat.site.client.udp(SocketAddr::new(family.client, 9_999))?;
        first.send_to(b"first", server)?;
        receive(&sink)?;
        for round in 0..ROUNDS {
            let socket = nat.site.client.udp(SocketAddr::new(family.client, 11_000 + round))?;
            send_at_once(&socket, server)?;
            let mut payloads = BTreeSet::new();
            let mut sources = BTreeSet::new();
            for _ in 0..THREADS {
                let (payload, from) = receive(&sink)
                    .with_context(|| format!("round {round}: {} arrived", payloads.len()))?;
                payloads.insert(payload);
                sources.insert(from);
            }
            ensure!(payloads.len() == usize::from(THREADS), "twice the same: {payloads:?}");
            ensure!(sources.len() == 1, "several ports: {sources:?}");
        }
    }
    Ok(())
}

fn send_at_once(socket: &UdpSocket, server: SocketAddr) -> Result<()> {
    let barrier = Barrier::new(usize::from(THREADS));
    thread::scope(|scope| {
        let barrier = &barrier;
        let sending: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    barrier.wait();
                    socket.send_to(&[number], server)
                })
            })
            .collect();
        sending.into_iter().try_for_each(|one| {
            one.join().expect("sending does not panic").map(drop).map_err(Into::into)
        })
    })
}

/// Two hosts connect from one source port to one service: the second gets another outside port and
/// is not refused.
pub(crate) fn one_service(nat: &Running) -> Result<()> {
    for family in &Family::BOTH {
        let server = SocketAddr::new(family.far, 443);
        let listener = nat.site.far.tcp_listener(server)?;
        let hosts = [(&nat.site.client, family.client), (&nat.site.other, family.other)];
        let mut seen = BTreeSet::new();
        let mut open = Vec::new();
        for (namespace, address) in hosts {
            let asked = connect_from(namespace, SocketAddr::new(address, 10_000), server)?;
            let (answered, client) = listener.accept()?;
            open.push([asked, answered]);
            seen.insert(client);
        }
        ensure!(seen.len() == 2 && seen.iter().all(|end| end.ip() == family.pool), "{seen:?}");
    }
    Ok(())
}

/// A connection from a source port of choice.
fn connect_from(namespace: &Namespace, local: SocketAddr, server: SocketAddr) -> Result<TcpStream> {
    let domain = if local.is_ipv4() {
        rustix::net::AddressFamily::INET
    } else {
        rustix::net::AddressFamily::INET6
    };
    let kind = rustix::net::SocketType::STREAM;
    let socket = namespace.enter(|| rustix::net::socket(domain, kind, None))??;
    rustix::net::bind(&socket, &local)?;
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Send,
        Some(LIMIT),
    )?;
    rustix::net::connect(&socket, &server).with_context(|| format!("{local} to {server}"))?;
    Ok(TcpStream::from(socket))
}

const THREADS: u8 = 8;
const ROUNDS: u16 = 100;

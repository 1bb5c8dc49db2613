//! The named agent translates, the other is silent; the addresses move by writes of the status.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_kube_tests::edge::{
    Edge, HOST, HOST_V6, Held, Moves, PERSISTENT, PERSISTENT_V6, Root, Stream, world, world_v6,
};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::peers::UdpEcho;
use mooring_lab::{Capture, Image, isolated};

#[test]
fn addresses_move_by_writes_of_the_status_and_only_the_named_agent_sends_for_them() {
    // Outside of the lab, which has no network.
    Image::build();
    isolated(
        "addresses_move_by_writes_of_the_status_and_only_the_named_agent_sends_for_them",
        || {
            let edge = Edge::new(Root::Shipped)?;
            let echo = [
                UdpEcho::start(&edge.server, world(7000))?,
                UdpEcho::start(&edge.server, world_v6(7000))?,
            ];
            let _sink = edge.server.udp(world(7001))?;
            for agent in AGENTS {
                edge.add_agent(agent)?;
                let process = edge.kubelet.pod(agent)?.process().context("it runs")?;
                let status = fs::read_to_string(format!("/proc/{process}/status"))?;
                assert!(status.contains("Seccomp:\t2\n"), "a filter of system calls: {status}");
            }
            let routes = (edge.client.output("ip", ROUTES)?, edge.server.output("ip", ROUTES)?);
            let capture = Capture::start(&edge.server, "eth0")?;
            let mut held = vec![Held { since: edge.give(AGENTS[0])?, mac: edge.mac(AGENTS[0])? }];
            translated(&edge, &echo)?;
            let stream = Stream::start(&edge.client, SocketAddr::from((HOST, 4001)), world(7001))?;
            for number in 1..=MOVES {
                thread::sleep(STAY);
                let agent = AGENTS[number % 2];
                held.push(Held { since: edge.give(agent)?, mac: edge.mac(agent)? });
            }
            thread::sleep(STAY);
            translated(&edge, &echo)?;
            drop(stream);

            let frames = capture.stop()?;
            let moves = Moves { frames: &frames, held: &held };
            assert!(moves.stale().is_empty(), "only who is named sends for the addresses");
            let take_ups = moves.take_ups();
            assert!(take_ups.iter().all(Option::is_some), "{take_ups:?}");
            println!("from the answer to the first packet: {take_ups:?}");
            assert_eq!(moves.announced(), (held.len(), held.len()), "gratuitous ARP and NA");
            // The control: had the other been named, nearly all of it were stale.
            let mut other = held.clone();
            other
                .iter_mut()
                .zip(held.iter().skip(1))
                .for_each(|(held, next)| held.mac.clone_from(&next.mac));
            let wrong = Moves { frames: &frames, held: &other };
            assert!(wrong.stale().len() > 1_000, "{} frames", wrong.stale().len());
            let now = (edge.client.output("ip", ROUTES)?, edge.server.output("ip", ROUTES)?);
            assert_eq!(now, routes, "nobody's route was changed");
            edge.stop();
            Ok(())
        },
    );
}

/// Profile B: what the API server says it reads, and takes addresses up and lets go of them, as another user.
#[test]
fn agents_of_another_user_than_root_follow_their_routes() {
    Image::build();
    isolated("agents_of_another_user_than_root_follow_their_routes", || {
        let edge = Edge::new(Root::OtherUser)?;
        let echo = [
            UdpEcho::start(&edge.server, world(7000))?,
            UdpEcho::start(&edge.server, world_v6(7000))?,
        ];
        for agent in AGENTS {
            edge.add_agent(agent)?;
            let process = edge.kubelet.pod(agent)?.process().context("it runs")?;
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let is = |key: &str, value: &str| {
                let mut words =
                    status.lines().find(|line| line.starts_with(key))?.split_whitespace();
                Some(words.nth(1) == Some(value))
            };
            assert_eq!(is("Uid:", "65532"), Some(true), "{status}");
            assert_eq!(is("CapPrm:", "0000000000002000"), Some(true), "NET_RAW alone: {status}");
            assert_eq!(is("NoNewPrivs:", "0"), Some(true), "{status}");
        }
        let capture = Capture::start(&edge.server, "eth0")?;
        let mut held = Vec::new();
        for agent in [AGENTS[0], AGENTS[1], AGENTS[0]] {
            held.push(Held { since: edge.give(agent)?, mac: edge.mac(agent)? });
            translated(&edge, &echo)?;
        }
        let frames = capture.stop()?;
        let moves = Moves { frames: &frames, held: &held };
        assert!(moves.stale().is_empty(), "only who is named sends for the addresses");
        assert!(moves.take_ups().iter().all(Option::is_some), "{:?}", moves.take_ups());
        edge.stop();
        Ok(())
    });
}

/// Real traffic of kernel stacks, there and back, in both families.
fn translated(edge: &Edge, [echo, echo_v6]: &[UdpEcho; 2]) -> Result<()> {
    for (local, remote, echo, persistent) in [
        (SocketAddr::from((HOST, 4000)), world(7000), echo, IpAddr::from(PERSISTENT)),
        (SocketAddr::from((HOST_V6, 4000)), world_v6(7000), echo_v6, PERSISTENT_V6.into()),
    ] {
        let socket = edge.client.udp(local)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut buffer = [0; 100];
        wait_for(&format!("an answer from {remote}"), LIMIT, || {
            socket.send_to(b"hello", remote)?;
            Ok(socket.recv_from(&mut buffer).ok())
        })?;
        assert_eq!(echo.next_source()?.ip(), persistent);
        while echo.has_seen_any() {}
    }
    Ok(())
}

const AGENTS: [&str; 2] = ["mooring-a", "mooring-b"];
const MOVES: usize = 10;
/// Long enough for the last announcement of a take-up, which is told after 1 s.
const STAY: Duration = Duration::from_millis(300);
const ROUTES: &[&str] = &["route", "show", "table", "all"];

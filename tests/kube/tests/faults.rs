//! What agents do when the API server is away, forgets, or no longer knows them: they keep what they have, and
//! believe what it says when it speaks again.

use std::env;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_kube_tests::edge::{
    Edge, HOST, Held, LETTING_GO, Moves, PERSISTENT, Root, Stream, world,
};
use mooring_lab::clock::{LIMIT, Stopwatch, since_1970, wait_for};
use mooring_lab::peers::UdpEcho;
use mooring_lab::{Capture, isolated};
use rustix::process::Signal;

/// `MOORING_OUTAGE` is how many seconds the server is away.
#[test]
fn traffic_flows_while_the_api_server_is_dead_and_what_it_says_then_counts() {
    isolated("traffic_flows_while_the_api_server_is_dead_and_what_it_says_then_counts", || {
        let mut edge = two_agents()?;
        let echo = UdpEcho::start(&edge.server, world(7000))?;
        let _sink = edge.server.udp(world(7001))?;
        let capture = Capture::start(&edge.server, "eth0")?;
        let mut held = vec![Held { since: edge.give(A)?, mac: edge.mac(A)? }];
        let stream = Stream::start(&edge.client, SocketAddr::from((HOST, 4001)), world(7001))?;
        edge.translates(&echo)?;

        let seconds = env::var("MOORING_OUTAGE").map_or(Ok(8), |text| text.parse());
        let outage = Duration::from_secs(seconds.context("MOORING_OUTAGE are seconds")?);
        edge.cluster.kill_api()?;
        let (away, begin) = (Stopwatch::start(), since_1970());
        while away.elapsed() < outage {
            edge.translates(&echo)?;
            thread::sleep(Duration::from_millis(200));
        }
        let end = since_1970();
        edge.cluster.restart_api()?;
        held.push(Held { since: edge.give(B)?, mac: edge.mac(B)? });
        // The agents ask again after a pause; until then they cannot know.
        holds(&edge, B, true)?;
        holds(&edge, A, false)?;
        let seen = since_1970();
        thread::sleep(SETTLE);
        drop(stream);

        let frames = capture.stop()?;
        let moves = Moves { frames: &frames, held: &held };
        for frame in moves.stale() {
            assert_eq!(
                frame.bytes[6..12],
                held[0].mac,
                "only who was named sends for the addresses"
            );
            assert!(frame.at <= seen + LETTING_GO, "the first agent knew better");
        }
        let take_ups = moves.take_ups();
        assert!(take_ups.iter().all(Option::is_some), "{take_ups:?}");
        let sent = frames.packets_from(PERSISTENT);
        let meanwhile: Vec<_> =
            sent.iter().filter(|frame| (begin..end).contains(&frame.at)).collect();
        let gaps = meanwhile.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at));
        let longest = gaps.max().context("packets while the server was away")?;
        println!(
            "{} packets in {outage:?} without the server; the longest gap was {longest:?}",
            meanwhile.len()
        );
        assert!(longest < Duration::from_secs(1), "a gap of {longest:?}");
        edge.stop();
        Ok(())
    });
}

/// The agent hears nothing while the addresses are given away and the server forgets how it came to that.
#[test]
fn an_agent_that_missed_what_the_server_has_forgotten_reads_it_all_anew() {
    isolated("an_agent_that_missed_what_the_server_has_forgotten_reads_it_all_anew", || {
        let mut edge = two_agents()?;
        let echo = UdpEcho::start(&edge.server, world(7000))?;
        edge.give(A)?;
        edge.translates(&echo)?;
        edge.kubelet.signal(A, Signal::STOP)?;
        thread::sleep(Duration::from_millis(100));
        edge.give(B)?;
        edge.cluster.compact()?;
        edge.cluster.kill_api()?;
        edge.cluster.restart_api()?;
        edge.kubelet.signal(A, Signal::CONT)?;
        holds(&edge, A, false)?;
        holds(&edge, B, true)?;
        edge.translates(&echo)?;
        edge.give(A)?;
        holds(&edge, A, true)?;
        edge.translates(&echo)?;
        edge.stop();
        Ok(())
    });
}

#[test]
fn an_agent_whose_token_was_replaced_goes_on_with_the_new_one() {
    isolated("an_agent_whose_token_was_replaced_goes_on_with_the_new_one", || {
        let edge = two_agents()?;
        let echo = UdpEcho::start(&edge.server, world(7000))?;
        edge.give(A)?;
        edge.translates(&echo)?;
        let renewed = || {
            let lease = edge.cluster.api.get(&format!("{LEASES}/mooring-{A}"))?;
            let time = lease["spec"]["renewTime"].as_str().context("a time")?;
            anyhow::Ok(time.to_owned())
        };
        edge.kubelet.rotate_token(A)?;
        // The server believes a token for up to 10 s after its end.
        thread::sleep(Duration::from_secs(12));
        let before = renewed()?;
        wait_for("a report by the new token", Duration::from_secs(60), || {
            Ok((renewed()? > before).then_some(()))
        })?;
        edge.give(B)?;
        holds(&edge, A, false)?;
        edge.stop();
        Ok(())
    });
}

/// What an agent does is told to the cluster: a Lease of the Pod, and Events.
#[test]
fn what_an_agent_holds_stands_in_its_lease_and_in_events() {
    isolated("what_an_agent_holds_stands_in_its_lease_and_in_events", || {
        let edge = two_agents()?;
        edge.give(A)?;
        let pod = edge.cluster.api.get(&format!("/api/v1/namespaces/mooring/pods/{A}"))?;
        let lease = wait_for("the address in the Lease", LIMIT, || {
            let lease = edge.cluster.api.get(&format!("{LEASES}/mooring-{A}"))?;
            let told = lease["metadata"]["annotations"].to_string();
            Ok(Some(lease).filter(|_| told.contains("203.0.113.10")))
        })?;
        let uid = &pod["metadata"]["uid"];
        assert_eq!(lease["spec"]["holderIdentity"], *uid);
        assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], *uid);
        edge.give(B)?;
        wait_for("Events of both agents", LIMIT, || {
            let events =
                edge.cluster.api.get("/apis/events.k8s.io/v1/namespaces/mooring/events")?;
            let told = |agent: &str, part: &str| {
                let mut all = events["items"].as_array().into_iter().flatten();
                all.any(|event| {
                    let text = event.to_string();
                    text.contains(agent) && text.contains(part) && text.contains("203.0.113.10")
                })
            };
            Ok((told(A, "TakenUp") && told(A, "Released") && told(B, "TakenUp")).then_some(()))
        })?;
        edge.stop();
        Ok(())
    });
}

fn two_agents() -> Result<Edge> {
    let edge = Edge::new(Root::Binary)?;
    edge.add_agent(A)?;
    edge.add_agent(B)?;
    Ok(edge)
}

/// Waits until an agent holds the addresses, or none of them.
fn holds(edge: &Edge, agent: &str, does: bool) -> Result<()> {
    wait_for(&format!("{agent} to hold addresses: {does}"), LIMIT, || {
        let addresses = edge.show(agent, "addresses")?;
        let mut all = addresses.as_array().into_iter().flatten();
        // One that another has used a moment ago is shown as `conflict`.
        let any = all.any(|address| address["state"] != "claimed");
        Ok((any == does).then_some(()))
    })
}

const A: &str = "mooring-a";
const B: &str = "mooring-b";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/mooring/leases";
const SETTLE: Duration = Duration::from_millis(500);

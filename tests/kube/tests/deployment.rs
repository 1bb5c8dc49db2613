//! The shipped Deployment, its Pods made by Kubernetes' own controllers, in the image that is shipped.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use mooring_kube_tests::Cluster;
use mooring_kube_tests::edge::{Controller, Edge, HOST, Held, Moves, Root, Stream, world};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::UdpEcho;
use mooring_lab::{Capture, Image, isolated};
use serde_json::json;

#[test]
fn a_rolling_update_of_the_shipped_deployment_moves_the_addresses_without_a_stale_frame() {
    // Outside of the lab, which has no network.
    Image::build();
    isolated(
        "a_rolling_update_of_the_shipped_deployment_moves_the_addresses_without_a_stale_frame",
        || {
            let edge = Edge::on(Cluster::with_controllers()?, Root::Shipped)?;
            // The server is of 1.20, where disruption budgets are policy/v1beta1. All else it takes.
            assert_eq!(edge.deploy()?, ["policy/v1 PodDisruptionBudget"]);
            let first = two(&edge)?;
            let echo = UdpEcho::start(&edge.server, world(7000))?;
            let _sink = edge.server.udp(world(7001))?;
            let capture = Capture::start(&edge.server, "eth0")?;
            let mut held = vec![Held { since: edge.give(&first[0])?, mac: edge.mac(&first[0])? }];
            edge.translates(&echo)?;
            let stream = Stream::start(&edge.client, SocketAddr::from((HOST, 4001)), world(7001))?;

            let controller = Controller::start(&edge.cluster, &first[0]);
            let again = json!({ "spec": { "template": { "metadata": { "annotations": {
                "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z",
            } } } } });
            edge.cluster.api.merge(DEPLOYMENT, &again)?;
            let started = Stopwatch::start();
            while !is_rolled_out(&edge, &first)? {
                anyhow::ensure!(started.elapsed() < ROLL_OUT, "the update does not end");
                if let Some((agent, since)) = controller.next_move(Duration::from_millis(200)) {
                    held.push(Held { since, mac: edge.mac(&agent)? });
                }
            }
            drop(controller);
            thread::sleep(Duration::from_millis(300));
            edge.translates(&echo)?;
            drop(stream);

            let frames = capture.stop()?;
            let moves = Moves { frames: &frames, held: &held };
            assert!(held.len() > 1, "an old Pod had the addresses");
            assert!(moves.stale().is_empty(), "only who is named sends for the addresses");
            let take_ups = moves.take_ups();
            assert!(take_ups.iter().all(Option::is_some), "{take_ups:?}");
            edge.stop();
            Ok(())
        },
    );
}

/// The names of the Deployment's two Pods, when they are Ready.
fn two(edge: &Edge) -> Result<Vec<String>> {
    wait_for("two agents of the Deployment", LIMIT, || {
        Ok(Some(edge.ready_agents()?).filter(|agents| agents.len() == 2))
    })
}

/// Two others are available, and nobody of before is there.
fn is_rolled_out(edge: &Edge, before: &[String]) -> Result<bool> {
    let deployment = edge.cluster.api.get(DEPLOYMENT)?;
    let status = &deployment["status"];
    let seen = status["observedGeneration"] == deployment["metadata"]["generation"];
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    let done = seen && counts.iter().all(|count| status[*count] == 2);
    let pods = edge.cluster.api.get("/api/v1/namespaces/mooring/pods")?;
    let pods = pods["items"].as_array().context("a list")?;
    let is_old =
        |pod: &serde_json::Value| before.iter().any(|old| pod["metadata"]["name"] == **old);
    Ok(done && !pods.iter().any(is_old))
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/mooring/deployments/mooring";
/// Each Pod is Ready for 10 s before the next one goes, and has 30 s to end.
const ROLL_OUT: Duration = Duration::from_secs(150);

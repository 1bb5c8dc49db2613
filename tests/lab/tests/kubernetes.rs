//! The source `kubernetes`: what is held is what a route's status says, and nothing else is.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_lab::address::{CLIENT, SERVER};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::{Routes, UdpEcho, receive};
use mooring_lab::{Appliance, Capture, Lab, agent, isolated};

/// Named, it is taken up; not named, nothing of it is seen outside, and what it is told says why.
#[test]
fn an_address_is_used_while_a_route_names_this_pod() {
    isolated("an_address_is_used_while_a_route_names_this_pod", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32", "203.0.113.300/32"])?;
        let silent = Capture::start(&lab.server, "eth0")?;
        let session = Session::open(&lab)?;
        ensure!(!session.passes()?, "nobody is named");
        routes.name(&["nat-1"]);
        wait_for("what is told", LIMIT, || {
            let row = row(&appliance, "203.0.113.10")?;
            Ok((row["reason"].to_string().contains("names the Pod `nat-1`")).then_some(()))
        })?;
        ensure!(!session.passes()?, "another is named");
        ensure!(appliance.drops("address_not_held")? > 0);
        ensure!(silent.stop()?.carrying(&[POOL]).is_empty());

        routes.name(&["nat-0"]);
        appliance.wait_for_line("203.0.113.10 taken up, by route `edge`")?;
        ensure!(session.passes()?, "this Pod is named");
        ensure!(session.seen_from()? == IpAddr::V4(POOL));
        let lease = routes.wait_for_lease(&[("203.0.113.10", "held")])?;
        ensure!(lease["spec"]["holderIdentity"] == "uid-of-nat-0", "{lease}");
        let refused = row(&appliance, "203.0.113.300/32")?;
        ensure!(refused["reason"].to_string().contains("is no address"), "{refused}");
        let held = row(&appliance, "203.0.113.10")?;
        ensure!(held["state"] == "held" && held["route"] == "edge" && held["network"] == "wan");

        let let_go = Stopwatch::start();
        routes.name(&[]);
        appliance.wait_for_line("203.0.113.10 let go of, by route `edge`")?;
        println!("let go of after {:?}", let_go.elapsed());
        let silent = Capture::start(&lab.server, "eth0")?;
        ensure!(!session.passes()?, "nobody is named");
        routes.wait_for_lease(&[])?;
        ensure!(silent.stop()?.packets_from(POOL).is_empty());
        end(&routes, appliance)
    });
}

/// The same session goes on if nobody else had the address, and ends if somebody had.
#[test]
fn sessions_wait_for_their_address_but_not_for_what_another_pod_left() {
    isolated("sessions_wait_for_their_address_but_not_for_what_another_pod_left", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        let session = Session::open(&lab)?;
        ensure!(session.passes()?);
        let first = sessions_created(&appliance)?;
        for pods in [&[] as &[&str], &["nat-0"]] {
            routes.name(pods);
            appliance.wait_for_line(if pods.is_empty() { "let go of" } else { "taken up" })?;
        }
        ensure!(session.passes()?);
        ensure!(sessions_created(&appliance)? == first, "the session has waited");
        // So fast that the address may be back before it was let go of.
        for pods in [&[] as &[&str], &["nat-1"], &[], &["nat-0"]] {
            routes.name(pods);
        }
        wait_for("another session", LIMIT, || {
            session.passes()?;
            Ok((sessions_created(&appliance)? == first + 1).then_some(()))
        })?;
        ensure!(session.passes()?);
        end(&routes, appliance)
    });
}

#[test]
fn a_pod_that_ends_forwards_until_another_is_named() {
    isolated("a_pod_that_ends_forwards_until_another_is_named", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        let session = Session::open(&lab)?;
        ensure!(session.passes()?);
        ensure!(probe(&lab, "readyz")? == "ready\n");
        let ending = thread::spawn(move || appliance.stop());
        wait_for("an end of readiness", LIMIT, || {
            Ok(probe(&lab, "readyz").is_err().then_some(()))
        })?;
        ensure!(probe(&lab, "healthz")? == "ok\n");
        ensure!(session.passes()?, "it forwards on");
        let unnamed = Stopwatch::start();
        routes.name(&["nat-1"]);
        ending.join().expect("no panic")?;
        ensure!(unnamed.elapsed() < Duration::from_secs(10), "{:?}", unnamed.elapsed());
        // Of the last report: nothing is held any more.
        routes.wait_for_lease(&[]).map(drop)
    });
}

/// Nobody else is named: the address stays its own, and it forwards for it, until it ends all the same.
#[test]
fn a_pod_that_nobody_relieves_forwards_for_20_seconds_and_ends_well() {
    isolated("a_pod_that_nobody_relieves_forwards_for_20_seconds_and_ends_well", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        let session = Session::open(&lab)?;
        ensure!(session.passes()?);
        let asked = Stopwatch::start();
        appliance.ask_to_stop()?;
        while appliance.is_running()? {
            let since = asked.elapsed();
            let passes = session.passes()?;
            ensure!(passes || asked.elapsed() >= Duration::from_secs(20), "not after {since:?}");
            ensure!(since < Duration::from_secs(30), "it does not end");
            thread::sleep(Duration::from_millis(50));
        }
        ensure!(asked.elapsed() >= Duration::from_secs(20), "ended after {:?}", asked.elapsed());
        let exit = appliance.ended()?;
        ensure!(exit.code == Some(0), "{:?}: {}", exit.code, exit.stderr);
        // Of the last report: nothing is held any more.
        routes.wait_for_lease(&[]).map(drop)
    });
}

/// What is not its own any more it must not use: an agent that cannot let go ends, and so holds nothing.
#[test]
fn an_agent_that_cannot_let_go_of_an_address_ends() {
    isolated("an_agent_that_cannot_let_go_of_an_address_ends", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        let session = Session::open(&lab)?;
        ensure!(session.passes()?);
        // It cannot ask the kernel any more what that would do beside another policy.
        appliance.starve()?;
        routes.name(&["nat-1"]);
        let exit = appliance.ended()?;
        ensure!(exit.code == Some(1), "{:?}: {}", exit.code, exit.stderr);
        let said = "cannot let go of addresses that are not ours any more: cannot tell whether";
        ensure!(exit.stderr.contains(said), "{}", exit.stderr);
        let silent = Capture::start(&lab.server, "eth0")?;
        ensure!(!session.passes()?);
        ensure!(silent.stop()?.carrying(&[POOL]).is_empty());
        Ok(())
    });
}

/// One of two workers stands still: what it might still send nobody says to be free. The kubelet starts the
/// agent again.
#[test]
fn an_agent_whose_worker_does_not_let_go_of_an_address_ends() {
    isolated("an_agent_whose_worker_does_not_let_go_of_an_address_ends", || {
        let lab = Lab::new()?;
        let routes = Routes::start(&lab.gateway, agent::API.parse()?, &["203.0.113.10/32"])?;
        let config = agent::config().replace("workers = 1", "workers = 2");
        let mut appliance = agent::start(&lab, &config)?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        routes.wait_for_lease(&[("203.0.113.10", "held")])?;
        appliance.stop_thread("worker-1")?;
        let asked = Stopwatch::start();
        routes.name(&["nat-1"]);
        let exit = appliance.ended()?;
        println!("ended after {:?}", asked.elapsed());
        ensure!(exit.code == Some(1), "{:?}: {}", exit.code, exit.stderr);
        for said in ["worker 1 has not taken up", "without which 203.0.113.10 may still be used"] {
            ensure!(exit.stderr.contains(said), "{}", exit.stderr);
        }
        ensure!(!exit.stderr.contains("let go of"), "{}", exit.stderr);
        let leases = routes.other_leases();
        for lease in &leases {
            let addresses = lease["metadata"]["annotations"]["mooring.dev/addresses"].to_string();
            ensure!(addresses.contains("203.0.113.10"), "{leases:#?}");
        }
        ensure!(!leases.is_empty(), "it says that it lives, up to its end");
        Ok(())
    });
}

/// Without a pause between two holders the old one still answers when the new one announces itself.
#[test]
fn an_address_that_its_last_holder_lets_go_of_late_is_no_conflict() {
    isolated("an_address_that_its_last_holder_lets_go_of_late_is_no_conflict", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        let conflicts = |appliance: &Appliance| {
            let counters = appliance.show("counters")?;
            counters["workers"][0]["conflicts"].as_u64().context("no conflicts")
        };
        let in_time = (0..5).try_fold(false, |done, _| {
            if done {
                return Ok(true);
            }
            lab.server.ip("address add 203.0.113.10/32 dev eth0")?;
            let before = conflicts(&appliance)?;
            let moved = Stopwatch::start();
            routes.name(&["nat-0"]);
            wait_for("a contradiction", LIMIT, || {
                Ok((conflicts(&appliance)? > before).then_some(()))
            })?;
            lab.server.ip("address del 203.0.113.10/32 dev eth0")?;
            // On a busy machine it may have been too long for one that lets go.
            let in_time = moved.elapsed() < Duration::from_millis(800);
            while moved.elapsed() < Duration::from_secs(3) {
                let state = row(&appliance, "203.0.113.10")?["state"].clone();
                ensure!(!in_time || state == "held" || state == "claimed", "{state}");
                thread::sleep(Duration::from_millis(50));
            }
            routes.name(&[]);
            appliance.wait_for_line("let go of")?;
            anyhow::Ok(in_time)
        })?;
        ensure!(in_time, "never fast enough to see anything");
        // One who stays is one.
        lab.server.ip("address add 203.0.113.10/32 dev eth0")?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("uses our address 203.0.113.10 as well")?;
        ensure!(row(&appliance, "203.0.113.10")?["state"] == "conflict");
        end(&routes, appliance)
    });
}

#[test]
fn a_second_signal_ends_a_pod_at_once() {
    isolated("a_second_signal_ends_a_pod_at_once", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        appliance.ask_to_stop()?;
        wait_for("an end of readiness", LIMIT, || {
            Ok(probe(&lab, "readyz").is_err().then_some(()))
        })?;
        ensure!(appliance.is_running()?, "it has an address");
        let asked_again = Stopwatch::start();
        appliance.stop()?;
        ensure!(asked_again.elapsed() < Duration::from_secs(10), "{:?}", asked_again.elapsed());
        routes.wait_for_lease(&[]).map(drop)
    });
}

/// Ready means able to take over; who has been ready stays so without the API server.
#[test]
fn ready_when_the_routes_were_listed_and_for_ever() {
    isolated("ready_when_the_routes_were_listed_and_for_ever", || {
        let lab = Lab::new()?;
        let routes = Routes::start(&lab.gateway, agent::API.parse()?, &["203.0.113.10/32"])?;
        routes.fall();
        let mut appliance = agent::start(&lab, &agent::config())?;
        ensure!(probe(&lab, "readyz").is_err());
        ensure!(probe(&lab, "healthz")? == "ok\n");
        routes.rise();
        wait_for("readiness", LIMIT, || Ok(probe(&lab, "readyz").ok()))?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        let session = Session::open(&lab)?;
        routes.fall();
        appliance.wait_for_line("the API server answers 503 to a watch: down")?;
        for _ in 0..10 {
            ensure!(session.passes()?, "what is held is kept");
            thread::sleep(Duration::from_millis(100));
        }
        ensure!(probe(&lab, "readyz")? == "ready\n");
        routes.rise();
        appliance.wait_for_line("the API server answers again")?;
        routes.name(&[]);
        appliance.wait_for_line("let go of")?;
        end(&routes, appliance)
    });
}

/// Without the API server an address is left to whoever uses it, until the routes say otherwise.
#[test]
fn out_of_contact_an_address_is_left_to_who_uses_it() {
    isolated("out_of_contact_an_address_is_left_to_who_uses_it", || {
        let (lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        routes.wait_for_lease(&[("203.0.113.10", "held")])?;
        routes.fall();
        appliance.wait_for_line("the API server answers 503")?;
        lab.server.ip("address add 203.0.113.10/32 dev eth0")?;
        lab.server.tool("arping", &["-U", "-c", "1", "-I", "eth0", "203.0.113.10"])?;
        appliance.wait_for_line("203.0.113.10 let go of")?;
        let row = row(&appliance, "203.0.113.10")?;
        ensure!(row["reason"].to_string().contains("another host uses the address"), "{row}");
        lab.server.ip("address del 203.0.113.10/32 dev eth0")?;
        routes.rise();
        appliance.wait_for_line("203.0.113.10 taken up")?;
        end(&routes, appliance)
    });
}

/// A ConfigMap arrives by another link in its folder; the agent is told by nobody.
#[test]
fn a_mounted_configuration_is_reloaded_when_it_is_replaced() {
    isolated("a_mounted_configuration_is_reloaded_when_it_is_replaced", || {
        let (_lab, routes, mut appliance) = begin(&["203.0.113.10/32"])?;
        appliance.replace_file(
            &agent::config().table("[limits]\nsessions_per_source = 7").to_string(),
        )?;
        appliance.wait_for_line("reloaded generation")?;
        appliance.replace_file("nonsense")?;
        appliance.wait_for_line("reload refused")?;
        end(&routes, appliance)
    });
}

/// Which network a device is on may become known late.
#[test]
fn the_networks_of_the_annotations_are_followed() {
    isolated("the_networks_of_the_annotations_are_followed", || {
        let lab = Lab::new()?;
        let routes = Routes::start(&lab.gateway, agent::API.parse()?, &["203.0.113.10/32"])?;
        routes.name(&["nat-0"]);
        let config = agent::config().replace("network = \"wan\"\n", "");
        let mut appliance = agent::start(&lab, &config)?;
        let refused = wait_for("a refusal", LIMIT, || {
            let row = row(&appliance, "203.0.113.10")?;
            Ok(row["reason"].as_str().map(str::to_owned))
        })?;
        ensure!(refused.contains("not on the network `wan`"), "{refused}");
        let annotation =
            r#"networking.gke.io/interfaces="[{\"interfaceName\":\"out0\",\"network\":\"wan\"}]""#;
        fs::write(format!("{}/annotations", agent::PODINFO), format!("{annotation}\n"))?;
        appliance.wait_for_line("203.0.113.10 taken up")?;
        end(&routes, appliance)
    });
}

/// Events are on the route; what cannot be is refused by them.
#[test]
fn what_becomes_of_an_address_is_told_by_events_of_its_route() {
    isolated("what_becomes_of_an_address_is_told_by_events_of_its_route", || {
        let (_lab, routes, mut appliance) = begin(&["203.0.113.10/32", "198.51.100.77/32"])?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("taken up")?;
        // One after the other, in the order in which they are told.
        let taken = routes.wait_for_event("AddressTakenUp", "203.0.113.10")?;
        let refused = routes.wait_for_event("AddressRefused", "198.51.100.77")?;
        for event in [taken, refused] {
            ensure!(event["regarding"]["kind"] == "GKEIPRoute", "{event}");
            ensure!(event["regarding"]["uid"] == "uid-of-edge", "{event}");
        }
        end(&routes, appliance)
    });
}

/// One address of one route that the Pod's kernel answers for itself is not taken up, with a reason, and
/// all others are; it is as soon as the kernel lets go of it, whatever was refused meanwhile, and left when
/// the kernel takes it back.
#[test]
fn what_the_kernel_holds_itself_stands_in_the_way_of_nothing_else() {
    isolated("what_the_kernel_holds_itself_stands_in_the_way_of_nothing_else", || {
        let lab = Lab::new()?;
        let addresses = ["203.0.113.10/32", "203.0.113.11/32"];
        let routes = Routes::start(&lab.gateway, agent::API.parse()?, &addresses)?;
        lab.gateway.ip("address add 203.0.113.11/32 dev lo")?;
        // With NET_ADMIN the kernel would be kept from it.
        let without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
        let config = agent::config().replace(
            "addresses = [\"203.0.113.10/32\"]",
            "addresses_from = { routes = \"all\", network = \"wan\" }",
        );
        let mut appliance = agent::start_limited(&lab, &config, &without)?;
        routes.name(&["nat-0"]);
        appliance.wait_for_line("203.0.113.10 taken up")?;
        let session = Session::open(&lab)?;
        ensure!(session.passes()?);
        let held = "the kernel holds 203.0.113.11/32 itself, on device `lo`: take it off";
        let refused = |appliance: &Appliance| {
            let row = row(appliance, "203.0.113.11")?;
            let reason = row["reason"].as_str().unwrap_or_default();
            ensure!(reason.starts_with(held), "{row}");
            anyhow::Ok(())
        };
        refused(&appliance)?;
        routes.wait_for_event("AddressRefused", "on device `lo`")?;
        appliance.reload("nonsense")?;
        appliance.wait_for_line("reload refused")?;
        refused(&appliance)?;
        lab.gateway.ip("address del 203.0.113.11/32 dev lo")?;
        routes.wait_for_lease(&[("203.0.113.10", "held"), ("203.0.113.11", "held")])?;
        lab.gateway.ip("address add 203.0.113.11/32 dev lo")?;
        routes.wait_for_lease(&[("203.0.113.10", "held")])?;
        refused(&appliance)?;
        ensure!(session.passes()?, "nothing of that concerns the other");
        end(&routes, appliance)
    });
}

#[test]
fn a_pod_that_is_not_told_who_it_is_does_not_start() {
    isolated("a_pod_that_is_not_told_who_it_is_does_not_start", || {
        let lab = Lab::new()?;
        let exit =
            Appliance::refused(&lab.gateway, "run", &agent::config(), &["env", "POD_NAME=nat-0"])?;
        ensure!(exit.code == Some(2), "{:?}: {}", exit.code, exit.stderr);
        ensure!(exit.stderr.contains("POD_NAMESPACE is not set"), "{}", exit.stderr);
        ensure!(exit.stderr.contains("fieldPath: metadata.namespace"), "{}", exit.stderr);
        let who = ["env", "POD_NAME=nat-0", "POD_NAMESPACE=nat", "POD_UID=u"];
        let exit = Appliance::refused(&lab.gateway, "run", &agent::config(), &who)?;
        ensure!(exit.code == Some(1), "{:?}: {}", exit.code, exit.stderr);
        ensure!(exit.stderr.contains("cannot find the Kubernetes API"), "{}", exit.stderr);
        Ok(())
    });
}

/// A lab, an API server, and the agent of the Pod `nat-0` that has listed its routes.
fn begin(addresses: &[&str]) -> Result<(Lab, Routes, Appliance)> {
    let lab = Lab::new()?;
    let routes = Routes::start(&lab.gateway, agent::API.parse()?, addresses)?;
    let appliance = agent::start(&lab, &agent::config())?;
    wait_for("readiness", LIMIT, || Ok(probe(&lab, "readyz").ok()))?;
    Ok((lab, routes, appliance))
}

/// An agent ends at once when nothing is given to it.
fn end(routes: &Routes, appliance: Appliance) -> Result<()> {
    routes.name(&[]);
    appliance.stop().map(drop)
}

/// What `show addresses` says of one.
fn row(appliance: &Appliance, address: &str) -> Result<serde_json::Value> {
    let rows = appliance.show("addresses")?;
    let found = rows.as_array().into_iter().flatten().find(|row| row["address"] == address);
    Ok(found.cloned().unwrap_or_default())
}

fn sessions_created(appliance: &Appliance) -> Result<u64> {
    let counters = appliance.show("counters")?;
    let created = counters["workers"][0]["sessions_created"].as_u64();
    created.with_context(|| format!("no sessions_created: {counters}"))
}

fn probe(lab: &Lab, path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:9465/{path}");
    lab.gateway.output("curl", &["--silent", "--show-error", "--fail", "--max-time", "10", &url])
}

/// A client's UDP socket and the echo that it speaks to.
struct Session {
    client: UdpSocket,
    echo: UdpEcho,
}

impl Session {
    fn open(lab: &Lab) -> Result<Self> {
        let echo = UdpEcho::start(&lab.server, SocketAddr::new(SERVER.into(), 7_000))?;
        let client = lab.client.udp(SocketAddr::new(CLIENT.into(), 5_000))?;
        client.connect(SocketAddr::new(SERVER.into(), 7_000))?;
        client.set_read_timeout(Some(SHORT))?;
        Ok(Self { client, echo })
    }

    /// Whether a datagram is answered. Errors that come back are no answers.
    fn passes(&self) -> Result<bool> {
        for _ in 0..2 {
            if self.client.send(b"ping").is_ok() && receive(&self.client).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn seen_from(&self) -> Result<IpAddr> {
        Ok(self.echo.next_source()?.ip())
    }
}

const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

const SHORT: Duration = Duration::from_millis(500);

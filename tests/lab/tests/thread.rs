//! The thin thread: ping, UDP and TCP of real kernel stacks through the appliance, offloads on.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mooring_lab::address::{
    CLIENT, FAR_SERVER, GATEWAY_INSIDE, GATEWAY_OUTSIDE, OTHER_CLIENT, POOL, SERVER, at,
};
use mooring_lab::isolation::SCRATCH;
use mooring_lab::peers::{
    Digest, ECHO_REQUEST, HttpServer, IcmpListener, Noise, Ping, TIME_EXCEEDED, UdpEcho, receive,
};
use mooring_lab::{Appliance, Capture, Config, Lab, isolated};
use serde_json::Value;

#[test]
fn ping_of_several_sizes_loses_nothing() {
    isolated("ping_of_several_sizes_loses_nothing", || {
        let (lab, appliance) = start()?;
        let listener = IcmpListener::start(&lab.server)?;
        let mut ping = Ping::new(&lab.client, CLIENT, SERVER)?;
        for size in [0, 1, 8, 56, 57, 512, 1400] {
            for round in 0..5 {
                ping.send(size).with_context(|| format!("{size} bytes, round {round}"))?;
            }
        }
        assert_eq!(listener.next(ECHO_REQUEST)?.source, POOL);
        appliance.stop().map(drop)
    });
}

#[test]
fn the_appliance_answers_ping_for_its_own_addresses() {
    isolated("the_appliance_answers_ping_for_its_own_addresses", || {
        let (lab, appliance) = start()?;
        Ping::new(&lab.client, CLIENT, GATEWAY_INSIDE)?.send(56)?;
        Ping::new(&lab.server, SERVER, GATEWAY_OUTSIDE)?.send(56)?;
        Ping::new(&lab.server, SERVER, POOL)?.send(56)?;
        appliance.stop().map(drop)
    });
}

#[test]
fn udp_is_echoed_and_comes_from_the_pool() {
    isolated("udp_is_echoed_and_comes_from_the_pool", || {
        let (lab, appliance) = start()?;
        let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.connect(at(SERVER, 7000))?;
        for size in [0, 1, 5, 1400, 1472] {
            let sent = noise(size);
            client.send(&sent)?;
            assert_eq!(receive(&client)?.0, sent, "{size} bytes come back whole");
            assert_from_pool(echo.next_source()?);
        }
        appliance.stop().map(drop)
    });
}

/// Neither end has resolved a neighbour yet: one datagram, sent once, arrives.
#[test]
fn the_first_packet_waits_for_its_neighbour() {
    isolated("the_first_packet_waits_for_its_neighbour", || {
        let (lab, appliance) = start()?;
        let echo = UdpEcho::start(&lab.server, at(FAR_SERVER, 7000))?;
        lab.client.udp(at(CLIENT, 5000))?.send_to(b"once", at(FAR_SERVER, 7000))?;
        assert_from_pool(echo.next_source()?);
        let neighbors = appliance.show("neighbors")?.to_string();
        assert!(neighbors.contains("192.0.2.2"), "the next hop of the route: {neighbors}");
        appliance.stop().map(drop)
    });
}

#[test]
fn curl_of_50_mb_is_whole_both_ways_with_offloads_on() {
    isolated("curl_of_50_mb_is_whole_both_ways_with_offloads_on", || {
        let (lab, appliance) = start()?;
        assert_offloads(&lab)?;
        let server = HttpServer::start(&lab.server, at(SERVER, 80))?;

        let file = format!("{SCRATCH}/download");
        curl(&lab, &["--output", &file, "http://192.0.2.2/bytes/50000000"])?;
        assert_eq!(Digest::of(File::open(&file)?)?, Digest::of_noise(50_000_000));
        assert_from_pool(server.next_client()?);

        let seen_by_server = curl(&lab, &["http://192.0.2.2/whoami"])?;
        assert_from_pool(seen_by_server.parse()?);

        let capture = Capture::start(&lab.server, "eth0")?;
        let answer = curl(&lab, &["--upload-file", &file, "http://192.0.2.2/"])?;
        assert_eq!(answer, Digest::of_noise(50_000_000).to_string());
        let longest = capture.stop()?.longest();
        assert!(longest > 1514, "super-packets pass whole: the longest frame had {longest} bytes");
        appliance.stop().map(drop)
    });
}

#[test]
fn two_hosts_may_use_the_same_source_port() {
    isolated("two_hosts_may_use_the_same_source_port", || {
        let (lab, appliance) = start()?;
        let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
        let one = lab.client.udp(at(CLIENT, 5000))?;
        let other = lab.client.udp(at(OTHER_CLIENT, 5000))?;
        one.send_to(b"one", at(SERVER, 7000))?;
        let source_of_one = echo.next_source()?;
        other.send_to(b"other", at(SERVER, 7000))?;
        let source_of_other = echo.next_source()?;
        assert_ne!(source_of_one, source_of_other);
        for (client, text) in [(&one, &b"one"[..]), (&other, &b"other"[..])] {
            assert_eq!(receive(client)?.0, text, "each host gets its own answer");
        }
        appliance.stop().map(drop)
    });
}

/// RFC 4787 §4.1 REQ-1: "A NAT MUST have an "Endpoint-Independent Mapping" behavior."
#[test]
fn one_inside_endpoint_keeps_one_outside_port() {
    isolated("one_inside_endpoint_keeps_one_outside_port", || {
        let (lab, appliance) = start()?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        let mut sources = Vec::new();
        for server in [at(SERVER, 7000), at(SERVER, 7001), at(FAR_SERVER, 7000)] {
            let echo = UdpEcho::start(&lab.server, server)?;
            client.send_to(b"hello", server)?;
            sources.push(echo.next_source()?);
        }
        assert!(sources.iter().all(|source| *source == sources[0]), "{sources:?}");
        appliance.stop().map(drop)
    });
}

/// RFC 4787 §5, address- and port-dependent filtering: only who was written to may write back.
#[test]
fn an_uninvited_sender_is_filtered_and_counted() {
    isolated("an_uninvited_sender_is_filtered_and_counted", || {
        let (lab, appliance) = start()?;
        let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.send_to(b"hello", at(SERVER, 7000))?;
        receive(&client)?;
        let mapped = echo.next_source()?;
        assert_eq!(appliance.drops("filtered")?, 0);

        for uninvited in [at(SERVER, 7001), at(FAR_SERVER, 7000)] {
            lab.server.udp(uninvited)?.send_to(b"uninvited", mapped)?;
        }
        echo.send(b"invited", mapped)?;
        assert_eq!(receive(&client)?, (b"invited".to_vec(), at(SERVER, 7000)));
        client.set_read_timeout(Some(Duration::from_millis(100)))?;
        let nothing = client.recv_from(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(ErrorKind::WouldBlock));
        assert_eq!(appliance.drops("filtered")?, 2);
        appliance.stop().map(drop)
    });
}

/// RFC 1812 §5.3.1: a packet whose TTL ends is answered with Time Exceeded.
#[test]
fn traceroute_finds_the_appliance() {
    isolated("traceroute_finds_the_appliance", || {
        let (lab, appliance) = start()?;
        let listener = IcmpListener::start(&lab.client)?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.set_ttl(1)?;
        client.send_to(b"probe", at(SERVER, 33434))?;
        let error = listener.next(TIME_EXCEEDED)?;
        assert_eq!((error.source, error.kind), (GATEWAY_INSIDE, (TIME_EXCEEDED, 0)));
        assert_eq!(error.quoted()?, (at(CLIENT, 5000), at(SERVER, 33434)));
        assert_eq!(appliance.drops("ttl_expired")?, 1);
        appliance.stop().map(drop)
    });
}

/// RFC 5508 §4.2: the quoted packet is translated back, so the client's socket recognises it.
#[test]
fn a_closed_port_refuses_the_clients_socket() {
    isolated("a_closed_port_refuses_the_clients_socket", || {
        let (lab, appliance) = start()?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.connect(at(SERVER, 9))?;
        client.send(b"anyone?")?;
        let answer = client.recv(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(answer, Err(ErrorKind::ConnectionRefused));
        appliance.stop().map(drop)
    });
}

#[test]
fn show_has_the_fields_of_its_contract() {
    isolated("show_has_the_fields_of_its_contract", || {
        let (lab, appliance) = start()?;
        let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.send_to(b"hello", at(SERVER, 7000))?;
        receive(&client)?;
        let mapped = echo.next_source()?;
        Ping::new(&lab.client, CLIENT, SERVER)?.send(56)?;

        let sessions = appliance.show("sessions")?;
        assert_eq!(sessions.as_array().map(Vec::len), Some(2), "{sessions}");
        assert_session(of_protocol(&sessions, "udp")?, mapped);
        let icmp = of_protocol(&sessions, "icmp")?;
        assert_eq!(icmp["remote"]["port"], 0, "an echo has no remote identifier: {icmp}");

        assert_drops(&appliance.show("drops")?);
        let counters = appliance.show("counters")?.to_string();
        for name in ["generation", "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_lost"] {
            assert!(counters.contains(&format!("\"{name}\":")), "{name} in {counters}");
        }
        let interfaces = appliance.show("interfaces")?;
        for part in ["inside", "outside", "in0", "out0"] {
            assert!(interfaces.to_string().contains(&format!("\"{part}\"")), "{interfaces}");
        }
        for interface in interfaces.as_array().into_iter().flatten() {
            let abilities = ["partial_checksum", "tcp_segmentation", "udp_segmentation"];
            assert_eq!(interface["abilities"], serde_json::json!(abilities), "{interface}");
        }
        assert!(interfaces.is_array() && appliance.show("neighbors")?.is_array());
        for what in ["sessions", "drops", "counters", "interfaces", "neighbors"] {
            assert!(!appliance.show_text(&[what])?.trim().is_empty(), "show {what} for people");
        }
        appliance.stop().map(drop)
    });
}

fn start() -> Result<(Lab, Appliance)> {
    let lab = Lab::new()?;
    let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
    Ok((lab, appliance))
}

fn assert_from_pool(source: SocketAddr) {
    assert_eq!(source.ip(), POOL);
    assert!(source.port() >= 1024, "{source} is outside of the pool's ports");
}

fn assert_offloads(lab: &Lab) -> Result<()> {
    for (namespace, device) in [
        (&lab.client, "eth0"),
        (&lab.gateway, "in0"),
        (&lab.gateway, "out0"),
        (&lab.server, "eth0"),
    ] {
        let features = namespace.output("ethtool", &["-k", device])?;
        for feature in ["tx-checksumming", "tcp-segmentation-offload", "scatter-gather"] {
            ensure!(features.contains(&format!("{feature}: on")), "{device}: {features}");
        }
    }
    Ok(())
}

fn curl(lab: &Lab, arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--silent", "--show-error", "--fail", "--max-time", "60"];
    all.extend(arguments);
    lab.client.output("curl", &all)
}

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Noise::default().read_exact(&mut bytes).expect("noise is endless");
    bytes
}

fn of_protocol<'a>(sessions: &'a Value, protocol: &str) -> Result<&'a Value> {
    let mut all = sessions.as_array().into_iter().flatten();
    all.find(|session| session["protocol"] == protocol)
        .with_context(|| format!("no {protocol} session in {sessions}"))
}

fn assert_session(session: &Value, mapped: SocketAddr) {
    for (end, address) in
        [("inside", at(CLIENT, 5000)), ("outside", mapped), ("remote", at(SERVER, 7000))]
    {
        assert_eq!(session[end]["address"], address.ip().to_string(), "{end} of {session}");
        assert_eq!(session[end]["port"], address.port(), "{end} of {session}");
    }
    assert_eq!((&session["state"], &session["rule"]), (&"established".into(), &"egress".into()));
    for number in ["worker", "age_ms", "idle_ms", "expires_ms"] {
        assert!(session[number].is_u64(), "{number} of {session}");
    }
    for direction in ["forward", "reverse"] {
        assert_eq!(session[direction]["packets"], 1, "{direction} of {session}");
        assert!(session[direction]["bytes"].is_u64(), "{direction} of {session}");
    }
}

fn assert_drops(drops: &Value) {
    for reason in [
        "no_rule",
        "no_session",
        "filtered",
        "rule_drop",
        "address_not_held",
        "pool_empty",
        "ports_exhausted",
        "table_full",
        "source_limit",
        "pool_limit",
        "ttl_expired",
        "too_big",
        "malformed",
        "bad_checksum",
        "fragment_limit",
        "fragment_overlap",
        "neighbor_unresolved",
        "not_for_us",
    ] {
        assert!(drops[reason].is_u64(), "{reason} is listed, zeros too: {drops}");
    }
}

//! The backend `af_xdp`: what it takes past the kernel and what it leaves to it, what is left of it on a
//! device, and what happens where it cannot be had.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use mooring_lab::address::{CLIENT, INSIDE, OTHER_CLIENT, SERVER, at};
use mooring_lab::clock::{LIMIT, wait_for};
use mooring_lab::peers::{Digest, HttpServer, Ping, UdpEcho, download, receive};
use mooring_lab::{Appliance, Capture, Config, KernelAddresses, Lab, Topology, isolated};
use serde_json::Value;

/// The kernel is set to forward what it sees, and nothing keeps it from that: so it has seen nothing that
/// was to be translated. By packet sockets the same packets leak.
#[test]
fn what_is_to_be_translated_is_never_seen_by_a_forwarding_kernel() {
    isolated("what_is_to_be_translated_is_never_seen_by_a_forwarding_kernel", || {
        let config = Config::nat44().appliance("allow_kernel_forwarding = true");
        ensure!(leaked(&config)? > 0, "the kernel of this lab does not forward");
        ensure!(leaked(&config.by_af_xdp())? == 0, "the kernel forwarded");
        Ok(())
    });
}

/// Frames with an inside address on the outside link, while packets are translated.
fn leaked(config: &Config) -> Result<usize> {
    let lab = Lab::pod_like(KernelAddresses::Beside)?;
    let appliance = Appliance::start(&lab.gateway, config)?;
    let capture = Capture::start(&lab.server, "eth0")?;
    let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
    let client = lab.client.udp(at(CLIENT, 5000))?;
    for _ in 0..20 {
        client.send_to(b"hello", at(SERVER, 7000))?;
        receive(&client)?;
    }
    ensure!(echo.has_seen_any(), "nothing arrived");
    let mut ping = Ping::new(&lab.client, CLIENT, SERVER)?;
    (0..5).try_for_each(|_| ping.send(56).map(drop))?;
    let leaks = capture.stop()?.carrying(&INSIDE).len();
    appliance.stop()?;
    Ok(leaks)
}

/// TCP, ping and UDP with the gateway's own kernel, which has addresses beside the appliance's.
#[test]
fn the_kernel_beside_af_xdp_keeps_its_own_addresses() {
    isolated("the_kernel_beside_af_xdp_keeps_its_own_addresses", || {
        let beside = KernelAddresses::Beside;
        let lab = Lab::with(Topology { kernel_addresses: beside, kernel_forwards: false })?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().by_af_xdp())?;
        Ping::new(&lab.client, CLIENT, KERNEL_INSIDE)?.send(56)?;
        HttpServer::start(&lab.gateway, at(KERNEL_INSIDE, 8080))?;
        let got = download(&lab.client, at(KERNEL_INSIDE, 8080), MEGABYTE)?;
        ensure!(got.digest == Digest::of_noise(MEGABYTE), "another file");
        let _echo = UdpEcho::start(&lab.gateway, at(KERNEL_OUTSIDE, 7000))?;
        let client = lab.client.udp(at(CLIENT, 5000))?;
        client.send_to(b"hello", at(KERNEL_OUTSIDE, 7000))?;
        ensure!(receive(&client)?.1 == at(KERNEL_OUTSIDE, 7000), "somebody else answered");
        appliance.stop().map(drop)
    });
}

#[test]
fn an_address_that_the_kernel_takes_later_is_left_to_it_by_af_xdp() {
    isolated("an_address_that_the_kernel_takes_later_is_left_to_it_by_af_xdp", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().by_af_xdp())?;
        lab.gateway.ip("address add 10.0.0.3/24 dev in0")?;
        wait_for("the kernel to answer a ping", LIMIT, || {
            let answer = lab.client.tool("ping", &["-c1", "-W1", "10.0.0.3"]);
            Ok(answer.is_ok().then_some(()))
        })?;
        appliance.stop().map(drop)
    });
}

/// Also by SIGKILL: the link of the program is the process's.
#[test]
fn the_steering_program_goes_with_its_process() {
    isolated("the_steering_program_goes_with_its_process", || {
        let lab = Lab::new()?;
        let config = Config::nat44().by_af_xdp();
        for killed in [false, true] {
            let appliance = Appliance::start(&lab.gateway, &config)?;
            let with = lab.gateway.output("ip", &["link", "show", "in0"])?;
            ensure!(with.contains("prog/xdp") && with.contains("name mooring"), "{with}");
            if killed {
                appliance.kill()?;
            } else {
                appliance.stop()?;
            }
            wait_for("the program to be gone", LIMIT, || {
                let without = lab.gateway.output("ip", &["link", "show", "in0"])?;
                Ok((!without.contains("xdp")).then_some(()))
            })?;
        }
        Ok(())
    });
}

#[test]
fn interfaces_show_the_mode_of_af_xdp() {
    isolated("interfaces_show_the_mode_of_af_xdp", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().by_af_xdp())?;
        Ping::new(&lab.client, CLIENT, SERVER)?.send(56)?;
        for interface in interfaces(&appliance)? {
            ensure!(interface["backend"] == "af_xdp" && interface["mode"] == "copy", "{interface}");
            ensure!(interface["rings"]["receive"] == 4096, "{interface}");
            ensure!(interface["queues"] == 1 && interface["instead_of"].is_null(), "{interface}");
        }
        appliance.stop().map(drop)
    });
}

#[test]
fn a_second_instance_by_af_xdp_leaves_the_devices_of_the_first_alone() {
    isolated("a_second_instance_by_af_xdp_leaves_the_devices_of_the_first_alone", || {
        let lab = Lab::new()?;
        let first = Appliance::start(&lab.gateway, &Config::nat44())?;
        let other = "control_socket = \"/run/second.sock\"";
        let config = Config::nat44().by_af_xdp().appliance(other);
        let second = Appliance::refused(&lab.gateway, "run", &config, &[])?;
        let said = second.stderr;
        ensure!(second.code == Some(1) && said.contains("another instance uses"), "{said}");
        ensure!(!said.contains("instead of"), "{said}");
        Ping::new(&lab.client, CLIENT, SERVER)?.send(56)?;
        first.stop().map(drop)
    });
}

/// A device has one queue here, unless it is told otherwise: one worker gets all frames and gives the other
/// what is its own.
#[test]
fn a_worker_without_a_queue_is_given_its_packets() {
    isolated("a_worker_without_a_queue_is_given_its_packets", || two_workers(&Lab::new()?, 1));
}

#[test]
fn each_queue_of_a_device_has_a_socket() {
    isolated("each_queue_of_a_device_has_a_socket", || {
        let lab = Lab::new()?;
        for (namespace, device) in [
            (&lab.gateway, "in0"),
            (&lab.gateway, "out0"),
            (&lab.client, "eth0"),
            (&lab.server, "eth0"),
        ] {
            namespace.output("ethtool", &["-L", device, "rx", "2", "tx", "2"])?;
        }
        two_workers(&lab, 2)
    });
}

/// Long ones are copied on their way to the other worker, and again when they leave from there.
#[test]
fn a_worker_without_a_queue_is_given_long_packets() {
    isolated("a_worker_without_a_queue_is_given_long_packets", || {
        let lab = Lab::new()?;
        lab.gateway.ip("link set in0 mtu 9000\nlink set out0 mtu 9000")?;
        lab.client.ip("link set eth0 mtu 9000")?;
        lab.server.ip("link set eth0 mtu 9000")?;
        let capture = Capture::start(&lab.client, "eth0")?;
        two_workers(&lab, 1)?;
        let longest = capture.stop()?.longest();
        ensure!(longest == 9014, "{longest} bytes at most");
        Ok(())
    });
}

fn two_workers(lab: &Lab, queues: u64) -> Result<()> {
    let config = Config::nat44().replace("workers = 1", "workers = 2").by_af_xdp();
    let appliance = Appliance::start(&lab.gateway, &config)?;
    for interface in interfaces(&appliance)? {
        ensure!(interface["backend"] == "af_xdp" && interface["queues"] == queues, "{interface}");
    }
    let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
    for port in 5000..5030 {
        let client = lab.client.udp(at(if port % 2 == 0 { CLIENT } else { OTHER_CLIENT }, port))?;
        client.send_to(b"hello", at(SERVER, 7000))?;
        receive(&client)?;
    }
    ensure!(echo.has_seen_any(), "nothing arrived");
    HttpServer::start(&lab.server, at(SERVER, 80))?;
    let got = download(&lab.client, at(SERVER, 80), MEGABYTE)?;
    ensure!(got.digest == Digest::of_noise(MEGABYTE), "another file");
    let counters = appliance.show("counters")?;
    let workers = counters["workers"].as_array().context("workers")?;
    let idle = workers.iter().filter(|worker| worker["tx_packets"] == 0).count();
    ensure!(idle == 0 && workers.len() == 2, "each sends what is its own: {counters}");
    appliance.stop().map(drop)
}

#[test]
fn packet_sockets_serve_where_there_is_no_right_to_bpf() {
    isolated("packet_sockets_serve_where_there_is_no_right_to_bpf", || {
        let without = "-bpf,-sys_admin";
        let limited = ["setpriv", "--bounding-set", without, "--inh-caps", without];
        falls_back(&Lab::new()?, &limited, "CAP_BPF")
    });
}

#[test]
fn packet_sockets_serve_where_too_little_memory_can_be_locked() {
    isolated("packet_sockets_serve_where_too_little_memory_can_be_locked", || {
        let without = "-ipc_lock";
        let limited = [
            "prlimit",
            "--memlock=65536",
            "setpriv",
            "--bounding-set",
            without,
            "--inh-caps",
            without,
        ];
        falls_back(&Lab::new()?, &limited, "RLIMIT_MEMLOCK")
    });
}

#[test]
fn packet_sockets_serve_where_packets_are_longer_than_any_buffer() {
    isolated("packet_sockets_serve_where_packets_are_longer_than_any_buffer", || {
        let lab = Lab::new()?;
        lab.gateway.ip("link set in0 mtu 16000\nlink set out0 mtu 16000")?;
        falls_back(&lab, &[], "16000")
    });
}

/// It says why, it shows why, and it carries packets all the same.
fn falls_back(lab: &Lab, limited: &[&str], why: &str) -> Result<()> {
    let config = Config::nat44().by_af_xdp();
    let appliance = Appliance::start_limited(&lab.gateway, &config, limited)?;
    Ping::new(&lab.client, CLIENT, SERVER)?.send(56)?;
    for interface in interfaces(&appliance)? {
        ensure!(interface["backend"] == "af_packet", "{interface}");
        ensure!(interface["instead_of"] == "af_xdp", "{interface}");
        let reason = interface["reason"].as_str().context("a reason")?;
        ensure!(reason.contains(why), "{reason}");
    }
    let said = appliance.stop()?;
    ensure!(said.contains("af_packet instead of af_xdp") && said.contains(why), "{said}");
    Ok(())
}

fn interfaces(appliance: &Appliance) -> Result<Vec<Value>> {
    let shown = appliance.show("interfaces")?;
    let interfaces = shown.as_array().context("one array")?.clone();
    ensure!(interfaces.len() == 2, "{shown}");
    Ok(interfaces)
}

const MEGABYTE: u64 = 1_000_000;
/// Of the gateway's kernel, beside the appliance's.
const KERNEL_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const KERNEL_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

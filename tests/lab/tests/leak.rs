//! No frame with an inside address ever reaches the outside link: captured on the peer's end from
//! before the appliance starts to after it has stopped.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use mooring_lab::address::{CLIENT, INSIDE, POOL, SERVER, at};
use mooring_lab::clock::{LIMIT, Stopwatch, wait_for};
use mooring_lab::peers::{Digest, HttpServer, Ping, UdpEcho, download, receive};
use mooring_lab::{
    Appliance, Capture, Config, Frame, Frames, KernelAddresses, Lab, Topology, isolated,
};

#[test]
fn nothing_leaks() {
    isolated("nothing_leaks", || assert_tight(&Lab::new()?));
}

#[test]
fn nothing_leaks_beside_a_forwarding_kernel() {
    isolated("nothing_leaks_beside_a_forwarding_kernel", || {
        assert_tight(&Lab::pod_like(KernelAddresses::Beside)?)
    });
}

#[test]
fn nothing_leaks_where_the_kernel_has_the_same_addresses() {
    isolated("nothing_leaks_where_the_kernel_has_the_same_addresses", || {
        assert_tight(&Lab::pod_like(KernelAddresses::Same)?)
    });
}

/// The control: the same traffic with a planted `bypass` rule must set the detector off.
#[test]
fn a_planted_bypass_rule_is_found() {
    isolated("a_planted_bypass_rule_is_found", || {
        let lab = Lab::new()?;
        let bypass = "name = \"planted\"\nkind = \"bypass\"\nfrom = \"inside\"\nto = \"outside\"\n\
                      protocol = \"udp\"";
        let capture = Capture::start(&lab.server, "eth0")?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44().first_rule(bypass))?;
        let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
        lab.client.udp(at(CLIENT, 5000))?.send_to(b"hello", at(SERVER, 7000))?;
        assert_eq!(echo.next_source()?, at(CLIENT, 5000), "routed, not translated");
        appliance.stop()?;
        assert!(!leaks(&capture.stop()?).is_empty());
        Ok(())
    });
}

/// Without the right to install an ingress drop the appliance must not run beside such a kernel.
#[test]
fn a_forwarding_kernel_is_refused_without_the_right_to_stop_it() {
    isolated("a_forwarding_kernel_is_refused_without_the_right_to_stop_it", || {
        let lab = Lab::pod_like(KernelAddresses::Beside)?;
        let refused = Appliance::refused(&lab.gateway, "run", &Config::nat44(), NO_NET_ADMIN)?;
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("forward"), "says why: {}", refused.stderr);
        assert!(refused.stderr.contains("allow_kernel_forwarding"), "a way: {}", refused.stderr);
        assert!(!Appliance::control_socket().exists());

        let allowed = Config::nat44().appliance("allow_kernel_forwarding = true");
        Appliance::start_limited(&lab.gateway, &allowed, NO_NET_ADMIN)?.stop().map(drop)
    });
}

/// Settings belong to others: forwarding is switched on while the appliance runs.
#[test]
fn forwarding_switched_on_later_is_stopped() {
    isolated("forwarding_switched_on_later_is_stopped", || {
        let lab = beside_a_kernel()?;
        let mut appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        let since = Stopwatch::start();
        switch_forwarding_on(&lab)?;
        appliance.wait_for_line("the kernel is kept out")?;
        assert!(since.elapsed() < TWICE_THE_PROMISE, "only after {:?}", since.elapsed());
        let capture = Capture::start(&lab.server, "eth0")?;
        exchange(&lab)?;
        // Before the end of the appliance: after it the kernel does what it is set to do.
        assert_translated(&capture.stop()?);
        appliance.stop().map(drop)
    });
}

/// The same without the right to stop the kernel: then the appliance does not run beside it.
#[test]
fn forwarding_switched_on_later_ends_the_appliance_without_that_right() {
    isolated("forwarding_switched_on_later_ends_the_appliance_without_that_right", || {
        let lab = beside_a_kernel()?;
        let limited = Appliance::start_limited(&lab.gateway, &Config::nat44(), NO_NET_ADMIN)?;
        switch_forwarding_on(&lab)?;
        let end = limited.ended()?;
        assert_eq!(end.code, Some(1), "{}", end.stderr);
        for word in ["net.ipv4.conf.in0.forwarding is on", "CAP_NET_ADMIN", "sysctl -w"] {
            assert!(end.stderr.contains(word), "says {word}: {}", end.stderr);
        }
        assert!(!Appliance::control_socket().exists());

        lab.gateway.sysctl("net/ipv4/ip_forward", "0")?;
        let allowed = Config::nat44().appliance("allow_kernel_forwarding = true");
        let mut allowed = Appliance::start_limited(&lab.gateway, &allowed, NO_NET_ADMIN)?;
        lab.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        allowed.wait_for_line("allow_kernel_forwarding is set although")?;
        allowed.stop().map(drop)
    });
}

/// `allow_kernel_forwarding` is taken back, but the right to keep the kernel out was given up at the start.
#[test]
fn a_reload_that_needs_a_right_which_was_given_up_asks_for_a_restart() {
    isolated("a_reload_that_needs_a_right_which_was_given_up_asks_for_a_restart", || {
        let lab = beside_a_kernel()?;
        let allowed = Config::nat44().appliance("allow_kernel_forwarding = true");
        let mut appliance = Appliance::start(&lab.gateway, &allowed)?;
        switch_forwarding_on(&lab)?;
        appliance.wait_for_line("allow_kernel_forwarding is set although")?;
        let told = "restart: CAP_NET_ADMIN was given up at the start";
        appliance.reload(&Config::nat44().to_string())?;
        for line in ["reload refused: the kernel would carry", told, "generation 1 stays"] {
            appliance.wait_for_line(line)?;
        }
        // A kernel that does not forward need not be kept out, until it does.
        lab.gateway.sysctl("net/ipv4/ip_forward", "0")?;
        appliance.reload(&Config::nat44().to_string())?;
        appliance.wait_for_line("reloaded generation")?;
        lab.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        let end = appliance.ended()?;
        assert_eq!(end.code, Some(1), "{}", end.stderr);
        assert!(end.stderr.contains(told), "{}", end.stderr);
        assert!(!end.stderr.contains("[NET_ADMIN]"), "no field of the Pod: {}", end.stderr);
        Ok(())
    });
}

/// The kernel answers for its own addresses; its peers hear nothing of ours about them.
#[test]
fn what_is_for_the_kernel_on_the_wire_is_left_to_it() {
    isolated("what_is_for_the_kernel_on_the_wire_is_left_to_it", || {
        let lab = Lab::pod_like(KernelAddresses::Beside)?;
        let outside = Capture::start(&lab.server, "eth0")?;
        let inside = Capture::start(&lab.client, "eth0")?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        talk_to_the_kernel(&lab)?;
        assert_eq!(appliance.show("sessions")?.as_array().map(Vec::len), Some(0));
        assert!(appliance.drops("kernel_address")? > 0);
        appliance.stop()?;
        let errors = inside.stop()?;
        let errors: Vec<&Frame> =
            errors.all().iter().filter(|frame| is_icmp_error(frame)).collect();
        assert_eq!(errors, Vec::<&Frame>::new());
        assert_eq!(outside.stop()?.carrying(&[KERNEL_OUTSIDE]), Vec::<&Frame>::new());
        Ok(())
    });
}

/// Addresses that the kernel takes and gives back while the appliance runs.
#[test]
fn addresses_of_the_kernel_may_change() {
    isolated("addresses_of_the_kernel_may_change", || {
        let lab = Lab::new()?;
        let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
        // A new flow each time: one that began before the change keeps its session.
        let knock = || {
            lab.client
                .udp(at(CLIENT, 0))?
                .send_to(b"knock", at(KERNEL_OUTSIDE, 9))
                .map_err(anyhow::Error::from)
        };
        lab.gateway.ip("address add 192.0.2.3/24 dev out0")?;
        wait_for("packets to be left to the kernel", LIMIT, || {
            knock()?;
            Ok((appliance.drops("kernel_address")? > 0).then_some(()))
        })?;
        lab.gateway.ip("address del 192.0.2.3/24 dev out0")?;
        let before = appliance.show("sessions")?.as_array().map(Vec::len);
        wait_for("the address to be nobody's", LIMIT, || {
            knock()?;
            let now = appliance.show("sessions")?.as_array().map(Vec::len);
            Ok((now > before).then_some(()))
        })?;
        appliance.stop().map(drop)
    });
}

/// What `run` installed it takes away again.
#[test]
fn the_ingress_drop_ends_with_the_appliance() {
    isolated("the_ingress_drop_ends_with_the_appliance", || {
        let lab = Lab::pod_like(KernelAddresses::Beside)?;
        let before = kernel_hooks(&lab)?;
        Appliance::start(&lab.gateway, &Config::nat44())?.stop()?;
        assert_eq!(kernel_hooks(&lab)?, before);
        Ok(())
    });
}

/// A refused second instance must not take the first one's ingress drop away.
#[test]
fn a_second_instance_leaves_the_ingress_drop_alone() {
    isolated("a_second_instance_leaves_the_ingress_drop_alone", || {
        let lab = Lab::pod_like(KernelAddresses::Beside)?;
        let first = Appliance::start(&lab.gateway, &Config::nat44())?;
        let hooks = kernel_hooks(&lab)?;
        let second = Appliance::refused(&lab.gateway, "run", &Config::nat44(), &[])?;
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        assert_eq!(kernel_hooks(&lab)?, hooks);
        first.stop().map(drop)
    });
}

/// The ingress drop goes with its instance, also by SIGKILL, and the next one installs its own.
#[test]
fn the_ingress_drop_of_a_killed_instance_goes_with_it() {
    isolated("the_ingress_drop_of_a_killed_instance_goes_with_it", || {
        let lab = Lab::pod_like(KernelAddresses::Same)?;
        let before = kernel_hooks(&lab)?;
        Appliance::start(&lab.gateway, &Config::nat44())?.kill()?;
        assert_tight(&lab)?;
        assert_eq!(kernel_hooks(&lab)?, before);
        Ok(())
    });
}

fn assert_tight(lab: &Lab) -> Result<()> {
    let capture = Capture::start(&lab.server, "eth0")?;
    let appliance = Appliance::start(&lab.gateway, &Config::nat44())?;
    exchange(lab)?;
    // Before the end of the appliance: after it the kernel does what it is set to do.
    assert_translated(&capture.stop()?);
    appliance.stop().map(drop)
}

fn assert_translated(frames: &Frames) {
    let translated = frames.packets_from(POOL).len();
    assert!(translated > 100, "only {translated} were translated");
    assert_eq!(leaks(frames), Vec::<&Frame>::new());
}

/// A gateway whose kernel has addresses of its own and forwards nothing yet.
fn beside_a_kernel() -> Result<Lab> {
    Lab::with(Topology { kernel_addresses: KernelAddresses::Beside, kernel_forwards: false })
}

fn switch_forwarding_on(lab: &Lab) -> Result<()> {
    lab.gateway.ip("route add default via 192.0.2.2 dev out0")?;
    lab.gateway.sysctl("net/ipv4/ip_forward", "1")
}

/// TCP, ping, and UDP in its last hop, from the client to an address of the gateway's kernel.
fn talk_to_the_kernel(lab: &Lab) -> Result<()> {
    HttpServer::start(&lab.gateway, at(KERNEL_OUTSIDE, 8080))?;
    let got = download(&lab.client, at(KERNEL_OUTSIDE, 8080), MEGABYTE)?;
    assert_eq!(got.digest, Digest::of_noise(MEGABYTE));
    Ping::new(&lab.client, CLIENT, KERNEL_OUTSIDE)?.send(56)?;
    let _echo = UdpEcho::start(&lab.gateway, at(KERNEL_OUTSIDE, 7000))?;
    let client = lab.client.udp(at(CLIENT, 5000))?;
    client.set_ttl(1)?;
    client.send_to(b"hello", at(KERNEL_OUTSIDE, 7000))?;
    assert_eq!(receive(&client)?.1, at(KERNEL_OUTSIDE, 7000));
    Ok(())
}

/// Destination Unreachable or Time Exceeded, in IPv4 without options.
fn is_icmp_error(frame: &Frame) -> bool {
    let bytes = &frame.bytes;
    bytes.get(12..14) == Some(&[8, 0])
        && bytes.get(23) == Some(&1)
        && matches!(bytes.get(34), Some(3 | 11))
}

/// Ping, UDP answered and refused, a download: over a hundred packets, with ICMP errors.
fn exchange(lab: &Lab) -> Result<()> {
    let mut ping = Ping::new(&lab.client, CLIENT, SERVER)?;
    let echo = UdpEcho::start(&lab.server, at(SERVER, 7000))?;
    let client = lab.client.udp(at(CLIENT, 5000))?;
    for _ in 0..50 {
        ping.send(56)?;
        client.send_to(b"hello", at(SERVER, 7000))?;
        receive(&client)?;
        assert_eq!(echo.next_source()?.ip(), POOL);
    }
    client.connect(at(SERVER, 9))?;
    client.send(b"refused")?;
    client.recv(&mut [0; 16]).expect_err("nobody listens there");

    HttpServer::start(&lab.server, at(SERVER, 80))?;
    let got = download(&lab.client, at(SERVER, 80), MEGABYTE)?;
    assert_eq!(got.digest, Digest::of_noise(MEGABYTE));
    Ok(())
}

fn leaks(frames: &Frames) -> Vec<&Frame> {
    frames.carrying(&INSIDE)
}

/// Packet filter rules and queueing disciplines of the gateway's kernel.
fn kernel_hooks(lab: &Lab) -> Result<String> {
    let rules = lab.gateway.output("nft", &["list", "ruleset"])?;
    let disciplines = lab.gateway.output("tc", &["qdisc", "show"])?;
    Ok(rules + &disciplines)
}

const MEGABYTE: u64 = 1_000_000;
/// Of the gateway's kernel, beside the appliance's on the outside link.
const KERNEL_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// A second is promised; as much again is for a busy machine.
const TWICE_THE_PROMISE: Duration = Duration::from_secs(2);
const NO_NET_ADMIN: &[&str] =
    &["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

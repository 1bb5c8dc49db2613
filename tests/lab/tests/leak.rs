//! No frame with an inside address ever reaches the outside link: captured on the peer's end from
//! before the appliance starts to after it has stopped.

use anyhow::Result;
use mooring_lab::address::{CLIENT, INSIDE, POOL, SERVER, at};
use mooring_lab::peers::{Digest, HttpServer, Ping, UdpEcho, download, receive};
use mooring_lab::{Appliance, Capture, Config, Frame, Frames, KernelAddresses, Lab, isolated};

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
    appliance.stop()?;
    let frames = capture.stop()?;
    assert!(frames.from_source(POOL) > 100, "only {} were translated", frames.from_source(POOL));
    assert_eq!(leaks(&frames), Vec::<&Frame>::new());
    Ok(())
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
const NO_NET_ADMIN: &[&str] =
    &["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];

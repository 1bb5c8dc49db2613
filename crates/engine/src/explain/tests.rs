use std::net::IpAddr;
use std::sync::Arc;

use etherparse::{IcmpEchoHeader, Icmpv6Type};
use mooring_packet::{Batch, BufferPool, Packet};
use mooring_policy::{Generation, InterfaceId, load};
use mooring_session::Tick;
use mooring_wire::{Mac, Protocol};

use super::{Asked, Outcome};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, HOST, INSIDE, OUR_OUTSIDE, OUTSIDE, POOL, SERVER, STRANGER, config_with, frames,
};
use crate::{DropReason, Engine, Link, Outbox, Verdict};

const CONFIG: &str = r#"
    interface = [
        { name = "inside", device = "in0", addresses = ["10.0.0.1/24"] },
        { name = "outside", device = "out0", addresses = ["192.0.2.1/24"] },
    ]
    route = [{ destination = "0.0.0.0/0", via = "192.0.2.2", interface = "outside" }]
    pool = [{ name = "egress", addresses = ["203.0.113.10/32"] }]
    limits = { sessions = 64 }

    [[rule]]
    name = "no-mail"
    kind = "drop"
    from = "inside"
    protocol = "tcp"
    destination_ports = "25"

    [[rule]]
    name = "egress"
    kind = "source-nat"
    from = "inside"
    to = "outside"
    pool = "egress"

    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    port = "8000-8099"
    target = "10.0.0.2:9000"
"#;

fn engine() -> Engine {
    let policy = load(CONFIG).expect("the configuration is valid").policy;
    let links = [1, 2].map(|n| Link { mac: Mac([2, 0, 0, 0, 0, n]), mtu: 1500 });
    Engine::new(Arc::new(policy), Generation(1), &links, [7; 32])
}

fn asked(ingress: u8, protocol: Protocol, from: (&str, u16), to: (&str, u16)) -> Asked {
    let address = |text: &str| text.parse().expect("an address");
    Asked {
        ingress: InterfaceId(ingress),
        protocol,
        source: address(from.0),
        source_port: from.1,
        destination: address(to.0),
        destination_port: to.1,
    }
}

fn text(engine: &Engine, asked: &Asked) -> String {
    let explanation = engine.explain(asked);
    let steps = explanation.steps.iter().map(|step| format!("{}: {}\n", step.about, step.found));
    format!("{}{}", steps.collect::<String>(), explanation.outcome)
}

#[test]
fn a_new_flow_is_told_rule_by_rule() {
    let asked = asked(0, Protocol::UDP, ("10.0.0.2", 5000), ("198.51.100.1", 53));
    let expected = "\
arrival: on `inside`
session: none yet
destination: 198.51.100.1 is not ours
route: 192.0.2.2 on `outside`
rule: line 10: `no-mail` does not match: another protocol
rule: line 17: `egress` matches
mapping: 10.0.0.2:5000 gets 203.0.113.10, a free port of 1024-65535
next hop: 192.0.2.2 on `outside`
forwarded by `outside` to 192.0.2.2 as 203.0.113.10 (port drawn when the session begins) -> 198.51.100.1 port 53";
    assert_eq!(text(&engine(), &asked), expected);
}

#[test]
fn a_drop_rule_and_a_missing_rule_name_their_reason() {
    let engine = engine();
    let mail = asked(0, Protocol::TCP, ("10.0.0.2", 5000), ("198.51.100.1", 25));
    assert_eq!(engine.explain(&mail).outcome, Outcome::Dropped(DropReason::RuleDrop));
    let inward = asked(1, Protocol::TCP, ("198.51.100.1", 5000), ("10.0.0.2", 25));
    assert_eq!(engine.explain(&inward).outcome, Outcome::Dropped(DropReason::NoRule));
    let closed = asked(1, Protocol::UDP, ("198.51.100.1", 5000), ("203.0.113.10", 25));
    assert_eq!(engine.explain(&closed).outcome, Outcome::Dropped(DropReason::NoSession));
}

#[test]
fn what_comes_in_is_told_its_target() {
    let web = asked(1, Protocol::TCP, ("198.51.100.1", 5000), ("203.0.113.10", 8003));
    let explanation = engine().explain(&web);
    let inside: IpAddr = [10, 0, 0, 2].into();
    let Outcome::Forwarded { rule, destination, source, .. } = &explanation.outcome else {
        panic!("it is forwarded: {explanation:?}");
    };
    assert_eq!((rule.as_str(), *destination), ("web", (inside, 9003)));
    assert_eq!(source.1, Some(5000));
}

#[test]
fn a_forwarded_port_is_held_by_its_target() {
    let outside: IpAddr = [203, 0, 113, 10].into();
    let holder = engine().explain_outside(outside, 8003, Protocol::TCP).outcome;
    assert_eq!(holder, Outcome::Local("held by 10.0.0.2:9003".to_owned()));
    let nobody = engine().explain_outside(outside, 7999, Protocol::TCP).outcome;
    assert_eq!(nobody, Outcome::Dropped(DropReason::NoSession));
}

#[test]
fn a_hairpin_is_told_both_halves() {
    let hairpin = asked(0, Protocol::TCP, ("10.0.0.4", 5000), ("203.0.113.10", 8003));
    let told = text(&engine(), &hairpin);
    assert!(told.contains("hairpin: the destination is ours"), "{told}");
    assert!(told.contains("`web` has the destination"), "{told}");
    assert!(told.ends_with("-> 10.0.0.2 port 9003"), "{told}");
}

#[test]
fn our_own_addresses_answer_pings_on_their_side_only() {
    let engine = engine();
    let ping = |ingress, to| asked(ingress, Protocol::ICMP, ("10.0.0.2", 7), (to, 0));
    let own = engine.explain(&ping(0, "10.0.0.1")).outcome;
    assert_eq!(own, Outcome::Local("ping is answered".to_owned()));
    let other_side = engine.explain(&ping(0, "192.0.2.1")).outcome;
    assert_eq!(other_side, Outcome::Dropped(DropReason::NoService));
}

/// Before and after a real packet: what was foreseen is what has happened.
#[test]
fn explaining_changes_nothing_and_agrees_with_the_walk() {
    let mut engine = engine();
    let flow = asked(0, Protocol::UDP, ("10.0.0.2", 5000), ("198.51.100.1", 53));
    let _ = engine.explain(&flow);
    assert_eq!(engine.occupancy().sessions, 0);
    let builder = etherparse::PacketBuilder::ethernet2([2, 9, 9, 9, 9, 9], [2, 0, 0, 0, 0, 1])
        .ipv4([10, 0, 0, 2], [198, 51, 100, 1], 64)
        .udp(5000, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").expect("a vector takes all");
    let len = frame.len();
    let mut batch = Batch::new();
    let packet = Packet::new(&mut frame, 0, len, mooring_packet::Offload::NONE);
    assert!(batch.push(packet).is_ok());
    let mut outbox = Outbox::new(BufferPool::new(64, 0));
    engine.process(Tick::ZERO, InterfaceId(0), &mut batch, &mut outbox);
    assert_eq!(engine.occupancy().sessions, 1);
    let told = text(&engine, &flow);
    assert!(
        told.contains("session: forward, inside 10.0.0.2:5000, outside 203.0.113.10:"),
        "{told}"
    );
    let Outcome::Forwarded { source: (address, Some(port)), .. } = engine.explain(&flow).outcome
    else {
        panic!("{told}");
    };
    let holder = engine.explain_outside(address, port, Protocol::UDP);
    assert_eq!(holder.outcome, Outcome::Local("held by 10.0.0.2:5000".to_owned()));
}

/// Every refusal and answer that addresses alone decide, told and done.
#[test]
fn what_is_told_of_our_addresses_is_what_the_walk_does() {
    const MORE: &str = r#"
        pool = [
            { name = "egress", addresses = ["203.0.113.10/32"], ping = false },
            { name = "spare", addresses = ["203.0.113.20/32"], ping = false },
        ]
        [[rule]]
        name = "egress"
        kind = "source-nat"
        from = "inside"
        to = "outside"
        pool = "egress"

        [[rule]]
        name = "web"
        kind = "port-forward"
        address = "203.0.113.30"
        port = "80"
        target = "10.0.0.2:9000"

        [[service]]
        name = "health"
        kind = "health"
        address = "10.0.0.1"
        port = 8080
    "#;
    let (links, _) = CONFIG.split_once("pool =").expect("the links come first");
    let mut bench = Bench::ready_with(&format!("{links}{MORE}"));
    bench.engine.set_kernel_addresses(vec![[198, 51, 100, 9].into()]);
    let (host, server, gateway) = ("10.0.0.2", "198.51.100.7", "192.0.2.2");
    let dropped = |reason| Err(reason);
    let health = Ok("service `health`");
    let ping = Ok("ping is answered");
    for (ingress, echo, from, to, expected) in [
        (1, true, server, "203.0.113.30", ping),
        (0, true, host, "10.0.0.1", ping),
        (0, true, host, "192.0.2.1", dropped(DropReason::NoService)),
        (1, true, server, "203.0.113.20", dropped(DropReason::NoService)),
        (1, true, server, "203.0.113.10", dropped(DropReason::NoSession)),
        (0, true, host, "127.0.0.1", dropped(DropReason::Martian)),
        (0, true, "127.0.0.1", "10.0.0.1", dropped(DropReason::Martian)),
        (0, true, host, "198.51.100.9", dropped(DropReason::KernelAddress)),
        (0, false, host, "10.0.0.1", health),
        (1, false, server, "10.0.0.1", dropped(DropReason::NoService)),
        (0, false, server, "10.0.0.1", dropped(DropReason::SpoofedSource)),
        (0, false, "10.0.0.1", "10.0.0.1", dropped(DropReason::SpoofedSource)),
        (1, false, gateway, "192.0.2.1", dropped(DropReason::NoService)),
    ] {
        let case = format!("{ingress} {echo} {from} {to}");
        let address = |text: &str| text.parse().expect("an address");
        let ip = match ingress {
            0 => frames::inside(address(from), address(to)),
            _ => frames::outside(address(from), address(to)),
        };
        let (frame, protocol, ports) = match echo {
            true => (ip.echo_request(7, 1), Protocol::ICMP, (7, 0)),
            false => (ip.tcp(5000, 8080, "S", b""), Protocol::TCP, (5000, 8080)),
        };
        let told = bench.engine.explain(&asked(ingress, protocol, (from, ports.0), (to, ports.1)));
        let (verdict, _) = bench.send(InterfaceId(ingress), &frame);
        match expected {
            Ok(what) => {
                assert_eq!(told.outcome, Outcome::Local(what.to_owned()), "{case}");
                let done = matches!(verdict, Verdict::Tx(_)) == echo
                    && matches!(verdict, Verdict::Service(_)) != echo;
                assert!(done, "{case}: {verdict:?}");
            }
            Err(reason) => {
                assert_eq!(told.outcome, Outcome::Dropped(reason), "{case}");
                assert_eq!(verdict, Verdict::Drop(reason), "{case}");
            }
        }
    }
}

/// RFC 4291 §2.5.6.
#[test]
fn what_stays_on_the_link_is_told_as_the_walk_does_it() {
    let mut bench = Bench::ready();
    let stranger = "2001:db8:9::9";
    for ends in [("fe80::9", stranger), (stranger, "fe80::9"), ("::1", stranger)] {
        let address = |text: &str| text.parse().expect("an address");
        let told = bench.engine.explain(&asked(1, Protocol::ICMPV6, (ends.0, 7), (ends.1, 0)));
        assert_eq!(told.outcome, Outcome::Dropped(DropReason::Martian), "{ends:?}");
        let echo = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
        let frame = frames::icmpv6(OUR_OUTSIDE, (address(ends.0), address(ends.1)), echo, b"");
        bench.ignore(OUTSIDE, &frame, DropReason::Martian);
    }
}

/// Of the lists the line is named that decides, whichever way.
#[test]
fn the_line_of_a_list_that_decides_is_named() {
    let config = CONFIG
        .replace("\"203.0.113.10/32\"] }]", "\"203.0.113.10/32\"], deny = [\"198.51.100.0/28\"] }]")
        .replace("port = \"8000-8099\"", "allow = [\"198.51.100.0/24\"]\n    port = \"8000-8099\"");
    let line =
        |what: &str| 1 + config.lines().position(|line| line.contains(what)).expect("it is there");
    let (deny, allow) = (line("deny ="), line("allow ="));
    let policy = load(&config).expect("the configuration is valid").policy;
    let links = [1, 2].map(|n| Link { mac: Mac([2, 0, 0, 0, 0, n]), mtu: 1500 });
    let engine = Engine::new(Arc::new(policy), Generation(1), &links, [7; 32]);
    let explained = |protocol, from: &str, port| {
        let explanation = engine.explain(&asked(1, protocol, (from, 9), ("203.0.113.10", port)));
        let access = explanation.steps.into_iter().find(|step| step.about == "access");
        (access.map(|step| step.found), explanation.outcome)
    };
    let (said, outcome) = explained(Protocol::TCP, "198.51.100.1", 8000);
    let expected = format!("of rule `web`: line {allow}: `allow` 198.51.100.0/24 has 198.51.100.1");
    assert_eq!(said, Some(expected));
    assert!(matches!(outcome, Outcome::Forwarded { .. }), "{outcome:?}");
    let (said, outcome) = explained(Protocol::TCP, "192.0.2.9", 8000);
    assert_eq!(
        said.as_deref(),
        Some(&*format!("of rule `web`: line {allow}: no `allow` has 192.0.2.9"))
    );
    assert_eq!(outcome, Outcome::Dropped(DropReason::Denied));
    let (said, outcome) = explained(Protocol::ICMP, "198.51.100.1", 0);
    let expected =
        format!("of pool `egress`: line {deny}: `deny` 198.51.100.0/28 has 198.51.100.1");
    assert_eq!((said, outcome), (Some(expected), Outcome::Dropped(DropReason::Denied)));
    let (said, outcome) = explained(Protocol::ICMP, "198.51.100.16", 0);
    let expected = format!("of pool `egress`: line {deny}: no `deny` has 198.51.100.16");
    assert_eq!(said, Some(expected));
    assert!(matches!(outcome, Outcome::Local(_)), "{outcome:?}");
}

/// RFC 4787 §5: the filtering that decides about a packet to a mapping, and where it stands.
#[test]
fn the_filtering_that_decides_is_told_as_the_walk_does_it() {
    let by_default = "default `filtering = \"address-and-port-dependent\"` of pool `egress`: ";
    for (value, expected) in [
        (None, [by_default, by_default]),
        (Some("endpoint-independent"), ["everybody may send to 10.0.0.2:5000"; 2]),
        (
            Some("address-dependent"),
            ["has a session with 198.51.100.7", "has no session with 198.51.100.66"],
        ),
    ] {
        let key = value.map_or_else(String::new, |value| format!("\n    filtering = \"{value}\""));
        let addresses = "addresses = [\"203.0.113.10/32\"]";
        let config = config_with("").replace(addresses, &format!("{addresses}{key}"));
        let line = 1 + config.lines().position(|line| line.contains("filtering")).unwrap_or(0);
        let mut bench = Bench::ready_with(&config);
        let sent = bench.forward(INSIDE, &frames::inside(HOST, SERVER).udp(5000, 53, b""));
        let Transport::Udp(port, _) = Seen::read(&sent).transport else { panic!("a datagram") };
        for (remote, expected) in [(SERVER, expected[0]), (STRANGER, expected[1])] {
            let (from, to) = (remote.to_string(), POOL.to_string());
            let question = asked(1, Protocol::UDP, (&from, 99), (&to, port));
            let told = bench.engine.explain(&question);
            let filtering = told.steps.iter().find(|step| step.about == "filtering");
            let filtering = &filtering.expect("it is told").found;
            assert!(filtering.contains(expected), "{filtering}");
            assert!(
                value.is_none() || filtering.contains(&format!("line {line}: ")),
                "{filtering}"
            );
            let frame = frames::outside(remote, POOL).udp(99, port, b"");
            match bench.send(OUTSIDE, &frame).0 {
                Verdict::Drop(reason) => assert_eq!(told.outcome, Outcome::Dropped(reason)),
                verdict => {
                    assert_eq!(verdict, Verdict::Tx(INSIDE));
                    assert!(matches!(told.outcome, Outcome::Forwarded { .. }), "{filtering}");
                }
            }
        }
    }
}

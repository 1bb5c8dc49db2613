//! Who hears of limits and lists, and that nobody hears of anything else.

use std::sync::Arc;

use mooring_nat::EventKind;
use mooring_policy::{Generation, InterfaceId, load};

use crate::test_bench::frames::{inside, outside};
use crate::test_bench::seen::{Seen, Transport};
use crate::test_bench::{
    Bench, HOST, INSIDE, OTHER_HOST, OUR_INSIDE_IP, OUR_OUTSIDE_IP, OUTSIDE, POOL, SERVER,
    STRANGER, config_with,
};
use crate::{DropReason, Verdict};

const WEB: &str = r#"
    [[rule]]
    name = "web"
    kind = "port-forward"
    address = "203.0.113.10"
    port = "8080"
    target = "10.0.0.3:80"
"#;

/// The ordinary policy, with more about its pool and more at its end.
fn config(pool: &str, more: &str) -> String {
    let address = "addresses = [\"203.0.113.10/32\"]";
    config_with(more).replace(address, &format!("{address}\n{pool}"))
}

fn reload(bench: &mut Bench, config: &str) {
    let policy = Arc::new(load(config).expect("the policy of the test is valid").policy);
    let links = bench.engine.links().to_vec();
    bench.engine.set_policy(policy, Generation(2), &links, bench.now, &mut bench.outbox);
    bench.sent();
}

/// RFC 6888 REQ-11 B: "the CGN SHOULD send an ICMP Destination Unreachable with code 1 (Host
/// Unreachable)", whichever resource it is that is short.
#[test]
fn a_host_is_told_of_every_limit_that_it_meets() {
    let cases = [
        ("limits = { sessions = 1 }", "", DropReason::PoolLimit),
        ("limits = { half_open = 1 }", "", DropReason::HalfOpenLimit),
        ("limits = { session_rate = 1 }", "", DropReason::SessionRateLimit),
        ("limits = { mappings = 1 }", "", DropReason::PoolLimit),
        ("", "half_open_per_source = 1", DropReason::HalfOpenLimit),
        ("", "session_rate_per_source = 1", DropReason::SessionRateLimit),
        ("", "mappings_per_source = 1", DropReason::SourceLimit),
        ("", "sessions_per_source = 1", DropReason::SourceLimit),
        ("", "sessions = 1", DropReason::TableFull),
        ("ports = \"2000-2000\"", "", DropReason::PortsExhausted),
    ];
    for (pool, limits, reason) in cases {
        let mut bench = Bench::ready_with(&config(pool, &format!("[limits]\n{limits}")));
        bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
        let more = inside(HOST, SERVER).tcp(5001, 80, "S", b"");
        let told = bench.refuse(INSIDE, &more, reason);
        let [(INSIDE, error)] = told.as_slice() else { panic!("{pool}{limits}: {told:?}") };
        let error = Seen::read(error);
        assert_eq!((error.source, error.destination), (OUR_INSIDE_IP, HOST));
        assert_eq!(error.transport, Transport::Icmp(3, 1, 0, 0));
        let event = bench.engine.nats.v4.events.read().expect("and the management system");
        assert_eq!((event.inside, event.pool), (Some(HOST.into()), Some(0)));
    }
}

/// The same by a rule that gives it an address of its own, whose limits are of no pool.
#[test]
fn a_host_is_told_of_the_limits_of_its_rule() {
    for (limit, reason) in [
        ("sessions", DropReason::PoolLimit),
        ("half_open", DropReason::HalfOpenLimit),
        ("session_rate", DropReason::SessionRateLimit),
    ] {
        let own = format!(
            "[[rule]]\nname = \"own\"\nkind = \"static\"\ninside = \"{HOST}/32\"\n\
             outside = \"203.0.113.20/32\"\nlimits = {{ {limit} = 1 }}\n"
        );
        let mut bench =
            Bench::ready_with(&config("", "").replacen("[[rule]]", &(own + "[[rule]]"), 1));
        bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "S", b""));
        let more = inside(HOST, SERVER).tcp(5001, 80, "S", b"");
        let told = bench.refuse(INSIDE, &more, reason);
        let [(INSIDE, error)] = told.as_slice() else { panic!("{limit}: {told:?}") };
        assert_eq!(Seen::read(error).transport, Transport::Icmp(3, 1, 0, 0), "{limit}");
        let event = bench.engine.nats.v4.events.read().expect("and the management system");
        assert_eq!((event.inside, event.pool), (Some(HOST.into()), None), "{limit}");
        // Another host is of no such rule.
        bench.forward(INSIDE, &inside(OTHER_HOST, SERVER).tcp(5000, 80, "S", b""));
    }
}

/// Nobody outside learns how full we are.
#[test]
fn a_flood_of_a_forwarded_port_is_dropped_in_silence_and_told_to_the_management() {
    let limits = format!("{WEB}[limits]\nhalf_open_per_source = 2");
    let mut bench = Bench::ready_with(&config("", &limits));
    for port in [1, 2] {
        bench.forward(OUTSIDE, &outside(STRANGER, POOL).tcp(port, 8080, "S", b""));
    }
    for port in 3..20 {
        let flood = outside(STRANGER, POOL).tcp(port, 8080, "S", b"");
        bench.ignore(OUTSIDE, &flood, DropReason::HalfOpenLimit);
    }
    let event = bench.engine.nats.v4.events.read().expect("told");
    assert_eq!((event.kind, event.inside), (EventKind::HalfOpenLimit, Some(OTHER_HOST.into())));
    // The host is not kept from the world; and its answer makes room.
    bench.forward(INSIDE, &inside(OTHER_HOST, SERVER).tcp(5000, 80, "S", b""));
    bench.forward(INSIDE, &inside(OTHER_HOST, STRANGER).tcp(80, 1, "SA", b""));
    bench.forward(OUTSIDE, &outside(STRANGER, POOL).tcp(20, 8080, "S", b""));
}

/// The states that packets bring about are counted in every turn that a packet may take.
#[test]
fn a_connection_that_opens_by_a_hairpin_is_not_half_open() {
    let limits = format!("{WEB}[limits]\nhalf_open_per_source = 1");
    let mut bench = Bench::ready_with(&config("", &limits));
    let (verdict, sent) = bench.send(INSIDE, &inside(HOST, POOL).tcp(5000, 8080, "S", b""));
    assert_eq!(verdict, Verdict::Tx(INSIDE));
    let second = inside(HOST, SERVER).tcp(5001, 80, "S", b"");
    assert_eq!(bench.send(INSIDE, &second).0, Verdict::Drop(DropReason::HalfOpenLimit));
    bench.sent();
    let Transport::Tcp(port, _) = Seen::read(&sent).transport else { panic!("a segment") };
    let answer = inside(OTHER_HOST, POOL).tcp(80, port, "SA", b"");
    assert_eq!(bench.send(INSIDE, &answer).0, Verdict::Tx(INSIDE));
    bench.forward(INSIDE, &second);
    bench.forward(OUTSIDE, &outside(STRANGER, POOL).tcp(20, 8080, "S", b""));
}

/// RFC 6888 REQ-5: whoever ends connections and opens them again has no more of them that wait for an
/// answer than others have.
#[test]
fn a_syn_that_opens_a_connection_again_meets_the_limit() {
    let limits = format!("{WEB}[limits]\nhalf_open_per_source = 1");
    let mut bench = Bench::ready_with(&config("", &limits));
    let syn = |port| inside(HOST, SERVER).tcp(port, 80, "S", b"");
    let answer = |bench: &mut Bench, frame: &[u8]| {
        let Transport::Tcp(port, _) = Seen::read(frame).transport else { panic!("a segment") };
        bench.forward(OUTSIDE, &outside(SERVER, POOL).tcp(80, port, "SA", b""));
    };
    let sent = bench.forward(INSIDE, &syn(5000));
    answer(&mut bench, &sent);
    bench.forward(INSIDE, &inside(HOST, SERVER).tcp(5000, 80, "R", b""));
    let second = bench.forward(INSIDE, &syn(5001));
    let told = bench.refuse(INSIDE, &syn(5000), DropReason::HalfOpenLimit);
    let [(INSIDE, error)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(Seen::read(error).transport, Transport::Icmp(3, 1, 0, 0));
    answer(&mut bench, &second);
    bench.forward(INSIDE, &syn(5000));
    // From outside, in silence.
    let knock = |port, flags| outside(STRANGER, POOL).tcp(port, 8080, flags, b"");
    let reply = |port, flags| inside(OTHER_HOST, STRANGER).tcp(80, port, flags, b"");
    bench.forward(OUTSIDE, &knock(1, "S"));
    bench.forward(INSIDE, &reply(1, "SA"));
    bench.forward(INSIDE, &reply(1, "FA"));
    bench.forward(OUTSIDE, &knock(1, "FA"));
    bench.forward(OUTSIDE, &knock(2, "S"));
    bench.ignore(OUTSIDE, &knock(1, "S"), DropReason::HalfOpenLimit);
    bench.forward(INSIDE, &reply(2, "SA"));
    bench.forward(OUTSIDE, &knock(1, "S"));
}

/// In a hairpin it is the SYN of somebody else for the host that it leads to.
#[test]
fn a_hairpin_that_opens_a_connection_again_meets_the_limit() {
    let limits = format!("{WEB}[limits]\nhalf_open_per_source = 1");
    let mut bench = Bench::ready_with(&config("", &limits));
    let mut send = |frame: &[u8]| bench.send(INSIDE, frame);
    let syn = inside(HOST, POOL).tcp(5000, 8080, "S", b"");
    let Transport::Tcp(port, _) = Seen::read(&send(&syn).1).transport else { panic!("a segment") };
    let reply = |flags| inside(OTHER_HOST, POOL).tcp(80, port, flags, b"");
    for frame in [&reply("SA"), &reply("FA"), &inside(HOST, POOL).tcp(5000, 8080, "FA", b"")] {
        assert_eq!(send(frame).0, Verdict::Tx(INSIDE));
    }
    bench.forward(OUTSIDE, &outside(STRANGER, POOL).tcp(1, 8080, "S", b""));
    assert_eq!(bench.send(INSIDE, &syn).0, Verdict::Drop(DropReason::HalfOpenLimit));
    bench.sent();
    bench.forward(INSIDE, &inside(OTHER_HOST, STRANGER).tcp(80, 1, "SA", b""));
    assert_eq!(bench.send(INSIDE, &syn).0, Verdict::Tx(INSIDE));
}

#[test]
fn who_is_denied_gets_nothing_and_no_answer_to_a_ping() {
    let pool = "filtering = \"endpoint-independent\"\ndeny = [\"198.51.100.66/32\"]";
    let web = WEB.replace("kind =", "allow = [\"198.51.100.7\"]\n    kind =");
    let mut bench = Bench::ready_with(&config(pool, &web));
    let port = super::open_udp(&mut bench);
    bench.ignore(OUTSIDE, &outside(STRANGER, POOL).udp(1, port, b""), DropReason::Denied);
    bench.ignore(OUTSIDE, &outside(STRANGER, POOL).echo_request(7, 1), DropReason::Denied);
    bench.ignore(OUTSIDE, &outside(STRANGER, POOL).tcp(1, 8080, "S", b""), DropReason::Denied);
    assert_eq!((bench.sessions(), bench.dropped(DropReason::Denied)), (1, 3));
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(1, port, b""));
    bench.forward(OUTSIDE, &outside(SERVER, POOL).tcp(1, 8080, "S", b""));
    let ping = bench.send(OUTSIDE, &outside(SERVER, POOL).echo_request(7, 1)).0;
    assert_eq!(ping, Verdict::Tx(OUTSIDE));
    // What a host inside begins with who is denied is answered.
    bench.forward(INSIDE, &inside(HOST, STRANGER).udp(5000, 53, b""));
    bench.forward(OUTSIDE, &outside(STRANGER, POOL).udp(53, port, b""));
}

#[test]
fn a_reload_ends_sessions_from_outside_that_it_denies() {
    let pool = "filtering = \"endpoint-independent\"";
    let mut bench = Bench::ready_with(&config(pool, ""));
    let port = super::open_udp(&mut bench);
    bench.forward(OUTSIDE, &outside(STRANGER, POOL).udp(1, port, b""));
    reload(&mut bench, &config(&format!("{pool}\ndeny = [\"198.51.100.66\"]"), ""));
    bench.ignore(OUTSIDE, &outside(STRANGER, POOL).udp(1, port, b""), DropReason::Denied);
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"answer"));
    assert_eq!(bench.sessions(), 1);
}

/// RFC 1812 §4.3.2.8: the rates are configured, and follow a reload.
#[test]
fn our_own_answers_keep_to_the_rates_of_the_policy() {
    let rates = |errors, echoes| {
        config("", &format!("[limits]\nicmp_error_rate = {errors}\necho_reply_rate = {echoes}"))
    };
    let told = |bench: &mut Bench| {
        let expired = inside(HOST, SERVER).ttl(1).udp(1, 2, b"");
        let refused = |bench: &mut Bench| bench.refuse(INSIDE, &expired, DropReason::TtlExpired);
        (0..20).map(|_| refused(bench).len()).sum::<usize>()
    };
    let answered = |bench: &mut Bench| {
        let ping = inside(HOST, OUR_INSIDE_IP).echo_request(7, 1);
        (0..20).filter(|_| bench.send(INSIDE, &ping).0 == Verdict::Tx(INSIDE)).count()
    };
    let mut bench = Bench::ready_with(&rates(3, 5));
    assert_eq!((told(&mut bench), answered(&mut bench)), (3, 5));
    reload(&mut bench, &rates(7, 2));
    bench.rest(1_000);
    assert_eq!((told(&mut bench), answered(&mut bench)), (7, 2));
}

/// Only a ping is answered at addresses of ours; whatever else nobody asked for meets silence, be it
/// for our own addresses, a pool's, or one that a rule has.
#[test]
fn all_else_that_nobody_asked_for_is_silent() {
    let static_rule = "[[rule]]\nname = \"one\"\nkind = \"static\"\ninside = \"10.0.0.9/32\"\n\
                       outside = \"203.0.113.20/32\"\nallow = [\"192.0.2.99\"]\n";
    let mut bench = Bench::ready_with(&config("", &format!("{WEB}{static_rule}")));
    let one = std::net::Ipv4Addr::new(203, 0, 113, 20);
    let mut silent = |ingress: InterfaceId, frame: &[u8]| {
        let (verdict, _) = bench.send(ingress, frame);
        assert!(matches!(verdict, Verdict::Drop(_)), "{verdict:?} {frame:02x?}");
        assert_eq!(bench.sent(), [], "{frame:02x?}");
    };
    for (ingress, to) in
        [(OUTSIDE, OUR_OUTSIDE_IP), (OUTSIDE, POOL), (OUTSIDE, one), (INSIDE, OUR_INSIDE_IP)]
    {
        let from = if ingress == INSIDE { inside } else { outside };
        let source = if ingress == INSIDE { HOST } else { STRANGER };
        for flags in ["S", "SA", "A", "F", "R", "RA", "FSRA", ""] {
            for port in [1, 22, 80, 8081, 65_535] {
                silent(ingress, &from(source, to).tcp(5000, port, flags, b""));
            }
        }
        for port in [1, 53, 123, 33_434, 65_535] {
            silent(ingress, &from(source, to).udp(5000, port, b"hello"));
            silent(ingress, &from(source, to).ttl(1).udp(5000, port, b"hello"));
        }
        // All of ICMP but the echo request: timestamps, masks, redirects, errors about nothing.
        for kind in (0..=255).filter(|kind| *kind != 8) {
            silent(ingress, &from(source, to).icmp(kind, 0, [[0, 7], [0, 1]], &[0; 28]));
        }
        for protocol in (0..=255).filter(|protocol| ![1, 6, 17].contains(protocol)) {
            silent(ingress, &from(source, to).other(protocol, &[0; 20]));
        }
    }
    assert_eq!(bench.sessions(), 0);
}

//! Another policy while packets pass.

use std::sync::Arc;

use mooring_policy::{Generation, load};

use super::open_udp;
use crate::test_bench::frames::{inside, outside};
use crate::test_bench::{Bench, CONFIG, GATEWAY, HOST, INSIDE, OUTSIDE, POOL, SERVER};
use crate::{DropReason, Verdict};

/// Gives the engine another policy, as its next.
pub(crate) fn reload(bench: &mut Bench, config: &str) {
    let policy = Arc::new(load(config).expect("the policy of the test is valid").policy);
    let links = bench.engine.links().to_vec();
    let next = Generation(bench.engine.policy().1.0 + 1);
    bench.engine.set_policy(policy, next, &links, bench.now, &mut bench.outbox);
    bench.sent();
}

#[test]
fn a_session_that_the_new_policy_would_begin_goes_on() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    reload(&mut bench, CONFIG);
    bench.forward(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"answer"));
    assert_eq!(open_udp(&mut bench), port);
    assert_eq!(bench.engine.policy().1, Generation(2));
}

#[test]
fn a_session_whose_rule_is_gone_ends_with_its_next_packet() {
    let mut bench = Bench::ready();
    let port = open_udp(&mut bench);
    let pool_rule = CONFIG.rfind("[[rule]]").expect("the configuration has rules");
    let dropped = format!("{}\n[[rule]]\nname = \"all\"\nkind = \"drop\"", &CONFIG[..pool_rule]);
    reload(&mut bench, &dropped);
    let question = inside(HOST, SERVER).udp(5000, 53, b"question");
    bench.ignore(INSIDE, &question, DropReason::RuleDrop);
    let (verdict, _) = bench.send(OUTSIDE, &outside(SERVER, POOL).udp(53, port, b"answer"));
    assert!(matches!(verdict, Verdict::Drop(_)));
    assert_eq!((bench.sessions(), bench.engine.counters.sessions_ended), (0, 1));
    assert_eq!(bench.engine.occupancy().leased_ports, 0);
}

/// Nor do errors about its packets reach the host any more.
#[test]
fn an_error_about_a_flow_that_the_new_policy_drops_is_not_forwarded() {
    let mut bench = Bench::ready();
    let sent = bench.forward(INSIDE, &inside(HOST, SERVER).udp(5000, 53, b"question"));
    let error = outside(GATEWAY, POOL).error((3, 1), 0, &sent);
    assert_eq!(bench.send(OUTSIDE, &error).0, Verdict::Tx(INSIDE));
    let pool_rule = CONFIG.rfind("[[rule]]").expect("the configuration has rules");
    reload(&mut bench, &CONFIG[..pool_rule]);
    bench.ignore(OUTSIDE, &error, DropReason::QuoteUnknown);
    assert_eq!((bench.sessions(), bench.engine.counters.sessions_ended), (0, 1));
}

#[test]
fn a_silent_session_is_found_by_the_sweep() {
    let mut bench = Bench::ready();
    open_udp(&mut bench);
    let pool_rule = CONFIG.rfind("[[rule]]").expect("the configuration has rules");
    reload(&mut bench, &CONFIG[..pool_rule]);
    bench.rest(1);
    assert_eq!((bench.sessions(), bench.engine.counters.sessions_ended), (0, 1));
}

/// What a host is told by router advertisements is what its packets may have.
#[test]
fn advertisements_tell_the_mtu_that_the_link_has_now() {
    let inside = r#"addresses = ["10.0.0.1/24", "fd00:10::1/64"]"#;
    let config = CONFIG.replace(inside, &format!("{inside}\nrouter_advertisements = true"));
    let mut bench = Bench::unresolved(&config);
    let mut links = bench.engine.links().to_vec();
    links[0].mtu = 1280;
    bench.engine.set_links(&links);
    bench.pass(20_000);
    let sent = bench.sent_by(INSIDE);
    let told: Vec<_> = sent.iter().filter(|frame| frame[54] == 134).collect();
    let [told] = &told[..] else { panic!("one advertisement is due: {sent:02x?}") };
    assert_eq!(told[78..86], [5, 1, 0, 0, 0, 0, 0x05, 0x00], "RFC 4861 §4.6.4");
}

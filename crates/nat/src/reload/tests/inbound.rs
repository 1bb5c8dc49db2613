//! What others began with a host is allowed for as long as a rule translates the host.

use mooring_session::SessionRef;

use super::udp;
use crate::fixture::{OUTSIDE, World};
use crate::{HAIRPIN_INTERFACE, Refusal};

/// An open pool, and the rules in front of the one that translates `source` to it.
fn open(source: &str, rules: &str) -> String {
    format!(
        r#"
        pool = [
            {{ name = "egress", addresses = ["203.0.113.10"], filtering = "endpoint-independent" }},
            {{ name = "other", addresses = ["203.0.113.11"] }},
        ]
        rule = [
            {rules}
            {{ name = "out", kind = "source-nat", from = "inside", to = "outside", source = ["{source}"], pool = "egress" }},
        ]"#
    )
}

/// One without rules in front.
fn open_to_all() -> String {
    open("10.0.0.0/24", "")
}

/// A remote sends to the outside port of a mapping.
fn knock(world: &mut World, from: &str, port: u16) -> Result<SessionRef, Refusal> {
    world.arrive(OUTSIDE, udp(from, &format!("203.0.113.10:{port}")), None)
}

/// RFC 4787 §5 lets others in to what a rule translates, and to nothing else: neither what they had begun
/// before the rule went, nor what they begin after it.
#[test]
fn nobody_reaches_a_host_that_no_rule_translates_any_more() {
    let of_host = |kind: &str| {
        let rule = format!(r#"{{ name = "no", from = "inside", source = ["10.0.0.2"], {kind} }},"#);
        open("10.0.0.0/24", &rule)
    };
    let cases = [
        ("a narrower source", open("10.0.0.128/25", "")),
        ("a rule that drops", of_host("kind = \"drop\"")),
        ("a rule that lets pass", of_host("kind = \"bypass\"")),
        ("another pool", of_host("kind = \"source-nat\", to = \"outside\", pool = \"other\"")),
    ];
    for (name, next) in cases {
        let mut world = World::new(&open_to_all());
        let port = world.session(udp("10.0.0.2:1000", "198.51.100.1:53")).outside_port;
        let others = world.session(udp("10.0.0.200:1000", "198.51.100.1:53")).outside_port;
        knock(&mut world, "198.51.100.7:7000", port).expect("everybody may");
        world.reload(&next);
        let refused = knock(&mut world, "198.51.100.8:8000", port);
        assert_eq!(refused, Err(Refusal::Filtered), "{name}");
        assert!(knock(&mut world, "198.51.100.8:8000", others).is_ok(), "{name}: another host");
        assert_eq!(world.sweep(), 2, "{name}: its own session and that of the remote");
        let refused = knock(&mut world, "198.51.100.7:7000", port);
        assert_eq!(refused, Err(Refusal::NoSession), "{name}: the mapping has gone");
        let left = world.holdings();
        assert_eq!((left.sessions, left.mappings, left.leased_ports), (2, 1, 1), "{name}");
    }
}

/// RFC 4787 REQ-9: who comes by a hairpin is a remote like any other.
#[test]
fn no_hairpin_leads_to_a_host_that_no_rule_translates_any_more() {
    let mut world = World::new(&open_to_all());
    let port = world.session(udp("10.0.0.2:1000", "198.51.100.1:53")).outside_port;
    let to = format!("203.0.113.10:{port}");
    let second_half = |world: &mut World, source: &str| {
        let first = world.session(udp(source, &to));
        let from = format!("203.0.113.10:{}", first.outside_port);
        world.arrive(HAIRPIN_INTERFACE, udp(&from, &to), None)
    };
    assert!(second_half(&mut world, "10.0.0.200:1").is_ok());
    world.reload(&open("10.0.0.128/25", ""));
    assert_eq!(second_half(&mut world, "10.0.0.200:2"), Err(Refusal::Filtered));
    assert_eq!(world.sweep(), 2, "that of the host and the half that led to it");
}

/// A session that others began is of the rule that translates the host, not of another one of its pool:
/// by its name, and by its `drain`.
#[test]
fn what_others_begin_is_of_the_rule_of_the_host() {
    let first = r#"{ name = "first", kind = "source-nat", source = ["10.0.0.200"], to = "outside", pool = "egress" },"#;
    let config =
        open("10.0.0.0/24", first).replace(r#"name = "out","#, r#"name = "out", drain = true,"#);
    let mut world = World::new(&config);
    let mut begun = |host: &str| {
        let port = world.session(udp(&format!("{host}:1000"), "198.51.100.1:53")).outside_port;
        let found = knock(&mut world, "198.51.100.7:7000", port).expect("everybody may");
        world.nat.sessions.session(found.index).rule
    };
    assert_eq!([begun("10.0.0.200"), begun("10.0.0.2")], [0, 1]);
    world.reload(&open("10.1.0.0/16", ""));
    assert_eq!(world.sweep(), 2, "of the rule without drain");
    assert_eq!(world.nat.sessions.len(), 2);
}

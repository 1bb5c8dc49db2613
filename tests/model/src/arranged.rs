//! Scenes by hand, each many times; what must come of each is written beside it. Of what random steps do
//! not come to (`trials.rs`: `ARRANGED`, with why): more pieces than are remembered, neighbours that do not
//! answer, a table of them that is full. And, as plain as can be, of what they come to as well: pieces,
//! segments out of window, addresses that come and go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mooring_engine::{DropReason, Engine, Outbox, Verdict};
use mooring_packet::{Batch, BufferPool, Offload, Packet as Window};
use mooring_policy::{
    Assignment, Assignments, Facts, Generation, InterfaceId, Policy, Standing, load, load_with,
};
use mooring_session::Tick;

use crate::packet::{ACK, Body, GRE, Packet, RST, SYN, TCP, UDP};
use crate::rig::{LINKS, frame, offline};
use crate::spec::{Action, Net, Pool, Rule, Side, Spec, ip};

/// All that is arranged; returns the drops of the engines.
pub(crate) fn all() -> Vec<[u64; DropReason::ALL.len()]> {
    vec![pieces(), out_of_window(), silent_neighbour(), too_many_neighbours(), comes_and_goes()]
}

/// Five kinds of pieces that are not to pass, and between them some that are.
fn pieces() -> [u64; DropReason::ALL.len()] {
    let mut bench = Bench::new(&spec("fragments = 16\nfragments_per_source = 4\n"), true);
    let udp =
        |id: u16, at: u16, len: usize, more: bool| piece(UDP, (id, at, more), &[0x55; 64][..len]);
    for round in 0..110_u16 {
        bench.now += 10_000;
        let id = round * 8;
        bench.expect(&udp(id, 0, 24, true), None);
        bench.expect(&udp(id, 24, 16, true), None);
        bench.expect(&udp(id, 24, 16, true), Some("fragment_duplicate"));
        bench.expect(&udp(id, 32, 16, true), Some("fragment_overlap"));
        bench.expect(&udp(id, 48, 8, false), Some("fragment_overlap"));
        // RFC 1858 §3: a first piece without the flags, and one that would overwrite them.
        bench.expect(&piece(TCP, (id + 1, 0, true), &[0; 8]), Some("fragment_tiny"));
        bench.expect(&piece(TCP, (id + 2, 8, false), &[0; 8]), Some("fragment_tiny"));
        // RFC 5508 knows no errors in pieces.
        let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &[0x45; 24]].concat();
        bench.expect(&piece(1, (id + 3, 0, true), &error), Some("fragment_untranslated"));
        bench.expect(&piece(1, (id + 3, 32, false), &error), Some("fragment_untranslated"));
        // More datagrams than are remembered.
        bench.now += 10_000;
        for other in 0..6 {
            let expected = if other < 4 { None } else { Some("fragment_limit") };
            bench.expect(&udp(id + other, 0, 24, true), expected);
        }
    }
    bench.drops()
}

/// Segments that no end of the connection can have sent change nothing (RFC 5961 in kind).
fn out_of_window() -> [u64; DropReason::ALL.len()] {
    let mut bench = Bench::new(&spec("[tcp]\nwindow_tracking = true\n"), true);
    let (inside, remote) = (ip("10.0.0.2"), ip("198.51.100.1"));
    let segment = |from, to, ports, (seq, ack), flags| {
        let body = Body::Tcp { ports, seq, ack, flags, window: 1000, payload: Vec::new() };
        Packet::new(from, to, body)
    };
    let syn = segment(inside, remote, (5000, 80), (1000, 0), SYN);
    let (_, out) = bench.give(Side::Inside, &syn.bytes()).expect("it begins");
    let outside = Packet::read(&out).expect("a segment").key().expect("a flow").source;
    let back = |seq, ack, flags| segment(remote, outside.0, (80, outside.1), (seq, ack), flags);
    let there = |seq, ack| segment(inside, remote, (5000, 80), (seq, ack), ACK);
    assert!(bench.give(Side::Outside, &back(9000, 1001, SYN | ACK).bytes()).is_ok());
    assert!(bench.give(Side::Inside, &there(1001, 9001).bytes()).is_ok());
    for blind in 0..110 {
        let far = back(9001 + 500_000 + blind * 7, 1001, if blind % 2 == 0 { RST } else { ACK });
        let dropped = bench.give(Side::Outside, &far.bytes());
        assert_eq!(dropped.err(), Some("out_of_window"), "segment {blind}");
        let sessions = bench.engine.sessions(Tick::from_millis(bench.now), 0).0;
        assert_eq!(sessions[0].state, "established");
        assert!(bench.give(Side::Outside, &back(9001, 1001, ACK).bytes()).is_ok());
    }
    bench.drops()
}

/// Packets wait for a neighbour that does not answer three questions, and are then dropped, each once;
/// so are the errors to their sender, which is as silent.
fn silent_neighbour() -> [u64; DropReason::ALL.len()] {
    let mut bench = Bench::new(&spec(""), false);
    let mut held = 0;
    for round in 0..30 {
        for port in 1..=5 {
            let body = Body::Udp { ports: (port, 53), payload: vec![round] };
            let packet = Packet::new(ip("10.0.0.2"), ip("198.51.100.1"), body);
            let waits = bench.give(Side::Inside, &packet.bytes());
            held += u64::from(waits.err() == Some("held"));
        }
        for _ in 0..8 {
            bench.now += 1_000;
            bench.poll();
        }
    }
    let (counters, drops) = (&bench.engine.counters, bench.drops());
    assert_eq!(counters.held, held);
    let refused = 150 - held;
    let in_vain = drops[DropReason::NeighborUnresolved as usize];
    // Of those that waited their sender is told, and does not answer either.
    assert!(counters.originated > 0 && counters.originated <= held, "{}", counters.originated);
    assert_eq!(in_vain, held + refused + counters.originated, "each packet is dropped once");
    drops
}

/// Every host that has a session needs a place in the table of neighbours.
fn too_many_neighbours() -> [u64; DropReason::ALL.len()] {
    let mut wide = spec("sources = 70000\n");
    (wide.sessions, wide.per_source) = (70_000, 10);
    wide.pools[0].addresses.push(ip("203.0.113.17"));
    wide.pools[0].arbitrary = true;
    wide.rules[0].source = Some(Net::of("10.0.0.0/8"));
    let text = wide.toml().replace("10.0.0.1/24", "10.0.0.1/8");
    let text = text.replace("30000-30999", "1024-65535");
    let mut bench = Bench::of(load(&text).expect("a configuration").policy, true);
    let mut refused = 0;
    for host in 2..65_700_u32 {
        let source = IpAddr::from((0x0a00_0000 + host).to_be_bytes());
        let body = Body::Udp { ports: (5, 53), payload: Vec::new() };
        let packet = Packet::new(source, ip("198.51.100.1"), body);
        match bench.give(Side::Inside, &packet.bytes()) {
            Ok(_) => assert_eq!(refused, 0, "nobody makes room"),
            Err(reason) => {
                assert_eq!(reason, "neighbor_table_full", "host {host}");
                refused += 1;
            }
        }
    }
    assert_eq!(bench.engine.occupancy().sessions, 65_698 - refused, "and nothing is left of them");
    bench.drops()
}

/// An address is taken away and given back: while it is away nothing passes, in either direction, of
/// sessions old or new; they go on as they were, unless somebody else has had it.
fn comes_and_goes() -> [u64; DropReason::ALL.len()] {
    let text = spec("").toml().replace("\"out0\"", "\"out0\"\nnetwork = \"wan\"");
    let text = format!("[control]\nsource = \"kubernetes\"\n{text}");
    let policy = |standing| {
        let given = Assignment {
            address: ip("203.0.113.16"),
            route: "edge".to_owned(),
            labels: BTreeMap::new(),
            network: "wan".to_owned(),
            standing,
        };
        let assignments = Assignments { addresses: vec![given] };
        let facts = Facts { assignments: Some(&assignments), ..Facts::default() };
        load_with(&text, &facts).expect("a configuration").policy
    };
    let mut bench = Bench::of(policy(Standing::Claimed), true);
    let mut since = Generation(2);
    let adopt = |bench: &mut Bench, generation, standing| {
        let (now, policy) = (Tick::from_millis(bench.now), Arc::new(policy(standing)));
        bench.engine.set_policy(policy, Generation(generation), &LINKS, now, &mut bench.outbox);
        bench.outbox.clear();
    };
    let udp =
        |from, to, ports| Packet::new(from, to, Body::Udp { ports, payload: vec![1] }).bytes();
    let (host, pool, remote) = (ip("10.0.0.2"), ip("203.0.113.16"), ip("198.51.100.1"));
    let leaves_as = |bench: &mut Bench| {
        let (_, sent) = bench.give(Side::Inside, &udp(host, remote, (5000, 53))).ok()?;
        Some(Packet::read(&sent).expect("a datagram").key().expect("a flow").source)
    };
    let mut before = None;
    for round in 0..60_u32 {
        let generation = 2 * round + 2;
        adopt(&mut bench, generation, Standing::Held { since });
        let end = leaves_as(&mut bench);
        assert!(end.is_some_and(|end| end.0 == pool), "round {round}: it is held");
        match before.filter(|_| since != Generation(generation)) {
            Some(_) => assert_eq!(end, before, "round {round}: the session goes on"),
            None => {
                assert_eq!(bench.engine.occupancy().sessions, 1, "round {round}: the old ended");
            }
        }
        before = end;
        let kept = if round % 3 == 0 { Standing::Claimed } else { Standing::Kept { since } };
        adopt(&mut bench, generation + 1, kept);
        let answer = udp(remote, pool, (53, end.map_or(0, |end| end.1)));
        for packet in [udp(host, remote, (5000, 53)), udp(host, remote, (round as u16 + 1, 53))] {
            bench.expect(&packet, Some("address_not_held"));
        }
        assert_eq!(bench.give(Side::Outside, &answer).err(), Some("address_not_held"));
        if matches!(kept, Standing::Claimed) {
            since = Generation(generation + 2);
        }
    }
    bench.drops()
}

/// One engine.
struct Bench {
    engine: Engine,
    outbox: Outbox,
    now: u64,
}

impl Bench {
    fn new(spec: &Spec, answered: bool) -> Self {
        let text = spec.toml();
        Self::of(
            load(&text).unwrap_or_else(|why| panic!("{}", why.render("spec"))).policy,
            answered,
        )
    }

    /// `answered`: every next hop is known.
    fn of(policy: Policy, answered: bool) -> Self {
        let mut engine = Engine::new(Arc::new(policy), Generation(1), &LINKS, [9; 32]);
        if answered {
            offline(&mut engine);
        }
        Self { engine, outbox: Outbox::new(BufferPool::new(64, 2)), now: 1_000 }
    }

    /// Where a packet leaves, and as what; or why not.
    fn give(&mut self, side: Side, packet: &[u8]) -> Result<(Side, Vec<u8>), &'static str> {
        let mut bytes = frame(side, packet);
        let len = bytes.len();
        let mut batch = Batch::new();
        let window = Window::new(&mut bytes, 0, len, Offload::NONE);
        assert!(batch.push(window).is_ok(), "a batch has room for one");
        let (now, ingress) = (Tick::from_millis(self.now), InterfaceId(side as u8));
        let verdicts = self.engine.process(now, ingress, &mut batch, &mut self.outbox);
        self.outbox.clear();
        match verdicts[0] {
            Verdict::Tx(egress) => {
                let side = if egress.0 == 0 { Side::Inside } else { Side::Outside };
                Ok((side, batch.packets()[0].bytes()[14..].to_vec()))
            }
            Verdict::Drop(reason) => Err(reason.name()),
            Verdict::Hold => Err("held"),
            other => panic!("{other:?}"),
        }
    }

    /// A packet from inside passes, or is dropped for this reason.
    fn expect(&mut self, packet: &[u8], dropped: Option<&'static str>) {
        self.poll();
        let given = self.give(Side::Inside, packet);
        assert_eq!(given.err(), dropped, "{packet:02x?}");
    }

    fn poll(&mut self) {
        while self.engine.poll(Tick::from_millis(self.now), &mut self.outbox) {
            self.outbox.clear();
        }
        self.outbox.clear();
    }

    fn drops(&self) -> [u64; DropReason::ALL.len()] {
        self.engine.counters.drops
    }
}

/// A piece of a datagram of protocol `protocol`: identification, place, whether more follow.
fn piece(protocol: u8, (id, at, more): (u16, u16, bool), payload: &[u8]) -> Vec<u8> {
    let mut body = payload.to_vec();
    if protocol == UDP && at == 0 {
        body[..8].copy_from_slice(&[0x13, 0x88, 0, 53, 0, 64, 0, 0]);
    }
    let body = Body::Other { protocol: GRE, payload: body };
    let mut bytes = Packet::new(ip("10.0.0.2"), ip("198.51.100.1"), body).bytes();
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    bytes[6..8].copy_from_slice(&((u16::from(more) << 13) | (at / 8)).to_be_bytes());
    bytes[9] = protocol;
    bytes[10..12].fill(0);
    let sum = !crate::packet::ones_sum(&[&bytes[..20]]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn spec(more: &'static str) -> Spec {
    let pool = Pool::new("egress", &["203.0.113.16"], (30_000, 30_999));
    let mut rule = Rule::new("egress", Action::SourceNat("egress"));
    rule.source = Some(Net::of("10.0.0.0/24"));
    let mut spec = Spec::new(vec![pool], vec![rule]);
    (spec.sessions, spec.per_source, spec.more) = (2_000, 1_000, more);
    spec
}

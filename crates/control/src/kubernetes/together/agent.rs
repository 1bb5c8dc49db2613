//! An agent of the simulation: what it knows, what it decides by the functions that a Pod runs, and the
//! engine that works by that.

use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mooring_engine::{Engine, Link, Outbox, Verdict};
use mooring_packet::{Batch, BufferPool, Offload, Packet};
use mooring_policy::{InterfaceId, KernelFacts};
use mooring_session::Tick;
use mooring_wire::Mac;

use super::feed::{Feed, Told};
use super::server::{Change, Server};
use super::{Dice, Fault};
use crate::FileSource;
use crate::kubernetes::doubts::{Doubts, latest_signs};
use crate::kubernetes::ledger::Ledger;
use crate::kubernetes::ownership::Context;
use crate::kubernetes::snapshot::Snapshot;

/// One process.
pub(super) struct Agent {
    pub(super) pod: &'static str,
    pub(super) feed: Feed,
    fault: Fault,
    ledger: Ledger,
    /// What the thread of the control plane has published.
    published: Option<Arc<Snapshot>>,
    /// On their way to that thread: when, of what, which doubt.
    orders: VecDeque<(u64, IpAddr, u64)>,
    doubts: Doubts,
    source: FileSource,
    /// When the main thread looks at what was published, and at who contradicts.
    looks: Option<u64>,
    hears: Option<u64>,
    /// When it asks the worker without having been called.
    asks: Option<u64>,
    /// It was told to end, and does at the latest then.
    ends: Option<u64>,
    engine: Engine,
    outbox: Outbox,
    links: [Link; 2],
}

impl Agent {
    pub(super) fn start(
        (at, pod): (usize, &'static str),
        folder: &Path,
        fault: Fault,
        now: u64,
    ) -> Self {
        let context = Context { pod: pod.to_owned(), networks: ["wan".to_owned()].into() };
        let path = folder.join(format!("{pod}.toml"));
        let text = CONFIG.replace("192.0.2.1/24", &format!("192.0.2.{}/24", at + 1));
        fs::write(&path, text).expect("the folder is writable");
        let mut source = FileSource::new(&path);
        let state = source.load().expect("the configuration of the simulation is valid");
        source.accepted();
        let links = [10, 20].map(|side| Link { mac: Mac([2, 0, 0, 0, side, at as u8]), mtu: 1500 });
        Self {
            pod,
            feed: Feed::new(now),
            fault,
            ledger: Ledger::new(context, Duration::from_secs(30)),
            published: None,
            orders: VecDeque::new(),
            doubts: Doubts::default(),
            source,
            looks: None,
            hears: None,
            asks: None,
            ends: None,
            engine: Engine::new(state.policy, state.generation, &links, [at as u8; 32]),
            outbox: Outbox::new(BufferPool::new(64, 4)),
            links,
        }
    }

    /// Does all that is due. What it has heard of changes goes to `stir`.
    pub(super) fn turn(
        &mut self,
        server: &Server,
        now: u64,
        dice: &mut Dice,
        mut stir: impl FnMut(&Change),
    ) {
        while let Some((_, address, number)) = self.orders.pop_front_if(|order| order.0 <= now) {
            let in_contact = !self.feed.trouble;
            if self.ledger.doubt(address, number, in_contact, since_start(now)) {
                self.feed.ask(number);
            }
        }
        self.ledger.pass(since_start(now));
        loop {
            let known = self.feed.known();
            let Some(told) = self.feed.next(server, now, dice) else { break };
            server.log[known..self.feed.known()].iter().for_each(|(_, change)| stir(change));
            let now = since_start(now);
            match told {
                Told::All(routes, asked_at) => {
                    let routes = routes.iter().map(|route| route.listed()).collect();
                    if self.ledger.list(routes, asked_at, now) {
                        self.feed.ask(self.ledger.doubts());
                    }
                }
                Told::Changed(Change::Written(route)) => self.ledger.change(route.listed(), now),
                Told::Changed(Change::Deleted(route)) => self.ledger.remove(&route.listed(), now),
                Told::Trouble => self.ledger.lose_contact(now),
            }
        }
        let snapshot = self.ledger.snapshot().map(Arc::new);
        if snapshot != self.published {
            self.published = snapshot;
            let slowness = if self.fault == Fault::Slow { 150 } else { 0 };
            self.looks.get_or_insert(now + 1 + dice.upto(15) + slowness);
        }
        let (called, asked) = (&mut self.hears, &mut self.asks);
        if [called, asked].map(|it| it.take_if(|at| *at <= now)) != [None, None] {
            self.heed(now);
        }
        if self.looks.take_if(|at| *at <= now).is_some() {
            self.assign(now);
        }
        while self.engine.poll(Tick::from_millis(now), &mut self.outbox) {}
    }

    /// As the main thread does when a worker has seen who contradicts.
    fn heed(&mut self, now: u64) {
        let signs = self.engine.neighbours().signs(Tick::from_millis(now));
        let signs =
            latest_signs(signs.map(|sign| (sign.address, since_start(sign.since.as_millis()))));
        let raised = self.doubts.hear(&signs, self.published.as_deref(), since_start(now));
        self.orders.extend(raised.iter().map(|(address, number)| (now + 1, *address, *number)));
        // The main thread asks again and again; here only while that may change anything.
        if !signs.is_empty() {
            self.asks = Some(now + 500);
        }
        self.assign(now);
    }

    fn assign(&mut self, now: u64) {
        let Some(published) = self.published.clone() else { return };
        if !self.source.give(self.doubts.apply(published)) {
            return;
        }
        let next = self.source.refresh(&KernelFacts::default(), &[]).expect("routes are no error");
        let now = Tick::from_millis(now);
        self.engine.set_policy(next.policy, next.generation, &self.links, now, &mut self.outbox);
        self.source.accepted();
    }

    /// It was asked to end.
    pub(super) fn stop(&mut self, now: u64) {
        self.ends.get_or_insert(now + 20_000);
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        let holds = self.source.given().is_some_and(|given| given.holds_any());
        self.ends.is_some_and(|end| end <= now || !holds)
    }

    /// Takes a frame in; what it forwards of it is returned with what else leaves, by interface.
    pub(super) fn receive(
        &mut self,
        ingress: InterfaceId,
        frame: &[u8],
        now: u64,
        dice: &mut Dice,
    ) -> Vec<(InterfaceId, Vec<u8>)> {
        let conflicts = self.engine.counters.conflicts;
        let (mut buffer, mut batch) = (frame.to_vec(), Batch::new());
        let packet = Packet::new(&mut buffer, 0, frame.len(), Offload::NONE);
        batch.push(packet).expect("the batch is empty");
        let now_tick = Tick::from_millis(now);
        let verdict = self.engine.process(now_tick, ingress, &mut batch, &mut self.outbox)[0];
        if self.engine.counters.conflicts > conflicts && self.fault != Fault::Deaf {
            self.hears.get_or_insert(now + 1 + dice.upto(10));
        }
        let mut leaving = self.leaving();
        if let Verdict::Tx(egress) = verdict {
            leaving.push((egress, batch.packets()[0].bytes().to_vec()));
        }
        leaving
    }

    /// What leaves by itself.
    pub(super) fn leaving(&mut self) -> Vec<(InterfaceId, Vec<u8>)> {
        let mut leaving = Vec::new();
        for egress in [InterfaceId(0), InterfaceId(1)] {
            let ready = self.outbox.ready_for(egress);
            leaving.extend(ready.map(|packet| (egress, packet.bytes().to_vec())));
        }
        self.outbox.clear();
        leaving
    }

    /// Whether it knows all that there is, and works by that.
    pub(super) fn is_sure(&self, server: &Server) -> bool {
        let busy = self.hears.is_some() || self.looks.is_some() || !self.orders.is_empty();
        !busy && self.feed.is_current(server)
    }

    /// When it has something to do.
    pub(super) fn due(&self, server: &Server) -> Option<u64> {
        let engine = self.engine.next_deadline().map(Tick::as_millis);
        let ledger = self.ledger.deadline().map(|at| at.as_millis() as u64);
        let order = self.orders.front().map(|order| order.0);
        let due = [self.feed.due(server), self.looks, self.hears, self.asks, self.ends];
        due.into_iter().chain([engine, ledger, order]).flatten().min()
    }

    pub(super) const fn mac(&self, interface: InterfaceId) -> Mac {
        self.links[interface.0 as usize].mac
    }
}

const fn since_start(now: u64) -> Duration {
    Duration::from_millis(now)
}

/// Each host inside has an address of its own outside.
const CONFIG: &str = r#"
[control]
source = "kubernetes"
[limits]
sessions = 64
fragments = 16
sources = 64
[[interface]]
name = "inside"
device = "in0"
addresses = ["10.0.0.1/24"]
[[interface]]
name = "outside"
device = "out0"
addresses = ["192.0.2.1/24"]
network = "wan"
[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.254"
[[pool]]
name = "x"
addresses = ["203.0.113.10"]
[[pool]]
name = "y"
addresses = ["203.0.113.11"]
[[rule]]
name = "x"
kind = "source-nat"
from = "inside"
to = "outside"
source = ["10.0.0.10"]
pool = "x"
[[rule]]
name = "y"
kind = "source-nat"
from = "inside"
to = "outside"
source = ["10.0.0.11"]
pool = "y"
"#;

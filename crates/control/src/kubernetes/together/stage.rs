//! The link that the agents of the simulation share, time, and who was seen to send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use etherparse::PacketBuilder;
use mooring_policy::InterfaceId;
use mooring_wire::Mac;
use mooring_wire::arp::{Arp, Emit, LEN, REPLY, REQUEST};
use mooring_wire::ethernet::{self, EtherType, Ethernet, HEADER_LEN};

use super::agent::Agent;
use super::feed::Contact;
use super::server::{Right, Route, Server};
use super::{ADDRESSES, Dice, Event, Fault, PODS};

pub(super) struct Stage<'a> {
    folder: &'a Path,
    fault: Fault,
    dice: Dice,
    now: u64,
    server: Server,
    agents: [Option<Agent>; 3],
    /// Frames between agents: when they arrive, and who sent them.
    wire: Vec<(u64, Option<usize>, Vec<u8>)>,
    /// When an address was last changed, or an agent last heard of a change.
    stirred: BTreeMap<&'static str, u64>,
    /// When somebody last did not know all.
    unsure: u64,
    /// Who has sent for what in this millisecond.
    sent: BTreeSet<(&'static str, &'static str)>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(folder: &'a Path, fault: Fault, agents: usize, seed: u64) -> Self {
        let mut stage = Self {
            folder,
            fault,
            dice: Dice::new(seed),
            now: 0,
            server: Server::default(),
            agents: [const { None }; 3],
            wire: Vec::new(),
            stirred: ADDRESSES.into_iter().map(|address| (address, 0)).collect(),
            unsure: 0,
            sent: BTreeSet::new(),
        };
        stage.server.create("x", ADDRESSES[0], 0);
        stage.server.create("y", ADDRESSES[1], 0);
        (0..agents).for_each(|at| stage.happen(&Event::Start(at)));
        stage
    }

    pub(super) fn happen(&mut self, event: &Event) {
        let (now, known) = (self.now, self.server.log.len());
        match event {
            Event::Name(route, pods) => self.server.name(route, pods, now),
            Event::Judge(route, accepts) => self.server.judge(route, *accepts, now),
            Event::Specify(route, address) => self.server.specify(route, *address, now),
            Event::Create(route, address) => self.server.create(route, address, now),
            Event::Delete(route) => self.server.delete(route, now),
            Event::Start(at) => {
                let (folder, fault) = (self.folder, self.fault);
                self.agents[*at]
                    .get_or_insert_with(|| Agent::start((*at, PODS[*at]), folder, fault, now));
            }
            Event::Kill(at) => self.agents[*at] = None,
            Event::Stop(at) => self.agents[*at].iter_mut().for_each(|agent| agent.stop(now)),
            Event::Contact(at, contact) => {
                self.agents[*at].iter_mut().for_each(|agent| agent.feed.contact = *contact);
            }
            Event::Delay(at, delay) => {
                self.agents[*at].iter_mut().for_each(|agent| agent.feed.delay = *delay);
            }
            Event::Forget(at) => {
                self.agents[*at].iter_mut().for_each(|agent| agent.feed.relist());
            }
            Event::Contradict(address) => {
                let frame =
                    arp_frame(REPLY, (STRANGER, ip(address)), (Mac::BROADCAST, ip(address)));
                self.wire.push((now + 1, None, frame));
            }
        }
        for (_, change) in &self.server.log[known..] {
            stir(&mut self.stirred, change.route(), now);
        }
    }

    /// Lets time pass, event by event, and says what is wrong as soon as it is.
    pub(super) fn pass(&mut self, time: u64) -> Result<(), String> {
        let end = self.now + time;
        loop {
            self.turn()?;
            if self.now == end {
                return Ok(());
            }
            self.now = self.next().clamp(self.now + 1, end);
        }
    }

    /// Whether anybody has just sent for the address.
    pub(super) fn is_used(&self, address: &str) -> bool {
        self.sent.iter().any(|sent| sent.1 == address)
    }

    /// All is well again, and what is to be expected of that.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for at in 0..PODS.len() {
            self.happen(&Event::Contact(at, Contact::Good));
            self.happen(&Event::Delay(at, 5));
        }
        let began = self.now;
        while self.now < self.unsure + 2_000 {
            self.pass(500)?;
            if self.now > began + 120_000 {
                return Err("nobody knows all after two minutes without trouble".to_owned());
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), String> {
        self.sent.clear();
        let now = self.now;
        for at in 0..self.agents.len() {
            let Some(agent) = &mut self.agents[at] else { continue };
            let stirred = &mut self.stirred;
            agent.turn(&self.server, now, &mut self.dice, |change| {
                stir(stirred, change.route(), now);
            });
            let leaving = agent.leaving();
            self.carry(at, leaving);
            if self.agents[at].as_ref().is_some_and(|agent| agent.is_over(now)) {
                self.agents[at] = None;
            }
            for frame in offers() {
                self.give(at, frame.0, &frame.1);
            }
        }
        let due = self.wire.extract_if(.., |frame| frame.0 <= now).collect::<Vec<_>>();
        for (_, from, frame) in due {
            for at in (0..self.agents.len()).filter(|at| Some(*at) != from) {
                self.give(at, OUTSIDE, &frame);
            }
        }
        self.judge()
    }

    fn judge(&mut self) -> Result<(), String> {
        let running = || self.agents.iter().flatten();
        if running().any(|agent| !agent.is_sure(&self.server)) {
            self.unsure = self.now;
        }
        for address in ADDRESSES {
            let senders: Vec<&str> =
                self.sent.iter().filter(|sent| sent.1 == address).map(|sent| sent.0).collect();
            let stirred = self.stirred[address];
            let say = |what: &str| {
                Err(format!(
                    "at {} ms, {} ms after the last change of {address}, {senders:?} send: {what}",
                    self.now,
                    self.now - stirred
                ))
            };
            if self.now > stirred + AT_MOST && senders.len() > 1 {
                return say("more than one");
            }
            if self.now <= stirred.max(self.unsure) + AT_MOST {
                continue;
            }
            let runs = |pod: &str| running().any(|agent| agent.pod == pod);
            match self.server.right(address) {
                Right::Pod(pod) if runs(pod) && senders != [pod] => return say(pod),
                Right::Pod(pod) | Right::AtMost(pod) if senders.iter().any(|it| *it != pod) => {
                    return say(pod);
                }
                Right::Nobody if !senders.is_empty() => return say("nobody should"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives a frame to an agent, and carries what that makes it send.
    fn give(&mut self, at: usize, ingress: InterfaceId, frame: &[u8]) {
        let Some(agent) = &mut self.agents[at] else { return };
        let mut frame = frame.to_vec();
        if frame[..6] == Mac::ZERO.0 {
            frame[..6].copy_from_slice(&agent.mac(ingress).0);
        }
        let leaving = agent.receive(ingress, &frame, self.now, &mut self.dice);
        self.carry(at, leaving);
    }

    fn carry(&mut self, at: usize, leaving: Vec<(InterfaceId, Vec<u8>)>) {
        for (egress, frame) in leaving {
            let view = Ethernet::parse(&frame[..]).expect("a frame");
            let (to, ether_type) = (view.destination(), view.ether_type());
            let arp =
                Arp::parse(&frame[HEADER_LEN..]).ok().filter(|_| ether_type == EtherType::ARP);
            let source = match (&arp, ether_type) {
                (Some(arp), _) => arp.sender_ip(),
                (None, EtherType::IPV4) => {
                    Ipv4Addr::from([frame[26], frame[27], frame[28], frame[29]])
                }
                _ => continue,
            };
            let ours = ADDRESSES.into_iter().find(|address| ip(address) == source);
            if let Some((address, pod)) = ours.zip(self.agents[at].as_ref().map(|it| it.pod)) {
                self.sent.insert((pod, address));
            }
            let asks =
                |arp: &Arp<&[u8]>| arp.operation() == REQUEST && !arp.target_ip().is_unspecified();
            if let Some(question) = arp.filter(asks) {
                let target = question.target_ip();
                let mac = if egress == INSIDE { HOST_MAC } else { GATEWAY_MAC };
                if egress == INSIDE && target.octets()[3] >= 10 || target == GATEWAY {
                    let asker = (question.sender_mac(), question.sender_ip());
                    self.give(at, egress, &arp_frame(REPLY, (mac, target), asker));
                }
            }
            if egress == OUTSIDE && to == Mac::BROADCAST {
                self.wire.push((self.now + 1, Some(at), frame));
            }
        }
    }

    /// When anything happens, or is to be looked at.
    fn next(&self) -> u64 {
        let agents = self.agents.iter().flatten().filter_map(|agent| agent.due(&self.server));
        let wire = self.wire.iter().map(|frame| frame.0);
        let looks = self.stirred.values().chain([&self.unsure]).map(|at| at + AT_MOST + 1);
        agents.chain(wire).chain(looks.filter(|at| *at > self.now)).min().unwrap_or(u64::MAX)
    }
}

fn stir(stirred: &mut BTreeMap<&'static str, u64>, route: &Route, now: u64) {
    // What a route had before it may have lost by this change.
    let address = if route.name == "y" { ADDRESSES[1] } else { ADDRESSES[0] };
    stirred.insert(address, now);
}

/// What is always there to be sent: of a host inside for each address, and who has the address.
fn offers() -> Vec<(InterfaceId, Vec<u8>)> {
    let mut offers = Vec::new();
    for (at, address) in ADDRESSES.into_iter().enumerate() {
        let mut datagram = Vec::new();
        PacketBuilder::ethernet2(HOST_MAC.0, Mac::ZERO.0)
            .ipv4([10, 0, 0, 10 + at as u8], [198, 51, 100, 7], 64)
            .udp(5_000, 53)
            .write(&mut datagram, b"question")
            .expect("a vector takes everything");
        offers.push((INSIDE, datagram));
        let question = arp_frame(REQUEST, (GATEWAY_MAC, GATEWAY), (Mac::ZERO, ip(address)));
        offers.push((OUTSIDE, question));
    }
    offers
}

fn arp_frame(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN + LEN];
    let (header, body) = frame.split_at_mut(HEADER_LEN);
    let to = if operation == REQUEST { Mac::BROADCAST } else { target.0 };
    ethernet::emit(header, to, sender.0, EtherType::ARP);
    let (sender_mac, sender_ip) = sender;
    let (target_mac, target_ip) = target;
    Emit { operation, sender_mac, sender_ip, target_mac, target_ip }.emit(body);
    frame
}

fn ip(address: &str) -> Ipv4Addr {
    address.parse().expect("an address")
}

/// How long more than one may send after a change, and after an agent has heard of one.
const AT_MOST: u64 = 100;

const INSIDE: InterfaceId = InterfaceId(0);
const OUTSIDE: InterfaceId = InterfaceId(1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const HOST_MAC: Mac = Mac([2, 0xaa, 0, 0, 0, 1]);
const GATEWAY_MAC: Mac = Mac([2, 0xbb, 0, 0, 0, 1]);
const STRANGER: Mac = Mac([2, 0xcc, 0, 0, 0, 1]);

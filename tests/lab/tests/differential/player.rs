//! Plays sequences at one bed: says what each step means there, and what was seen of it in words that
//! hold for both beds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mooring_lab::Config;
use mooring_lab::clock::{LIMIT, Stopwatch};

use super::bed::{Bed, Link, Nat, Side, address, port};
use super::packets::{self, Datagram, Message};
use super::sequence::{End, Protocol, RST, Send, Sequence, Shape, Step, Target, conversation};
use super::tracing::{PAYLOAD, is_of_the_link, numbers, owner, payload, put_together};
use super::witness::Seen;

/// One bed and what was learned at it.
pub(crate) struct Player {
    pub(crate) nat: Nat,
    pub(crate) bed: Bed,
    pub(crate) games: HashMap<u16, Game>,
    /// Who is known by an outside port to a peer.
    pub(crate) owners: HashMap<(u8, SocketAddr, SocketAddr), (u16, End)>,
    /// Of the appliance alone, whose mapping does not depend on the peer.
    pub(crate) mappings: HashMap<(u8, SocketAddr), (u16, End)>,
    pub(crate) mapped: HashMap<(u8, u16, End), SocketAddr>,
    /// Outside ports that belonged to two.
    pub(crate) clashes: Vec<String>,
    /// Packets that are for no host of a sequence.
    pub(crate) strays: Vec<Datagram>,
    pieces: HashMap<(Side, IpAddr, IpAddr, u8, u32), Vec<Datagram>>,
    arrived: Vec<(u16, Side, Datagram)>,
    marks: u32,
}

/// A sequence that is being played.
#[derive(Default)]
pub(crate) struct Game {
    /// What each step has sent, and what of it arrived.
    pub(crate) sent: Vec<Option<Datagram>>,
    pub(crate) arrived: Vec<Option<Datagram>>,
    pub(crate) outside: HashMap<(u8, End, End), SocketAddr>,
}

impl Player {
    pub(crate) fn new(nat: Nat, change: fn(Config) -> Config) -> Result<Self> {
        let mut player = Self {
            nat,
            bed: Bed::make(nat, change)?,
            games: HashMap::new(),
            owners: HashMap::new(),
            mappings: HashMap::new(),
            mapped: HashMap::new(),
            clashes: Vec::new(),
            strays: Vec::new(),
            pieces: HashMap::new(),
            arrived: Vec::new(),
            marks: 0,
        };
        // Each next hop is known before anything is compared.
        player.settle(true)?;
        player.settle(false)?;
        Ok(player)
    }

    /// Sends a step of sequence `number`.
    pub(crate) fn send(&mut self, number: u16, sequence: &Sequence, at: usize) -> Result<()> {
        let (from, sent) = match sequence.steps[at] {
            Step::Send(send) => (send.from, self.datagram(number, sequence, at, send)),
            Step::Complain { about, from, kind, is_short } => {
                (from, self.complaint(number, about, (from, sequence.v6), kind, is_short))
            }
        };
        let side = if from.is_inside() { Side::Inside } else { Side::Outside };
        if let Some(datagram) = &sent {
            let shape = match sequence.steps[at] {
                Step::Send(send) => send.shape,
                Step::Complain { .. } => Shape::Whole,
            };
            let mut parts = vec![datagram.clone()];
            if shape != Shape::Whole {
                parts = datagram.cut(PIECE);
            }
            if shape == Shape::PiecesBackwards {
                parts.reverse();
            }
            self.bed.links[side as usize].send(&parts)?;
        }
        if let Step::Send(send) = sequence.steps[at] {
            self.forget_after_reset(number, sequence.v6, send);
        }
        let game = self.games.entry(number).or_default();
        game.sent.push(sent);
        game.arrived.push(None);
        Ok(())
    }

    /// In place of a step that is not sent.
    pub(crate) fn leave_out(&mut self, number: u16) {
        let game = self.games.entry(number).or_default();
        game.sent.push(None);
        game.arrived.push(None);
    }

    /// The kernel forgets a connection with its RST, and gives the port away again.
    fn forget_after_reset(&mut self, number: u16, v6: bool, send: Send) {
        let is_reset = matches!(send.protocol, Protocol::Tcp { flags } if flags & RST != 0);
        if self.nat != Nat::Nftables || !is_reset {
            return;
        }
        let (inside, peer, _) = conversation(send);
        let outside = self
            .games
            .get(&number)
            .and_then(|game| game.outside.get(&(send.protocol.kind(), inside, peer)).copied());
        if let Some(outside) = outside {
            let peer = SocketAddr::new(address(peer, number, v6), port(peer, number));
            self.owners.remove(&(send.protocol.kind(), outside, peer));
        }
    }

    fn datagram(
        &self,
        number: u16,
        sequence: &Sequence,
        at: usize,
        send: Send,
    ) -> Option<Datagram> {
        let v6 = sequence.v6;
        let source = SocketAddr::new(address(send.from, number, v6), port(send.from, number));
        let target = self.resolve(number, v6, send)?;
        let ports = (source.port(), target.port());
        let length = if send.shape == Shape::Whole { PAYLOAD } else { PAYLOAD_IN_PIECES };
        let payload = payload(number, at, length);
        let (protocol, body) = match send.protocol {
            Protocol::Udp { .. } => (packets::UDP, packets::udp(ports, &payload)),
            Protocol::Tcp { flags } => {
                let numbers = numbers(sequence, at, send, flags);
                (packets::TCP, packets::tcp(ports, flags, numbers, &payload))
            }
            Protocol::Echo { is_reply } => {
                let identifier = if send.from.is_inside() { ports.0 } else { ports.1 };
                let [high, low] = identifier.to_be_bytes();
                let kind = match (is_reply, v6) {
                    (true, false) => 0,
                    (false, false) => 8,
                    (true, true) => 129,
                    (false, true) => 128,
                };
                let protocol = if v6 { packets::ICMPV6 } else { packets::ICMP };
                (protocol, packets::icmp((kind, 0), [high, low, 0, at as u8], &payload))
            }
        };
        let mut datagram = Datagram::new((source.ip(), target.ip()), protocol, body);
        if send.protocol == (Protocol::Udp { without_sum: true }) {
            datagram.body[6..8].copy_from_slice(&[0, 0]);
        }
        datagram.ttl = send.ttl;
        datagram.class = send.class;
        datagram.identification = u32::from(number) << 4 | at as u32;
        datagram.dont_fragment = send.shape == Shape::Whole && at.is_multiple_of(2) && !v6;
        Some(datagram)
    }

    /// Where a target is at this bed; `None` if it has never been seen.
    pub(crate) fn resolve(&self, number: u16, v6: bool, send: Send) -> Option<SocketAddr> {
        match send.to {
            Target::End(end) => Some(SocketAddr::new(address(end, number, v6), port(end, number))),
            Target::MappingOf { inside, peer, off } => {
                let key = (send.protocol.kind(), inside, peer);
                let mut outside = *self.games.get(&number)?.outside.get(&key)?;
                outside.set_port(outside.port().wrapping_add(off));
                Some(outside)
            }
        }
    }

    fn complaint(
        &self,
        number: u16,
        about: usize,
        (from, v6): (End, bool),
        kind: (u8, u8),
        is_short: bool,
    ) -> Option<Datagram> {
        let subject = self.games.get(&number)?.arrived.get(about)?.as_ref()?;
        let mut quote = subject.bytes();
        if is_short {
            quote.truncate(if v6 { 48 } else { 28 });
        }
        let rest = match kind {
            (3, 4) if !v6 => [0, 0, 5, 120],
            (2, 0) if v6 => [0, 0, 5, 120],
            (5, _) => [192, 0, 2, 77],
            _ => [0; 4],
        };
        let protocol = if v6 { packets::ICMPV6 } else { packets::ICMP };
        let ends = (address(from, number, v6), subject.source);
        Some(Datagram::new(ends, protocol, packets::icmp(kind, rest, &quote)))
    }

    /// Waits until everything that was sent has become what it becomes: a datagram crosses behind it,
    /// its answer behind that, and one more behind what the answer found waiting.
    pub(crate) fn settle(&mut self, v6: bool) -> Result<()> {
        self.marks += 1;
        for leg in 0..3 {
            self.cross(v6, leg)?;
        }
        Ok(())
    }

    fn cross(&mut self, v6: bool, leg: usize) -> Result<()> {
        let (inside, peer) = (End::A(4000), End::P(4000));
        let sender = SocketAddr::new(address(inside, MARK, v6), 4000);
        let receiver = SocketAddr::new(address(peer, MARK, v6), 4000);
        let game = self.games.entry(MARK).or_default();
        let known = game.outside.get(&(packets::UDP, inside, peer)).copied();
        let (from, to, side) = match (leg, known) {
            (1, Some(known)) => (receiver, known, Side::Outside),
            _ => (sender, receiver, Side::Inside),
        };
        let mark = [self.marks.to_be_bytes(), (leg as u32).to_be_bytes()].concat();
        let body = packets::udp((from.port(), to.port()), &mark);
        let datagram = Datagram::new((from.ip(), to.ip()), packets::UDP, body);
        let waiting = Stopwatch::start();
        let mut sends = 0;
        loop {
            // It may be lost as any packet; the wait is for machines that are busy with other things.
            if waiting.elapsed() >= PATIENCE * sends {
                self.bed.links[side as usize].send(std::slice::from_ref(&datagram))?;
                sends += 1;
            }
            self.collect()?;
            let is_mark = |(number, at, datagram): &(u16, Side, Datagram)| {
                *number == MARK && *at != side && datagram.body.ends_with(&mark)
            };
            if let Some(found) = self.arrived.iter().position(is_mark) {
                let (.., arrived) = self.arrived.swap_remove(found);
                self.arrived.retain(|(number, ..)| *number != MARK);
                if let Message::Udp { ports, .. } = arrived.message()
                    && side == Side::Inside
                {
                    let mapped = SocketAddr::new(arrived.source, ports.0);
                    let game = self.games.entry(MARK).or_default();
                    game.outside.insert((packets::UDP, inside, peer), mapped);
                }
                return Ok(());
            }
            if waiting.elapsed() > LIMIT {
                bail!("{:?}: no datagram came through in {} s", self.nat, LIMIT.as_secs());
            }
            std::thread::yield_now();
        }
    }

    /// Takes what has arrived; fragments are put together first.
    fn collect(&mut self) -> Result<()> {
        let Self { bed, pieces, arrived, strays, .. } = self;
        for (link, side) in bed.links.iter_mut().zip([Side::Inside, Side::Outside]) {
            link.receive(|datagram| {
                let Some(whole) = put_together(pieces, side, datagram) else { return };
                match owner(&whole, side) {
                    Some(number) => arrived.push((number, side, whole)),
                    None if is_of_the_link(&whole) => (),
                    None => strays.push(whole),
                }
            })?;
        }
        Ok(())
    }

    /// What of step `at` has been seen since the last time, by sequence.
    pub(crate) fn seen(
        &mut self,
        sequences: &HashMap<u16, Sequence>,
        at: usize,
    ) -> Result<HashMap<u16, Vec<Seen>>> {
        self.collect()?;
        let mut seen: HashMap<u16, Vec<Seen>> = HashMap::new();
        for (number, side, datagram) in std::mem::take(&mut self.arrived) {
            let Some(sequence) = sequences.get(&number) else { continue };
            let one = self.read(number, sequence, at, side, datagram);
            seen.entry(number).or_default().push(one);
        }
        seen.values_mut().for_each(|seen| seen.sort());
        Ok(seen)
    }

    /// How many packets the test's own sockets have lost.
    pub(crate) fn ensure_nothing_lost(&mut self) -> Result<()> {
        let lost: u64 = self.bed.links.iter_mut().map(Link::lost).sum();
        ensure!(lost == 0, "{:?}: the hosts lost {lost} packets", self.nat);
        Ok(())
    }
}

/// Of the datagrams that are no sequence's.
const MARK: u16 = 65_000;
const PATIENCE: Duration = Duration::from_secs(2);
const PAYLOAD_IN_PIECES: usize = 3_000;
const PIECE: usize = 1_400;

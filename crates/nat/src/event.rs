//! What a management system is told beside counters: blocks that were given out and taken back, and
//! what ran short (RFC 6888 REQ-11 C, REQ-12 to REQ-14).
//!
//! A bounded ring that the worker's reader empties between batches. What runs short does so for every
//! packet, so of those kinds there is one event a second and pool, with the number of those that it stands for.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use mooring_session::Tick;
use mooring_wire::Protocol;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A host got a block of ports (RFC 8158 event 16).
    BlockAllocated,
    /// A host gave a block of ports back (RFC 8158 event 17).
    BlockReleased,
    /// A source has as many TCP sessions that are not open yet as it, or all of its pool, may have.
    HalfOpenLimit,
    /// A host has no address to be had outside: the pool has none for it, or none of its own is held (RFC
    /// 8158 event 3).
    NoAddress,
    /// All hosts of a pool have as much as they may have.
    PoolLimit,
    /// A pool had no free port for a host (RFC 8158 event 12).
    PortsExhausted,
    /// A source, or all of a pool, begins more sessions in a second than it may.
    SessionRateLimit,
    /// A source has as many sessions or mappings as it may have (RFC 8158 event 13).
    SourceLimit,
    /// The table of sessions, mappings, sources or neighbours is full (RFC 8158 event 13).
    TableFull,
    /// A source has as many TCP sessions that are no longer open as it, or all of its pool, may have: the
    /// oldest of them has ended.
    TransitoryLimit,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Tick,
    /// What.
    pub kind: EventKind,
    /// Index of the pool in the policy of then; `None`: of no pool.
    pub pool: Option<u16>,
    /// The inside host, or the first address of its prefix.
    pub inside: Option<IpAddr>,
    /// The outside address.
    pub outside: Option<IpAddr>,
    /// Of the packet that met it; `None` where it is the same for all.
    pub protocol: Option<Protocol>,
    /// The ports of a block.
    pub ports: Option<RangeInclusive<u16>>,
    /// Others of the kind and pool since the last one, which nobody was told of.
    pub suppressed: u32,
}

/// The events of one worker that nobody has read yet.
#[derive(Debug)]
pub struct EventLog {
    waiting: VecDeque<Event>,
    /// Events that found no room, since the start.
    pub lost: u64,
    /// Events of each kind since the start, suppressed and lost ones included.
    pub counts: [u64; EventKind::ALL.len()],
    /// When the last event of a kind was written for a pool, or for none, and how many came since.
    limits: Vec<[(Option<Tick>, u32); POOLS + 1]>,
}

impl EventKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::BlockAllocated,
        Self::BlockReleased,
        Self::HalfOpenLimit,
        Self::NoAddress,
        Self::PoolLimit,
        Self::PortsExhausted,
        Self::SessionRateLimit,
        Self::SourceLimit,
        Self::TableFull,
        Self::TransitoryLimit,
    ];

    /// The kind's name in `show events`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockAllocated => "block_allocated",
            Self::BlockReleased => "block_released",
            Self::HalfOpenLimit => "half_open_limit",
            Self::NoAddress => "no_address",
            Self::PoolLimit => "pool_limit",
            Self::PortsExhausted => "ports_exhausted",
            Self::SessionRateLimit => "session_rate_limit",
            Self::SourceLimit => "source_limit",
            Self::TableFull => "table_full",
            Self::TransitoryLimit => "transitory_limit",
        }
    }

    /// Whether each is told: they are the record of who had which ports.
    const fn is_record(self) -> bool {
        matches!(self, Self::BlockAllocated | Self::BlockReleased)
    }
}

impl Event {
    /// An event about nobody in particular.
    #[must_use]
    pub const fn new(kind: EventKind, at: Tick) -> Self {
        Self {
            at,
            kind,
            pool: None,
            inside: None,
            outside: None,
            protocol: None,
            ports: None,
            suppressed: 0,
        }
    }
}

impl EventLog {
    /// An empty log; takes its memory at once.
    #[must_use]
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(CAPACITY),
            lost: 0,
            counts: [0; EventKind::ALL.len()],
            limits: vec![[(None, 0); POOLS + 1]; EventKind::ALL.len()],
        }
    }

    /// Writes an event, or counts it where there was one of its kind and pool less than a second ago: what
    /// one pool runs short of hides nothing of another.
    pub fn write(&mut self, mut event: Event) {
        let kind = event.kind as usize;
        self.counts[kind] += 1;
        if !event.kind.is_record() {
            let pool = event.pool.map_or(POOLS, |pool| usize::from(pool) % POOLS);
            let (last, since) = &mut self.limits[kind][pool];
            if last.is_some_and(|last| event.at.since(last) < PAUSE_MILLIS) {
                *since = since.saturating_add(1);
                return;
            }
            event.suppressed = std::mem::take(since);
            *last = Some(event.at);
        }
        if self.waiting.len() == CAPACITY {
            self.lost += 1;
            return;
        }
        self.waiting.push_back(event);
    }

    /// Takes the oldest event out.
    pub fn read(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

/// Events that wait for their reader; what comes then is lost, and counted.
const CAPACITY: usize = 4096;

/// Pools whose events are limited each by itself; those beyond share these places.
const POOLS: usize = 64;

/// Between two events of one kind and pool that is no record.
const PAUSE_MILLIS: u64 = 1000;

#[cfg(test)]
mod tests {
    use mooring_session::Tick;

    use super::{CAPACITY, Event, EventKind, EventLog};

    #[test]
    fn one_a_second_stands_for_all_of_its_kind() {
        let mut log = EventLog::new();
        for millis in [0, 1, 999, 1000, 1500] {
            log.write(Event::new(EventKind::PortsExhausted, Tick::from_millis(millis)));
        }
        log.write(Event::new(EventKind::TableFull, Tick::from_millis(1500)));
        let told: Vec<_> = std::iter::from_fn(|| log.read())
            .map(|event| (event.kind, event.at.as_millis(), event.suppressed))
            .collect();
        let expected = [
            (EventKind::PortsExhausted, 0, 0),
            (EventKind::PortsExhausted, 1000, 2),
            (EventKind::TableFull, 1500, 0),
        ];
        assert_eq!(told, expected);
        assert_eq!(log.counts[EventKind::PortsExhausted as usize], 5);
    }

    /// A pool that is short without pause does not hide that another one is.
    #[test]
    fn each_pool_is_told_of_by_itself() {
        let mut log = EventLog::new();
        for (millis, pool) in [(0, None), (1, Some(0)), (2, Some(0)), (3, Some(1)), (1002, Some(0))]
        {
            let event = Event::new(EventKind::PortsExhausted, Tick::from_millis(millis));
            log.write(Event { pool, ..event });
        }
        let told: Vec<_> = std::iter::from_fn(|| log.read())
            .map(|event| (event.pool, event.at.as_millis(), event.suppressed))
            .collect();
        assert_eq!(told, [(None, 0, 0), (Some(0), 1, 0), (Some(1), 3, 0), (Some(0), 1002, 1)]);
        log.write(Event { pool: Some(u16::MAX), ..Event::new(EventKind::NoAddress, Tick::ZERO) });
        assert_eq!(log.counts[EventKind::NoAddress as usize], 1, "any number has its place");
    }

    #[test]
    fn every_block_is_told_until_nobody_reads() {
        let mut log = EventLog::new();
        for _ in 0..CAPACITY + 3 {
            log.write(Event::new(EventKind::BlockAllocated, Tick::ZERO));
        }
        assert_eq!(log.lost, 3);
        assert_eq!(std::iter::from_fn(|| log.read()).count(), CAPACITY);
    }

    #[test]
    fn every_kind_has_its_number_and_name() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(EventKind::ALL.iter().filter(|other| other.name() == kind.name()).count() == 1);
        }
    }
}

//! `/metrics` in the OpenMetrics text format. The names are stable; `docs/metrics.md` explains each.
//!
//! Nothing is counted here: a scrape asks the workers for their counters and writes them down.

use std::fmt;

use mooring_engine::neighbours::EntryView;
use mooring_engine::view::PoolUsage;
use mooring_engine::{Counters, DropReason, EventKind, InterfaceCounters, Occupancy};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// What a scrape has learned.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Version and commit of the program.
    pub version: &'static str,
    /// Generation of the policy.
    pub generation: u32,
    /// Names of the interfaces, in their order.
    pub interfaces: Vec<String>,
    /// Names of the pools, and how many addresses each has.
    pub pools: Vec<(String, u32)>,
    /// How much of each is used, by all workers together.
    pub usage: Vec<PoolUsage>,
    /// Most sessions that there may be.
    pub session_limit: u32,
    /// Of each worker.
    pub workers: Vec<(Counters, Occupancy)>,
    /// Events that the log of the process came too late for.
    pub events_unwritten: u64,
    /// Events of Kubernetes that the API server was not told of, or did not take.
    pub kubernetes_events_untold: u64,
    /// Neighbours by interface and state.
    pub neighbours: Vec<((usize, &'static str), u64)>,
}

impl Scrape {
    /// Counts these entries of the neighbour table.
    pub fn count_neighbours(&mut self, entries: &[EntryView]) {
        for entry in entries {
            let key = (usize::from(entry.interface.0), entry.state.name());
            match self.neighbours.iter_mut().find(|(known, _)| *known == key) {
                Some((_, count)) => *count += 1,
                None => self.neighbours.push((key, 1)),
            }
        }
    }

    /// Adds what one worker uses of the pools.
    pub fn add_usage(&mut self, pools: &[PoolUsage]) {
        self.usage.resize(self.pools.len(), PoolUsage::default());
        // After a reload a worker may speak of other pools: that scrape is a moment out of date.
        for (sum, more) in self.usage.iter_mut().zip(pools) {
            sum.leased += more.leased;
            sum.resting += more.resting;
            sum.blocks_held += more.blocks_held;
            sum.blocks += more.blocks;
        }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn into_text(self) -> String {
        let mut registry = Registry::with_prefix("mooring");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        text
    }

    fn of_workers(&self, value: impl Fn(&Counters, &Occupancy) -> u64) -> Vec<Row> {
        let rows = self.workers.iter().enumerate().map(|(at, (counters, occupancy))| {
            let labels = vec![("worker", at.to_string())];
            Row { labels, value: value(counters, occupancy) }
        });
        rows.collect()
    }

    fn of_interfaces(&self, value: impl Fn(&InterfaceCounters) -> u64) -> Vec<Row> {
        let rows = self.interfaces.iter().enumerate().map(|(at, name)| {
            let all = self.workers.iter().filter_map(|(counters, _)| counters.interfaces.get(at));
            Row { labels: vec![("interface", name.clone())], value: all.map(&value).sum() }
        });
        rows.collect()
    }

    fn drops(&self) -> Vec<Row> {
        let of = |reason| self.workers.iter().map(|(counters, _)| counters.dropped(reason)).sum();
        let happened = DropReason::ALL.into_iter().map(|reason| (reason.name(), of(reason)));
        happened
            .map(|(name, value)| Row { labels: vec![("reason", name.to_owned())], value })
            .collect()
    }

    fn events(&self) -> Vec<Row> {
        let rows = EventKind::ALL.into_iter().map(|kind| {
            let of_each = self.workers.iter().map(|(counters, _)| counters.events[kind as usize]);
            Row { labels: vec![("kind", kind.name().to_owned())], value: of_each.sum() }
        });
        rows.collect()
    }

    fn events_lost(&self) -> u64 {
        let lost = self.workers.iter().map(|(counters, _)| counters.events_lost);
        lost.sum::<u64>() + self.events_unwritten
    }

    fn neighbours(&self) -> Vec<Row> {
        let rows = self.neighbours.iter().map(|((interface, state), count)| {
            let name = self.interfaces.get(*interface).cloned().unwrap_or_default();
            let labels = vec![("interface", name), ("state", (*state).to_owned())];
            Row { labels, value: *count }
        });
        rows.collect()
    }

    fn of_pools(&self, value: impl Fn(&PoolUsage) -> u64) -> Vec<Row> {
        let rows = self.pools.iter().zip(&self.usage).map(|((name, _), usage)| Row {
            labels: vec![("pool", name.clone())],
            value: value(usage),
        });
        rows.collect()
    }

    fn pools(&self) -> Vec<Row> {
        let rows = self.pools.iter().map(|(name, addresses)| Row {
            labels: vec![("pool", name.clone())],
            value: u64::from(*addresses),
        });
        rows.collect()
    }

    fn write_appliance(&self, out: &mut Writer<'_>) -> fmt::Result {
        let labels = vec![("version", self.version.to_owned())];
        out.gauge("build_info", "Version and commit", vec![Row { labels, value: 1 }])?;
        out.single("generation", "Generation of the policy", self.generation)?;
        out.single("sessions_limit", "Most live sessions", self.session_limit)?;
        out.gauge("pool_addresses", "Addresses of the pool", self.pools())?;
        let leased = self.of_pools(|usage| usage.leased);
        out.gauge("pool_leased_ports", "Leased ports and identifiers of the pool", leased)?;
        let resting = self.of_pools(|usage| usage.resting);
        out.gauge("pool_resting_ports", "Ports and identifiers that rest", resting)?;
        let held = self.of_pools(|usage| usage.blocks_held);
        out.gauge("pool_blocks_held", "Blocks of ports that hosts have", held)?;
        let blocks = self.of_pools(|usage| usage.blocks);
        out.gauge("pool_blocks", "Blocks of ports of the pool", blocks)?;
        out.gauge("neighbours", "Entries of the neighbour table", self.neighbours())
    }

    fn write_workers(&self, out: &mut Writer<'_>) -> fmt::Result {
        let sessions = self.of_workers(|_, now| now.sessions as u64);
        out.gauge("sessions", "Live sessions", sessions)?;
        let mappings = self.of_workers(|_, now| now.mappings as u64);
        out.gauge("mappings", "Live endpoint-independent mappings", mappings)?;
        let leased = self.of_workers(|_, now| now.leased_ports as u64);
        out.gauge("leased_ports", "Leased outside ports and identifiers", leased)?;
        let created = self.of_workers(|counters, _| counters.sessions_created);
        out.counter("sessions_created", "Sessions begun", created)?;
        let expired = self.of_workers(|counters, _| counters.sessions_expired);
        out.counter("sessions_expired", "Sessions ended by their timeout", expired)?;
        let ended = self.of_workers(|counters, _| counters.sessions_ended);
        out.counter("sessions_ended", "Sessions ended before their timeout", ended)?;
        let transitory = self.of_workers(|counters, _| counters.transitory_ended);
        out.counter("transitory_ended", "Of those, closing connections over a limit", transitory)?;
        self.write_packets(out)?;
        let conflicts = self.of_workers(|counters, _| counters.conflicts);
        out.counter("conflicts", "Frames in which others used an address of ours", conflicts)?;
        let batches = self.of_workers(|counters, _| counters.work.batches.iter().sum());
        out.counter("batches", "Batches walked", batches)?;
        let packets = self.of_workers(|counters, _| counters.work.packets);
        out.counter("batch_packets", "Packets in them", packets)?;
        let clocks = self.of_workers(|counters, _| counters.work.clocks);
        out.counter("clocks", "Counts of the time-stamp counter", clocks)?;
        let busy = self.of_workers(|counters, _| counters.work.busy_clocks);
        out.counter("busy_clocks", "Those in which there was something to do", busy)?;
        out.counter("events", "Events, those that nobody was told of included", self.events())?;
        out.single_total("events_lost", "Events that the log does not have", self.events_lost())?;
        let untold = self.kubernetes_events_untold;
        out.single_total("kubernetes_events_untold", "Events that no route has", untold)
    }

    fn write_packets(&self, out: &mut Writer<'_>) -> fmt::Result {
        let translated = self.of_workers(|counters, _| counters.translated);
        out.counter("translated_packets", "Packets translated", translated)?;
        let local = self.of_workers(|counters, _| counters.local);
        out.counter("local_packets", "Packets that were for us and were read", local)?;
        let served = self.of_workers(|counters, _| counters.served);
        out.counter("served_packets", "Packets given to a service of ours", served)?;
        let handed = self.of_workers(|counters, _| counters.handed_over);
        out.counter("handed_over_packets", "Packets that belong to another worker", handed)?;
        let cut = self.of_workers(|counters, _| counters.cut);
        out.counter("cut_packets", "Packets that left in fragments", cut)?;
        let held = self.of_workers(|counters, _| counters.held);
        out.counter("held_packets", "Packets that waited for their neighbour", held)?;
        let originated = self.of_workers(|counters, _| counters.originated);
        out.counter("originated_packets", "ICMP errors and echo replies of our own", originated)?;
        out.counter("dropped_packets", "Packets dropped", self.drops())
    }

    fn write_interfaces(&self, out: &mut Writer<'_>) -> fmt::Result {
        let rx = self.of_interfaces(|counters| counters.rx_packets);
        out.counter("interface_rx_packets", "Packets read", rx)?;
        let tx = self.of_interfaces(|counters| counters.tx_packets);
        out.counter("interface_tx_packets", "Packets that the device took", tx)?;
        let rx = self.of_interfaces(|counters| counters.rx_bytes);
        out.bytes("interface_rx", "Bytes read, link headers included", rx)?;
        let tx = self.of_interfaces(|counters| counters.tx_bytes);
        out.bytes("interface_tx", "Bytes that the device took, link headers included", tx)?;
        let lost = self.of_interfaces(|counters| counters.rx_lost);
        out.counter("interface_rx_lost_packets", "Packets that the kernel lost before us", lost)?;
        let unreadable = self.of_interfaces(|counters| counters.rx_unreadable);
        let help = "Packets that could not be read";
        out.counter("interface_rx_unreadable_packets", help, unreadable)?;
        let refused = self.of_interfaces(|counters| counters.tx_refused);
        out.counter("interface_tx_refused_packets", "Packets that the device refused", refused)?;
        let coalesced = self.of_interfaces(|counters| counters.tx_coalesced);
        let help = "Packets that left joined to others of their flow";
        out.counter("interface_tx_coalesced_packets", help, coalesced)?;
        let joined = self.of_interfaces(|counters| counters.tx_super_packets);
        out.counter("interface_tx_super_packets", "Super-packets that they left in", joined)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(encoder);
        self.write_appliance(&mut out)?;
        self.write_workers(&mut out)?;
        self.write_interfaces(&mut out)
    }
}

/// A value with its labels.
struct Row {
    labels: Vec<(&'static str, String)>,
    value: u64,
}

struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    /// A gauge that is there only once.
    fn single(&mut self, name: &str, help: &str, value: u32) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(u64::from(value)).encode(metric)
    }

    /// A counter that is there only once.
    fn single_total(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for Row { labels, value } in rows {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        self.total(name, help, None, rows)
    }

    fn bytes(&mut self, name: &str, help: &str, rows: Vec<Row>) -> fmt::Result {
        self.total(name, help, Some(&Unit::Bytes), rows)
    }

    fn total(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: Vec<Row>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for Row { labels, value } in rows {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;

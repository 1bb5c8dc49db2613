//! The text, and that the document names exactly what it has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mooring_engine::view::PoolUsage;
use mooring_engine::{Counters, DropReason, EventKind, Occupancy};

use super::Scrape;

fn scrape() -> Scrape {
    let mut counters = Counters::new(2);
    counters.interfaces[1].rx_bytes = 77;
    counters.drops[DropReason::NoRule as usize] = 3;
    counters.sessions_created = 5;
    counters.events[EventKind::PortsExhausted as usize] = 4;
    counters.events_lost = 1;
    let occupancy = Occupancy {
        sessions: 4,
        mappings: 2,
        leased_ports: 2,
        fragmented: 0,
        waiting_fragments: 0,
    };
    Scrape {
        version: "1.2.3 (commit abc)",
        generation: 9,
        interfaces: vec!["inside".to_owned(), "outside".to_owned()],
        pools: vec![("egress".to_owned(), 16)],
        usage: vec![PoolUsage { leased: 3, resting: 5, blocks_held: 7, blocks: 11 }],
        session_limit: 1_000_000,
        workers: vec![(counters.clone(), occupancy), (counters, occupancy)],
        events_unwritten: 3,
        kubernetes_events_untold: 8,
        neighbours: vec![((1, "reachable"), 6)],
    }
}

#[test]
fn every_number_stands_where_its_labels_say() {
    let mut scrape = scrape();
    let leased = PoolUsage { leased: 3, ..PoolUsage::default() };
    scrape.add_usage(&[leased, leased]);
    let text = scrape.into_text();
    for line in [
        "mooring_build_info{version=\"1.2.3 (commit abc)\"} 1",
        "mooring_generation 9",
        "mooring_sessions{worker=\"0\"} 4",
        "mooring_sessions_created_total{worker=\"1\"} 5",
        "mooring_pool_addresses{pool=\"egress\"} 16",
        "mooring_pool_leased_ports{pool=\"egress\"} 6",
        "mooring_pool_resting_ports{pool=\"egress\"} 5",
        "mooring_pool_blocks_held{pool=\"egress\"} 7",
        "mooring_pool_blocks{pool=\"egress\"} 11",
        "mooring_neighbours{interface=\"outside\",state=\"reachable\"} 6",
        "mooring_interface_rx_bytes_total{interface=\"outside\"} 154",
        "mooring_dropped_packets_total{reason=\"no_rule\"} 6",
        "mooring_dropped_packets_total{reason=\"malformed\"} 0",
        "mooring_events_total{kind=\"ports_exhausted\"} 8",
        "mooring_events_total{kind=\"block_allocated\"} 0",
        "mooring_events_lost_total 5",
        "mooring_kubernetes_events_untold_total 8",
        "# UNIT mooring_interface_rx_bytes bytes",
        "# TYPE mooring_sessions gauge",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` is not in\n{text}");
    }
}

#[test]
fn the_document_names_every_metric_and_no_other() {
    let text = scrape().into_text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let written: BTreeSet<String> = types
        .map(|line| match line.split_once(' ').expect("a name and a type") {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let document = fs::read_to_string(path).expect("docs/metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `mooring_"));
    let documented: BTreeSet<String> = rows
        .map(|row| format!("mooring_{}", row.split('`').next().expect("split gives one")))
        .collect();
    assert_eq!(documented, written);
}

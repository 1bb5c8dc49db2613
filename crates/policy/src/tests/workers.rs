//! What must go round the workers, where the machine says how many they are.

use std::num::NonZeroU8;

use super::LINKS;
use crate::{Facts, Loaded, Problems, load, load_with};

/// A pool of 15 blocks an address, of which a host may have so many; one worker per core.
fn blocks(most: u16, cores: Option<u8>) -> Result<Loaded, Problems> {
    let text = format!(
        r#"
        [appliance]
        workers = 0
        [[pool]]
        name = "egress"
        addresses = ["203.0.113.10"]
        ports = "4096-65535"
        allocation = {{ kind = "port-block", size = 4096, max_blocks = {most} }}
        [[rule]]
        name = "egress"
        kind = "source-nat"
        pool = "egress"
        {LINKS}"#
    );
    load_with(&text, &Facts { cores: cores.and_then(NonZeroU8::new), ..Facts::default() })
}

#[test]
fn one_worker_per_core_has_the_arithmetic_of_so_many_workers() {
    let said = |most, cores| match blocks(most, Some(cores)) {
        Ok(loaded) => loaded.warnings.iter().map(|warning| warning.message.clone()).collect(),
        Err(Problems(all)) => all.iter().map(|p| p.message.clone()).collect::<Vec<_>>(),
    };
    assert!(said(15, 1).is_empty(), "all are the one worker's");
    assert!(said(1, 8).is_empty() && said(1, 15).is_empty());
    assert_eq!(said(2, 8).len(), 1, "a worker has 15 / 8 blocks");
    let all =
        "15 blocks an address do not go round 64 workers (`workers` = 0: one per usable core)";
    assert_eq!(said(1, 64), [all]);
}

#[test]
fn where_nobody_knows_the_machine_a_warning_says_so() {
    let loaded = blocks(15, None).expect("it holds with one worker");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.message.contains("their number is not known here"));
    assert_eq!(warning.line, 3);
    let one = load(LINKS).expect("it holds").warnings;
    assert!(one.iter().all(|warning| !warning.message.contains("workers")), "{one:?}");
}

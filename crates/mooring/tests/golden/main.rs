//! Golden captures: what `mooring replay` makes of the packets of each case, byte for byte.
//!
//! A case is a folder in `cases`: `config.toml`, `packets.txt` (see [`script`]), and what is expected:
//! `INTERFACE.pcapng` for each interface and `verdicts.txt`.
//! `explain` has the same for the questions of one configuration.
//! `BLESS=1 cargo test -p mooring --test golden` writes what is expected anew; read the difference.

mod explain;
mod packet;
mod replay;
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::replay::{Replayed, replay};
use self::script::Script;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases")
}

/// What the case's packets become. A line that speaks of what left before it is completed by
/// replaying the lines before.
fn run(case: &Path) -> Replayed {
    let text = fs::read_to_string(case.join("packets.txt")).expect("a case has packets");
    let mut script = Script::new(&text);
    let config = case.join("config.toml");
    loop {
        let complete = script.advance();
        let replayed = replay(&config, script.packets(), script.arguments());
        if complete {
            return replayed;
        }
        script.tell(&replayed);
    }
}

/// The files of a case, by name, without what it is made from.
fn expected(case: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(case).expect("the case is a folder");
    let files = entries.map(|entry| {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("names are text");
        (name, fs::read(entry.path()).expect("readable"))
    });
    files.filter(|(name, _)| !["config.toml", "packets.txt"].contains(&name.as_str())).collect()
}

/// Lets the case expect what was made, and no more.
fn write(case: &Path, expected: &BTreeMap<String, Vec<u8>>, made: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in made {
        fs::write(case.join(name), bytes).expect("the folder is writable");
    }
    for name in expected.keys().filter(|name| !made.contains_key(*name)) {
        fs::remove_file(case.join(name)).expect("the folder is writable");
    }
}

#[test]
fn every_case_gives_what_is_expected_byte_for_byte() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(cases())
        .expect("the cases are there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "the cases are there");
    let mut wrong = Vec::new();
    for case in cases {
        let replayed = run(&case);
        let mut made: BTreeMap<_, _> = replayed.files.into_iter().collect();
        made.insert("verdicts.txt".to_owned(), replayed.verdicts.into_bytes());
        let mut expected = expected(&case);
        if bless {
            write(&case, &expected, &made);
            continue;
        }
        for (name, bytes) in made {
            if expected.remove(&name).as_ref() != Some(&bytes) {
                wrong.push(case.join(name));
            }
        }
        // What was expected and not made.
        wrong.extend(expected.into_keys().map(|name| case.join(name)));
    }
    assert!(wrong.is_empty(), "not as expected: {wrong:#?}");
}

#[test]
fn another_seed_gives_other_ports_and_the_same_one_the_same() {
    let text = "0 inside udp 10.0.0.2:5000 > 192.0.2.2:7000\n";
    let config = cases().join("udp/config.toml");
    let with_seed = |seed: &str| {
        let mut script = Script::new(text);
        script.advance();
        replay(&config, script.packets(), &["--seed".to_owned(), seed.to_owned()]).files
    };
    assert_eq!(with_seed("1"), with_seed("1"));
    assert_ne!(with_seed("1"), with_seed("2"));
}

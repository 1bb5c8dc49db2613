//! Long lists of `allow` and `deny`.

use std::fmt::Write as _;

use super::LINKS;
use crate::{Loaded, Problems, load};

/// A pool that denies so many /24, each on a line of its own; `extra` stands before them.
fn denies(prefixes: u32, extra: &str) -> Result<Loaded, Problems> {
    let mut text = String::from("[[pool]]\nname = \"egress\"\naddresses = [\"203.0.113.10/32\"]\n");
    text += "filtering = \"endpoint-independent\"\ndeny = [\n";
    text += extra;
    for nth in 0..prefixes {
        let address = std::net::Ipv4Addr::from(0x1000_0000 + (nth << 8));
        let _ = writeln!(text, "\"{address}/24\",");
    }
    text += "]\n[[rule]]\nname = \"egress\"\nkind = \"source-nat\"\npool = \"egress\"\n";
    load(&(text + LINKS))
}

/// Each entry against each other would be 400,000,000 comparisons, and 4,300,000,000 of the most.
#[test]
fn long_lists_are_checked_and_name_their_lines() {
    let loaded = denies(20_000, "\"0.0.0.0/1\",\n").expect("it holds");
    assert_eq!(loaded.warnings.len(), 20_000, "all are in the first");
    let last = loaded.warnings.last().expect("the last");
    assert_eq!(last.line, 6 + 20_000);
    assert_eq!(last.hint.as_deref(), Some("0.0.0.0/1 is denied on line 6: remove it"));
    let said = loaded.policy.pools[0].access.of("16.78.31.9".parse().expect("an address"));
    assert!(!said.allowed);
    assert_eq!(said.by.map(|by| by.line), Some(6 + 20_000));
    assert!(denies(65_536, "").expect("it holds").warnings.is_empty());
}

#[test]
fn a_list_that_is_too_long_is_refused() {
    let Problems(problems) = denies(65_536, "\"192.0.2.1\",\n").expect_err("one too many");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let message = "`allow` and `deny` have 65537 prefixes, at most 65536 are possible";
    assert_eq!(problems[0].message, message);
    assert_eq!(problems[0].line, 5);
}

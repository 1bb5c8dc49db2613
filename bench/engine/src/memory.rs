//! Bytes that a session takes: of every table that `limits.sessions` sizes, divided by it.

use std::net::{Ipv4Addr, Ipv6Addr};

use mooring_nat::{Nat, Share};
use mooring_policy::{Policy, load};
use mooring_session::{Address, KeyedHash};

/// Prints what the tables take, for each kind of pool and option that has tables of its own.
pub(crate) fn print(sessions: u32) {
    println!("bytes a session, of {sessions} sessions");
    println!("{:<52} {:>7}   tables", "pool", "all");
    for (name, option, budget) in POOLS {
        let tcp = if name.contains("window") { "tcp = { window_tracking = true }\n" } else { "" };
        let loaded = load(&format!("{tcp}{}", config(option, sessions)));
        let policy = loaded.expect("the configuration of the benchmark is valid").policy;
        let [v4, v6] = [tables::<Ipv4Addr>(&policy), tables::<Ipv6Addr>(&policy)];
        for (family, tables, most) in [("IPv4", v4, budget[0]), ("IPv6", v6, budget[1])] {
            let of = |bytes: usize| bytes as f64 / f64::from(sessions);
            let all = of(tables.iter().map(|table| table.1).sum());
            let tables: Vec<String> = tables
                .iter()
                .filter(|table| table.1 > 0)
                .map(|table| format!("{} {:.1}", table.0, of(table.1)))
                .collect();
            let budget = if most > 0 { format!(", at most {most}") } else { String::new() };
            let name = format!("{family}, {name}{budget}");
            println!("{name:<52} {all:>7.1}   {}", tables.join(", "));
        }
    }
}

/// The tables of one family, and their bytes.
fn tables<A: Address>(policy: &Policy) -> [(&'static str, usize); 6] {
    Nat::<A>::new(policy, Share::ALL, KeyedHash::new([1, 2, 3, 4])).allocations()
}

/// A pool of each family with an option.
fn config(option: &str, sessions: u32) -> String {
    format!(
        r#"
        limits = {{ sessions = {sessions} }}
        interface = [
            {{ name = "inside", device = "in0", addresses = ["10.0.0.1/8", "fd00:10::1/64"] }},
            {{ name = "outside", device = "out0", addresses = ["192.0.2.1/24", "2001:db8:1::1/64"] }},
        ]
        pool = [
            {{ name = "v4", addresses = ["203.0.113.10"], {option} }},
            {{ name = "v6", addresses = ["2001:db8:7::10"], {option} }},
        ]
        rule = [
            {{ name = "v4", kind = "source-nat", from = "inside", to = "outside", pool = "v4",
               source = ["10.0.0.0/8"] }},
            {{ name = "v6", kind = "source-nat", from = "inside", to = "outside", pool = "v6",
               source = ["fd00:10::/64"] }},
        ]
        "#
    )
}

/// Kinds of pools, and the most that a session of IPv4 and IPv6 may take; 0: no limit is set.
const POOLS: [(&str, &str, [u32; 2]); 5] = [
    ("endpoint-dependent", r#"mapping = "endpoint-dependent""#, [128, 208]),
    ("endpoint-independent", r#"mapping = "endpoint-independent""#, [192, 288]),
    ("and filtering by address", r#"filtering = "address-dependent""#, [0, 0]),
    ("and a limit of the pool", "limits = { mappings = 1000 }", [0, 0]),
    ("and window tracking", "ping = true", [0, 0]),
];

//! The configuration that is measured: a hundred rules, the last of which translates.

use std::fmt;
use std::fmt::Write;

use crate::flows::Family;

/// How a pool maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// `endpoint-independent`, the default.
    Independent,
    /// `endpoint-dependent`.
    Dependent,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Independent => "endpoint-independent",
            Self::Dependent => "endpoint-dependent",
        })
    }
}

/// A table of `sessions`, a pool with twice as many ports, and a hundred rules: a new session asks them all.
pub(crate) fn config(family: Family, mapping: Mapping, sessions: u32) -> String {
    let addresses = addresses(sessions);
    let shift = addresses.trailing_zeros();
    let (pool, source, remote, other) = match family {
        Family::V4 => {
            (format!("198.18.0.0/{}", 32 - shift), "10.128.0.0/9", "20.0.0.0/8", "172.16")
        }
        Family::V6 => {
            (format!("2001:db8:7::/{}", 128 - shift), "fd20::/16", "2001:db8:20::/48", "fd99")
        }
    };
    let mut text = HEAD.to_owned();
    let mut add = |part: fmt::Arguments<'_>| text.write_fmt(part).expect("a string takes all");
    add(format_args!("[limits]\nsessions = {sessions}\n"));
    add(format_args!(
        "[[pool]]\nname = \"egress\"\naddresses = [\"{pool}\"]\nmapping = \"{mapping}\"\n"
    ));
    for at in 1..RULES {
        let source = match family {
            Family::V4 => format!("{other}.{at}.0/24"),
            Family::V6 => format!("{other}:{at:x}::/48"),
        };
        let kind = if at % 2 == 0 { "drop" } else { "bypass" };
        add(format_args!(
            "[[rule]]\nname = \"rule-{at}\"\nkind = \"{kind}\"\nfrom = \"inside\"\nto = \"outside\"\n\
             source = [\"{source}\"]\ndestination = [\"{remote}\"]\nprotocol = \"udp\"\n"
        ));
    }
    add(format_args!(
        "[[rule]]\nname = \"egress\"\nkind = \"source-nat\"\nfrom = \"inside\"\nto = \"outside\"\n\
         source = [\"{source}\"]\ndestination = [\"{remote}\"]\npool = \"egress\"\n"
    ));
    text
}

/// Addresses of the pool: one for each 32,768 sessions.
pub(crate) fn addresses(sessions: u32) -> u32 {
    sessions.div_ceil(32_768).next_power_of_two()
}

/// Rules in all.
const RULES: u32 = 100;

const HEAD: &str = r#"
[[interface]]
name = "inside"
device = "in0"
addresses = ["10.0.0.1/24", "fd00:10::1/64"]

[[interface]]
name = "outside"
device = "out0"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.2"

[[route]]
destination = "10.128.0.0/9"
via = "10.0.0.2"

[[route]]
destination = "::/0"
via = "2001:db8:1::2"

[[route]]
destination = "fd20::/16"
via = "fd00:10::2"

"#;

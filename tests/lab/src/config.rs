//! The appliance's configuration in a lab, as text: labs read it as a user would write it.

use std::fmt;

/// Configuration of a lab's appliance: NAT44 of the inside network behind one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    appliance: String,
    network: String,
    rules: String,
}

impl Config {
    /// `source-nat` of 10.0.0.0/8 to 203.0.113.10, everything else at its default.
    #[must_use]
    pub fn nat44() -> Self {
        Self {
            appliance: "version = 1\n\n[appliance]\nworkers = 1\n".to_owned(),
            network: NETWORK.to_owned(),
            rules: format!("{SOURCE_NAT}source = [\"10.0.0.0/8\"]\n"),
        }
    }

    /// The same for both families, with an IPv6 pool beside it: the configuration of a site.
    #[must_use]
    pub fn dual_stack() -> Self {
        Self {
            network: DUAL_STACK.to_owned(),
            rules: format!("{SOURCE_NAT}source = [\"10.0.0.0/8\"]\n\n{SOURCE_NAT_6}"),
            ..Self::nat44()
        }
    }

    /// Lets the kernel say which addresses and routes the outside has.
    #[must_use]
    pub fn outside_from_kernel(self) -> Self {
        self.replace(
            "addresses = [\"192.0.2.1/24\", \"2001:db8:1::1/64\"]",
            "addresses = \"kernel\"",
        )
        .replace(ROUTES, "")
    }

    /// Makes the inside a tap device `tap0` of `mtu` bytes, by this backend.
    #[must_use]
    pub fn inside_by_tap(self, backend: &str, mtu: u16) -> Self {
        self.replace(
            "device = \"in0\"\nbackend = \"af_packet\"",
            &format!("device = \"tap0\"\nmtu = {mtu}\nbackend = \"{backend}\""),
        )
    }

    /// Asks for AF_XDP sockets on both sides.
    #[must_use]
    pub fn by_af_xdp(self) -> Self {
        self.replace("backend = \"af_packet\"", "backend = \"af_xdp\"")
    }

    /// Joins packets of one flow that leave together, on every interface.
    #[must_use]
    pub fn coalescing(mut self) -> Self {
        for backend in ["backend = \"af_packet\"", "backend = \"tap\""] {
            self.network =
                self.network.replace(backend, &format!("{backend}\ntx_coalescing = true"));
        }
        self
    }

    /// Adds a line below `[appliance]`.
    #[must_use]
    pub fn appliance(mut self, line: &str) -> Self {
        self.appliance.push_str(line);
        self.appliance.push('\n');
        self
    }

    /// Puts a `[[rule]]` before all others: the first match wins.
    #[must_use]
    pub fn first_rule(mut self, rule: &str) -> Self {
        self.rules = format!("[[rule]]\n{rule}\n{}", self.rules);
        self
    }

    /// Adds tables to the end, e.g. a `[[pool]]`.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        self.rules.push_str(table);
        self.rules.push('\n');
        self
    }

    /// Replaces a part of the text, to make a mistake on purpose.
    ///
    /// # Panics
    /// When the part does not stand there: the mistake would not be made.
    #[must_use]
    pub fn replace(mut self, part: &str, by: &str) -> Self {
        let before = self.clone();
        for text in [&mut self.appliance, &mut self.network, &mut self.rules] {
            *text = text.replace(part, by);
        }
        assert_ne!(self, before, "`{part}` does not stand in the configuration");
        self
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.appliance, self.network, self.rules)
    }
}

const NETWORK: &str = r#"[[interface]]
name = "inside"
device = "in0"
backend = "af_packet"
addresses = ["10.0.0.1/24"]

[[interface]]
name = "outside"
device = "out0"
backend = "af_packet"
addresses = ["192.0.2.1/24"]

[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.2"
interface = "outside"

[[pool]]
name = "egress"
addresses = ["203.0.113.10/32"]
ports = "1024-65535"
"#;
const SOURCE_NAT: &str = r#"[[rule]]
name = "egress"
kind = "source-nat"
from = "inside"
to = "outside"
pool = "egress"
"#;
const SOURCE_NAT_6: &str = r#"[[rule]]
name = "egress-v6"
kind = "source-nat"
from = "inside"
to = "outside"
source = ["fd00:10::/64"]
pool = "egress-v6"
"#;
const ROUTES: &str = r#"[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.2"
interface = "outside"

[[route]]
destination = "::/0"
via = "2001:db8:1::2"
interface = "outside"
"#;
const DUAL_STACK: &str = r#"[[interface]]
name = "inside"
device = "in0"
backend = "af_packet"
addresses = ["10.0.0.1/24", "fd00:10::1/64"]

[[interface]]
name = "outside"
device = "out0"
backend = "af_packet"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]

[[route]]
destination = "0.0.0.0/0"
via = "192.0.2.2"
interface = "outside"

[[route]]
destination = "::/0"
via = "2001:db8:1::2"
interface = "outside"

[[pool]]
name = "egress"
addresses = ["203.0.113.10/32"]

[[pool]]
name = "egress-v6"
addresses = ["2001:db8:2::10/128"]
"#;

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn the_first_rule_stands_first() {
        let text = Config::nat44().first_rule("name = \"leak\"").to_string();
        assert!(text.find("leak") < text.find("name = \"egress\"\nkind"));
    }

    #[test]
    #[should_panic(expected = "does not stand")]
    fn a_mistake_that_is_not_made_is_noticed() {
        let _ = Config::nat44().replace("no such text", "x");
    }
}

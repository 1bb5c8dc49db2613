//! Allow and deny lists: which remote ends may begin something with an address of ours.
//!
//! The longest prefix that has the source decides. Where none has it, everybody may, unless the list
//! allows somebody: then nobody else may.

use std::net::IpAddr;

use ipnet::IpNet;

/// The `allow` and `deny` of a pool or rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    entries: Vec<AccessEntry>,
}

/// One prefix of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The sources; no host bits.
    pub prefix: IpNet,
    /// It is one of `allow`.
    pub allowed: bool,
    /// The line of the configuration that says so, from 1.
    pub line: u32,
}

/// What a list says of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admittance {
    /// Whether it may begin something.
    pub allowed: bool,
    /// What decided; `None`: no prefix has the source.
    pub by: Option<AccessEntry>,
}

impl Access {
    /// A list; a prefix is in it once.
    pub(crate) fn new(mut entries: Vec<AccessEntry>) -> Self {
        // The longest first: the first that has a source decides.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.prefix.prefix_len()));
        Self { entries }
    }

    /// Whether `source` may begin something, and what says so. For the first packet of a session.
    #[must_use]
    pub fn of(&self, source: IpAddr) -> Admittance {
        let by = self.entries.iter().find(|entry| entry.prefix.contains(&source)).copied();
        let allowed = match by {
            Some(entry) => entry.allowed,
            None => !self.entries.iter().any(|entry| entry.allowed),
        };
        Admittance { allowed, by }
    }

    /// The prefixes, longest first.
    #[must_use]
    pub fn entries(&self) -> &[AccessEntry] {
        &self.entries
    }

    /// Whether the list is empty: everybody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, AccessEntry};

    fn access(entries: &[(&str, bool)]) -> Access {
        let entry = |(line, (prefix, allowed)): (usize, &(&str, bool))| AccessEntry {
            prefix: prefix.parse().expect("a prefix"),
            allowed: *allowed,
            line: line as u32 + 1,
        };
        Access::new(entries.iter().enumerate().map(entry).collect())
    }

    #[test]
    fn the_longest_prefix_decides() {
        let list = access(&[("198.51.100.0/24", true), ("198.51.100.7/32", false)]);
        let of = |source: &str| list.of(source.parse().expect("an address"));
        assert!(of("198.51.100.8").allowed);
        assert!(!of("198.51.100.7").allowed);
        assert_eq!(of("198.51.100.7").by.map(|entry| entry.line), Some(2));
        assert!(!of("192.0.2.1").allowed, "who is not allowed where somebody is");
        assert_eq!(of("192.0.2.1").by, None);
    }

    #[test]
    fn without_an_allowed_prefix_all_others_may() {
        let list = access(&[("2001:db8::/32", false)]);
        let of = |source: &str| list.of(source.parse().expect("an address")).allowed;
        assert!(!of("2001:db8::1"));
        assert!(of("2001:db9::1") && of("192.0.2.1"));
        assert!(Access::default().is_empty());
        assert!(Access::default().of("192.0.2.1".parse().expect("an address")).allowed);
    }
}

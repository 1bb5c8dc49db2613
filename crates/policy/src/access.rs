//! Allow and deny lists: which remote ends may begin something with an address of ours.
//!
//! The longest prefix that has the source decides. Where none has it, everybody may, unless the list
//! allows somebody: then nobody else may.

use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

/// The `allow` and `deny` of a pool or rule.
///
/// Asked for every packet that would begin something, before anything else is known of it: what a
/// question costs must not grow with the list, or the list that keeps a flood off is what the flood
/// uses up.
#[derive(Clone, Debug, Default)]
pub struct Access {
    entries: JointPrefixMap<IpNet, AccessEntry>,
    allows_somebody: bool,
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
    /// How many prefixes a list may have, `allow` and `deny` together.
    pub(crate) const MAX_ENTRIES: usize = 65_536;

    /// A list; a prefix is in it once.
    pub(crate) fn new(entries: impl IntoIterator<Item = AccessEntry>) -> Self {
        let entries: JointPrefixMap<_, _> =
            entries.into_iter().map(|entry| (entry.prefix, entry)).collect();
        let allows_somebody = entries.values().any(|entry| entry.allowed);
        Self { entries, allows_somebody }
    }

    /// Whether `source` may begin something, and what says so. For the first packet of a session.
    #[must_use]
    pub fn of(&self, source: IpAddr) -> Admittance {
        let by = self.entries.get_lpm(&IpNet::from(source)).map(|(_, entry)| *entry);
        let allowed = by.map_or(!self.allows_somebody, |entry| entry.allowed);
        Admittance { allowed, by }
    }

    /// Whether anybody is in `allow`: then nobody else may begin anything.
    #[must_use]
    pub const fn allows_somebody(&self) -> bool {
        self.allows_somebody
    }

    /// Whether the list is empty: everybody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of exactly this prefix.
    pub(crate) fn entry(&self, prefix: &IpNet) -> Option<&AccessEntry> {
        self.entries.get(prefix)
    }

    /// The entry that decides for all of a prefix where its own, if it has one, were not there.
    pub(crate) fn around(&self, prefix: &IpNet) -> Option<&AccessEntry> {
        self.entries.cover_values(prefix).filter(|entry| entry.prefix != *prefix).last()
    }

    /// Whether a prefix and one of `allow` share addresses; a longer one of `deny` may have them.
    pub(crate) fn allows_some_of(&self, prefix: &IpNet) -> bool {
        let mut within = self.entries.children(prefix).map(|(_, entry)| entry);
        let mut around = self.entries.cover_values(prefix);
        around.any(|entry| entry.allowed) || within.any(|entry| entry.allowed)
    }
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        self.entries.values().eq(other.entries.values())
    }
}

impl Eq for Access {}

#[cfg(test)]
mod tests {
    use super::{Access, AccessEntry};

    fn access(entries: &[(&str, bool)]) -> Access {
        let entry = |(line, (prefix, allowed)): (usize, &(&str, bool))| AccessEntry {
            prefix: prefix.parse().expect("a prefix"),
            allowed: *allowed,
            line: line as u32 + 1,
        };
        Access::new(entries.iter().enumerate().map(entry))
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

    /// Against a list that is read from one end to the other, for all places of its prefixes.
    #[test]
    fn a_long_list_says_what_reading_all_of_it_says() {
        let prefix = |nth: u32| format!("10.{}.{}.0/{}", nth % 7, nth % 61, 8 + nth % 17);
        let trunc = |text: String| text.parse::<ipnet::IpNet>().expect("a prefix").trunc();
        let entry =
            |nth| AccessEntry { prefix: trunc(prefix(nth)), allowed: nth % 3 == 0, line: nth };
        let entries: Vec<_> = (0..2_000).map(entry).collect();
        let list = Access::new(entries.iter().copied());
        for nth in 0..1_000_u32 {
            let source = std::net::Ipv4Addr::from(0x0a00_0000 + nth * 0x3a7).into();
            let has = entries.iter().filter(|entry| entry.prefix.contains(&source));
            let by = has.max_by_key(|entry| entry.prefix.prefix_len());
            let said = list.of(source);
            assert_eq!(said.by.map(|by| by.prefix), by.map(|by| by.prefix), "{source}");
            assert_eq!(said.allowed, said.by.is_some_and(|by| by.allowed), "{source}");
        }
    }
}

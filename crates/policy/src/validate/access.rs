//! `allow` and `deny` of a pool or rule.

use std::ops::Range;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::joint::JointPrefixMap;
use toml::Spanned;

use super::values;
use crate::access::{Access, AccessEntry};
use crate::report::Report;

/// A list of prefixes as it is written.
type List = Option<Spanned<Vec<Spanned<String>>>>;

/// An entry and where it stands.
type Entry = (AccessEntry, Range<usize>);

/// `own`: what the addresses of the pool or rule are called, and whether they are IPv4.
pub(super) fn access(
    allow: &List,
    deny: &List,
    own: Option<(&str, bool)>,
    report: &mut Report<'_>,
) -> Access {
    if let Some(list) = allow.as_ref().filter(|list| list.get_ref().is_empty()) {
        let hint =
            "remove `allow` to let everybody in, or write what you mean: deny = [\"0.0.0.0/0\"]";
        report.error(list.span(), "`allow` is empty: nobody could begin anything", hint);
    }
    let lists = || [allow, deny].into_iter().flatten();
    let all: usize = lists().map(|list| list.get_ref().len()).sum();
    if let Some(last) = lists().last().filter(|_| all > Access::MAX_ENTRIES) {
        let most = Access::MAX_ENTRIES;
        let message =
            format!("`allow` and `deny` have {all} prefixes, at most {most} are possible");
        report.error(last.span(), message, "write several of them as one shorter prefix");
        return Access::default();
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut known = JointPrefixMap::new();
    for (list, allowed) in [(allow, true), (deny, false)] {
        for value in list.iter().flat_map(|list| list.get_ref()) {
            let Some(prefix) = values::prefix(value, report) else { continue };
            let line = report.line(value.span().start) as u32;
            let entry = (AccessEntry { prefix, allowed, line }, value.span());
            if fits(&entry, known.get(&prefix), own, report) {
                known.insert(prefix, entry.0);
                entries.push(entry);
            }
        }
    }
    let access = Access::new(known.into_values());
    warn_useless(&entries, &access, report);
    access
}

/// A prefix is listed once, and could be a remote's.
fn fits(
    (entry, at): &Entry,
    earlier: Option<&AccessEntry>,
    own: Option<(&str, bool)>,
    report: &mut Report<'_>,
) -> bool {
    let prefix = entry.prefix;
    let is_v4 = prefix.addr().is_ipv4();
    if let Some((what, own)) = own.filter(|(_, own)| *own != is_v4) {
        let family = |is_v4| if is_v4 { "IPv4" } else { "IPv6" };
        let message = format!("{prefix} is {}, {what} is {}", family(is_v4), family(own));
        report.error(at.clone(), message, "no packet can have both: remove the prefix");
        return false;
    }
    let Some(first) = earlier else { return true };
    let (message, hint) = if first.allowed == entry.allowed {
        (format!("{prefix} is listed twice"), format!("the first is on line {}", first.line))
    } else {
        let hint = format!("`allow` has it on line {}: remove one of the two", first.line);
        (format!("{prefix} is allowed and denied"), hint)
    };
    report.error(at.clone(), message, hint);
    false
}

/// An entry changes nothing if its addresses would meet the same without it.
fn warn_useless(entries: &[Entry], access: &Access, report: &mut Report<'_>) {
    for (entry, at) in entries {
        let parent = access.around(&entry.prefix);
        let word = if entry.allowed { "allowed" } else { "denied" };
        let hint = match parent {
            Some(parent) if parent.allowed == entry.allowed => {
                format!("{} is {word} on line {}: remove it", parent.prefix, parent.line)
            }
            None if !entry.allowed && access.allows_somebody() => {
                "who is not in `allow` is denied anyway: remove it".to_owned()
            }
            _ => continue,
        };
        report.warning(
            at.clone(),
            format!("{} changes nothing: {word} already", entry.prefix),
            hint,
        );
    }
}

/// Whether nobody of these prefixes, or of all addresses if there are none, may begin anything.
pub(super) fn lets_nobody_in(access: &Access, is_v4: bool, sources: &[IpNet]) -> bool {
    if access.allows_somebody() {
        return !sources.is_empty() && !sources.iter().any(|own| access.allows_some_of(own));
    }
    let everybody = match is_v4 {
        true => IpNet::V4(Ipv4Net::default()),
        false => IpNet::V6(Ipv6Net::default()),
    };
    access.entry(&everybody).is_some()
}

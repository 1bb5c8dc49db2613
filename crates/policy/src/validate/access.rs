//! `allow` and `deny` of a pool or rule.

use std::ops::Range;

use ipnet::IpNet;
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
    let mut entries: Vec<Entry> = Vec::new();
    for (list, allowed) in [(allow, true), (deny, false)] {
        for value in list.iter().flat_map(|list| list.get_ref()) {
            let Some(prefix) = values::prefix(value, report) else { continue };
            let line = report.line(value.span().start) as u32;
            let entry = (AccessEntry { prefix, allowed, line }, value.span());
            if fits(&entry, &entries, own, report) {
                entries.push(entry);
            }
        }
    }
    warn_useless(&entries, report);
    Access::new(entries.into_iter().map(|(entry, _)| entry).collect())
}

/// A prefix is listed once, and could be a remote's.
fn fits(
    (entry, at): &Entry,
    earlier: &[Entry],
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
    let Some((first, _)) = earlier.iter().find(|(other, _)| other.prefix == prefix) else {
        return true;
    };
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
fn warn_useless(entries: &[Entry], report: &mut Report<'_>) {
    let some_allowed = entries.iter().any(|(entry, _)| entry.allowed);
    for (entry, at) in entries {
        let around = |other: &&Entry| {
            other.0.prefix != entry.prefix && other.0.prefix.contains(&entry.prefix)
        };
        let parent =
            entries.iter().filter(around).max_by_key(|(other, _)| other.prefix.prefix_len());
        let word = if entry.allowed { "allowed" } else { "denied" };
        let hint = match parent {
            Some((parent, _)) if parent.allowed == entry.allowed => {
                format!("{} is {word} on line {}: remove it", parent.prefix, parent.line)
            }
            None if !entry.allowed && some_allowed => {
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
    let of_family = |prefix: &IpNet| prefix.addr().is_ipv4() == is_v4;
    let meets = |entry: &AccessEntry| {
        let theirs = entry.prefix;
        sources.is_empty()
            || sources.iter().any(|own| own.contains(&theirs) || theirs.contains(own))
    };
    let mut allowed = access.entries().iter().filter(|entry| entry.allowed);
    let all_denied = || {
        let mut denied = access.entries().iter().filter(|entry| !entry.allowed);
        denied.any(|entry| of_family(&entry.prefix) && entry.prefix.prefix_len() == 0)
    };
    match access.entries().iter().any(|entry| entry.allowed) {
        true => !allowed.any(meets),
        false => all_denied(),
    }
}

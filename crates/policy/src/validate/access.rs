//! `allow` and `deny` of a pool or rule.

use toml::Spanned;

use super::values;
use crate::access::{Access, AccessEntry};
use crate::report::Report;

/// A list of prefixes as it is written.
type List = Option<Spanned<Vec<Spanned<String>>>>;

pub(super) fn access(allow: &List, deny: &List, report: &mut Report<'_>) -> Access {
    let mut entries: Vec<AccessEntry> = Vec::new();
    for (list, allowed) in [(allow, true), (deny, false)] {
        for value in list.iter().flat_map(|list| list.get_ref()) {
            let Some(prefix) = values::prefix(value, report) else { continue };
            let line = report.line(value.span().start) as u32;
            entries.push(AccessEntry { prefix, allowed, line });
        }
    }
    Access::new(entries)
}

//! The memory of the tables: there before the first packet, in huge pages where there are any.

use std::fs;

use mooring_engine::Engine;

use crate::say::say;

/// Makes the memory of the tables be there. What is to be said of it, if it is slower than it could be, it says, and
/// returns.
pub(super) fn prepare(engines: &mut [Engine]) -> Vec<String> {
    let mut notices = Vec::new();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    if let Some(who) = refuses(&read(HUGE_PAGES), &read(OF_PROCESS)) {
        let (notice, hint) = who.notice_and_hint();
        say(&format!("mooring: warning: {notice}\nhint: {hint}"));
        notices.push(notice);
    }
    // What is not there yet comes page by page, with the packets that need it.
    let prefaulted = engines.iter_mut().try_for_each(Engine::prefault);
    if let Err(error) = prefaulted {
        let notice = format!("cannot have the memory of all sessions at once: {error}");
        say(&format!("mooring: warning: {notice}"));
        notices.push(notice);
    }
    notices
}

/// Who gives no huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusing {
    /// The node, to nobody.
    Node,
    /// Whoever started this process (`PR_SET_THP_DISABLE`).
    Starter,
}

impl Refusing {
    fn notice_and_hint(self) -> (String, String) {
        let (why, hint) = match self {
            Self::Node => (
                format!("{HUGE_PAGES} says `never`"),
                format!("let the node have `madvise` in {HUGE_PAGES}"),
            ),
            Self::Starter => (
                "PR_SET_THP_DISABLE is set".to_owned(),
                "start it by something that does not forbid them".to_owned(),
            ),
        };
        (
            format!(
                "no huge pages ({why}): sessions lie in pages of 4 KB, large tables are slower"
            ),
            hint,
        )
    }
}

/// Whether Linux gives us no huge pages, by what it says of them and of this process. Of what it says nothing, as
/// before 5.0 of processes, nothing is known.
fn refuses(said: &str, of_process: &str) -> Option<Refusing> {
    let enabled = of_process.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    // The word in brackets is the choice.
    if said.contains("[never]") {
        Some(Refusing::Node)
    } else if enabled.is_some_and(|enabled| enabled.trim() == "0") {
        Some(Refusing::Starter)
    } else {
        None
    }
}

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const OF_PROCESS: &str = "/proc/self/status";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooring_engine::{Engine, Link};
    use mooring_policy::{Generation, load};
    use mooring_wire::Mac;

    use super::{Refusing, prepare, refuses};

    const CONFIG: &str = r#"
        limits = { sessions = 200000 }
        interface = [{ name = "inside", device = "in0", addresses = ["10.0.0.1/24"] }]
    "#;

    /// KiB of the pages of this process that are there.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells it");
        let line = status.lines().find(|line| line.starts_with("Rss:")).expect("there is one");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    #[test]
    fn tables_are_there_before_the_first_packet() {
        let policy = Arc::new(load(CONFIG).expect("it is valid").policy);
        let link = Link { mac: Mac([2; 6]), mtu: 1500 };
        let mut engines = [Engine::new(policy, Generation(1), &[link], [7; 32])];
        let before = resident();
        prepare(&mut engines);
        // Of IPv4 and of IPv6: what packets touch of a session, and what lies beside it.
        let records = 200_000 * (64 + 28 + 128 + 28);
        assert!(resident() >= before + records / 1024);
    }

    #[test]
    fn who_gives_no_huge_pages_says_so() {
        let (some, ours) = ("always [madvise] never\n", "Name:\tmooring\nTHP_enabled:\t1\n");
        assert_eq!(refuses("always madvise [never]\n", ours), Some(Refusing::Node));
        assert_eq!(refuses(some, ours), None);
        assert_eq!(refuses("[always] madvise never\n", ""), None);
        assert_eq!(refuses(some, "THP_enabled:\t0\n"), Some(Refusing::Starter));
    }
}

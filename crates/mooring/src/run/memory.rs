//! The memory of the tables: there before the first packet, in huge pages where there are any.

use std::fs;

use mooring_engine::Engine;

use crate::say::say;

/// Makes the memory of the tables be there, and says so if it is slower than it could be.
pub(super) fn prepare(engines: &mut [Engine]) {
    if fs::read_to_string(HUGE_PAGES).is_ok_and(|said| refuses(&said)) {
        say(&format!(
            "mooring: warning: sessions lie in pages of 4 KB: large tables are slower\n\
             hint: let the node have `madvise` in {HUGE_PAGES}"
        ));
    }
    // What is not there yet comes page by page, with the packets that need it.
    let prefaulted = engines.iter_mut().try_for_each(Engine::prefault);
    if let Err(error) = prefaulted {
        say(&format!("mooring: warning: cannot have the memory of all sessions at once: {error}"));
    }
}

/// Whether Linux gives nobody huge pages, by what the file says: the word in brackets is the choice.
fn refuses(said: &str) -> bool {
    said.contains("[never]")
}

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mooring_engine::{Engine, Link};
    use mooring_policy::{Generation, load};
    use mooring_wire::Mac;

    use super::{prepare, refuses};

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
        assert!(refuses("always madvise [never]\n"));
        assert!(!refuses("always [madvise] never\n") && !refuses("[always] madvise never\n"));
    }
}

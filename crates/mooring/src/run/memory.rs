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
    use super::refuses;

    #[test]
    fn who_gives_no_huge_pages_says_so() {
        assert!(refuses("always madvise [never]\n"));
        assert!(!refuses("always [madvise] never\n") && !refuses("[always] madvise never\n"));
    }
}

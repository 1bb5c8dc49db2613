//! The last words after a bug of ours. A release build ends at once (`panic = "abort"`): a worker
//! that has lost its footing must not go on translating. What can be done with the core is up to the
//! machine; what the user can do stands here.

use std::panic::{self, PanicHookInfo};

use crate::VERSION;
use crate::say::say;

/// Has every panic of this process tell what to report, and where.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| say(&message(info))));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = info.location().map_or_else(|| "?".to_owned(), ToString::to_string);
    format!(
        "mooring: panic in thread `{}` at {place}: {}\n\
         mooring: this is a bug of mooring {VERSION} on {}\n\
         hint: please report these lines at {}/issues",
        thread.name().unwrap_or("?"),
        info.payload_as_str().unwrap_or("(no message)"),
        std::env::consts::ARCH,
        env!("CARGO_PKG_REPOSITORY"),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::install_hook;
    use crate::VERSION;

    /// The child of the test below: it changes what panics of its process say.
    #[test]
    #[ignore = "panics, for the other test"]
    fn panics_with_the_hook() {
        install_hook();
        let worker = std::thread::Builder::new().name("worker-7".to_owned());
        let ended = worker.spawn(|| panic!("the lease {} is gone", 42)).expect("a thread").join();
        assert!(ended.is_err());
    }

    #[test]
    fn a_panic_says_what_to_report_and_where() {
        let own = std::env::current_exe().expect("we run");
        let child = Command::new(own)
            .args(["--exact", "panic::tests::panics_with_the_hook", "--ignored", "--nocapture"])
            .output()
            .expect("we run again");
        let said = String::from_utf8_lossy(&child.stderr);
        for expected in [
            "panic in thread `worker-7` at crates/mooring/src/panic.rs:",
            "the lease 42 is gone",
            VERSION,
            "github.com/mooring-nat/mooring/issues",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}

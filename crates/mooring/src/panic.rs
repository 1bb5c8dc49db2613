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

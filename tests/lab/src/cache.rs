//! Where things are kept that tests need and that take minutes to make or to fetch.

use std::env;
use std::path::PathBuf;

/// The folder of the thing called `name`, outside of every clone, so that all of them share it. It need not be
/// there yet.
#[must_use]
pub fn cache(name: &str) -> PathBuf {
    let folder = format!("mooring-{name}");
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/cache").join(folder);
    }
    let user = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let user = user.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    user.unwrap_or_else(env::temp_dir).join(folder)
}

//! A private corner of the machine: own mounts, network, process ids and a `/run` of its own.
//!
//! A program starts itself again through `unshare`. Inside it is process 1; when it ends, or its
//! parent is killed, the kernel ends every process of the corner and with them the namespaces, the
//! devices and the files. So nothing is ever left behind, even after SIGKILL.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};

use crate::binary;

/// Runs the body of a test in a corner of its own.
///
/// `test` is the test's name as the test runner knows it. The test binary starts itself again for
/// this one test; only that second process runs `body`.
///
/// # Panics
/// When `body` fails, or when the lab cannot be set up; the message says why.
pub fn isolated(test: &str, body: impl FnOnce() -> Result<()>) {
    if inside() {
        if let Err(error) = prepare().and_then(|()| body()) {
            panic!("{error:?}");
        }
        // Tells the outer process that this very test ran: a wrong name would run none and pass.
        std::process::exit(RAN);
    }
    let ran = binary::build()
        .and_then(|mooring| {
            reenter(&[test, "--exact", "--include-ignored", "--nocapture"], &mooring)
        })
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(ran.code(), Some(RAN), "{test} failed inside its lab, see above");
}

/// Runs the body of a program, a measurement for one, in a corner of its own: the program starts itself again with
/// the same arguments, and `mooring` as the appliance's binary. Only that second process runs `body`.
///
/// # Errors
/// When `body` fails, which has told why, or when this machine does not let us make namespaces.
pub fn run(mooring: &Path, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if inside() {
        prepare()?;
        return body();
    }
    let again: Vec<_> = env::args_os().skip(1).collect();
    let status = reenter(&again, mooring)?;
    ensure!(status.success(), "the measurement failed, see above");
    Ok(())
}

/// Whether this process already runs inside.
#[must_use]
pub fn inside() -> bool {
    env::var_os(MARK).is_some()
}

/// Starts this program again inside, with `arguments` and with `mooring` as the appliance's binary,
/// and waits for its end.
///
/// # Errors
/// When this machine does not let us make namespaces; the message says what to do about it.
pub fn reenter<A: AsRef<OsStr>>(arguments: &[A], mooring: &Path) -> Result<ExitStatus> {
    let program = env::current_exe().context("this program's own path")?;
    // Ordinary users of Debian do not have `sbin`, where the tools are, in their path.
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    Command::new("setpriv")
        .args(UNTIL_PARENT_ENDS)
        .arg("unshare")
        .args(namespaces()?)
        .arg(program)
        .args(arguments)
        .env("PATH", path)
        .env(MARK, "1")
        .env(binary::VARIABLE, mooring)
        .status()
        .context("cannot run `unshare` (package util-linux)")
}

/// Gives the corner its own `/run`, so that named namespaces and control sockets are private.
///
/// # Errors
/// When the mount is refused.
pub fn prepare() -> Result<()> {
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).context("a private /run")?;
    Ok(fs::create_dir_all(SCRATCH)?)
}

/// The options of `unshare` that work here: as root, else through a user namespace.
fn namespaces() -> Result<Vec<&'static str>> {
    let plain = NAMESPACES.to_vec();
    let with_user = [&["--user", "--map-root-user"], NAMESPACES].concat();
    let mut refusal = String::new();
    for options in [plain, with_user] {
        let tried = Command::new("unshare")
            .args(&options)
            .arg("true")
            .stdin(Stdio::null())
            .output()
            .context("cannot run `unshare` (package util-linux)")?;
        if tried.status.success() {
            return Ok(options);
        }
        refusal = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    }
    bail!("cannot make network namespaces here: {refusal}\n{ADVICE}")
}

/// A directory inside the corner for configurations and captures; gone with it.
pub const SCRATCH: &str = "/run/lab";

const MARK: &str = "MOORING_LAB_INSIDE";
const RAN: i32 = 42;
const UNTIL_PARENT_ENDS: [&str; 3] = ["--pdeathsig", "KILL", "--"];
const NAMESPACES: &[&str] =
    &["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
const ADVICE: &str = "\
hint: labs need root or unprivileged user namespaces. One of these helps:
  - run the same command as root (sudo), in a container with --privileged
  - sysctl -w user.max_user_namespaces=10000
  - Debian: sysctl -w kernel.unprivileged_userns_clone=1
  - Ubuntu: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";

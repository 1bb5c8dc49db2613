//! Namespaces for one test: the test runs itself again under `unshare`, so that nothing is left
//! behind, however it ends.

use std::env;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities,
};

/// Runs `test`, which is called `name` in this binary, in new network and mount namespaces.
///
/// # Panics
/// When the test fails in there, or no namespaces can be made.
pub(crate) fn isolated(name: &str, test: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        shell("mount -t tmpfs tmpfs /run; ip link set lo up");
        return test();
    }
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let status = unshare
        .args(["--net", "--mount", "--"])
        .arg(env::current_exe().expect("the test binary has a path"))
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1")
        .status()
        .expect("`unshare` (util-linux) is installed");
    assert!(status.success(), "{name} failed in its namespace");
}

/// Runs a shell script in the current namespace.
///
/// # Panics
/// When a command of it fails.
pub(crate) fn shell(script: &str) {
    let output = Command::new("sh").args(["-euc", script]).output().expect("there is a shell");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// What a shell script says, whatever becomes of it.
pub(crate) fn output(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().expect("there is a shell");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `work` on a thread in the namespace `name`, made with `ip netns add`.
pub(crate) fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let namespace = File::open(format!("/run/netns/{name}")).expect("the namespace exists");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may enter its namespaces");
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().expect("the thread in the namespace ends well"))
}

/// Runs `work` on a thread without one capability.
pub(crate) fn without<T: Send>(capability: CapabilitySet, work: impl FnOnce() -> T + Send) -> T {
    let drop_and_work = || {
        let mut sets = capabilities(None).expect("a thread may read its own");
        sets.effective -= capability;
        set_capabilities(None, sets).expect("a thread may drop its own");
        work()
    };
    thread::scope(|scope| scope.spawn(drop_and_work).join().expect("the thread ends well"))
}

/// Whether the kernel stack that has `target` is reached from here and answers: with port
/// unreachable, to a datagram for a port where nobody listens.
pub(crate) fn answers(target: IpAddr) -> bool {
    let local = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).expect("any port");
    socket.connect((target, CLOSED_PORT)).expect("there is a route");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a positive time");
    (0..3).any(|_| {
        // An answer to the last one can arrive as an error of this one.
        let sent = socket.send(b"anyone?");
        let answer = sent.and_then(|_| socket.recv(&mut [0; 16]));
        answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
}

/// Set in the process that runs in the namespace.
const MARK: &str = "MOORING_IO_TEST_ISOLATED";
const CLOSED_PORT: u16 = 40_009;

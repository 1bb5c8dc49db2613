//! The appliance under test: started, asked and stopped by its command line alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::binary::mooring_binary;
use crate::config::Config;
use crate::isolation::SCRATCH;
use crate::namespace::Namespace;
use crate::process::{Exit, Process};

/// A running `mooring run`, ready to forward.
#[derive(Debug)]
pub struct Appliance {
    process: Process,
    gateway: Namespace,
    file: PathBuf,
}

impl Appliance {
    /// Starts it in `gateway` and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or stays silent instead; its standard error is printed.
    pub fn start(gateway: &Namespace, config: &Config) -> Result<Self> {
        Self::start_limited(gateway, config, &[])
    }

    /// The same behind a wrapper command, e.g. `setpriv` and its options to take rights away.
    ///
    /// # Errors
    /// As [`Appliance::start`].
    pub fn start_limited(gateway: &Namespace, config: &Config, wrapper: &[&str]) -> Result<Self> {
        let file = write_config(config)?;
        let mut command = wrapped(gateway, wrapper)?;
        let mut process = Process::spawn("mooring run", command.args(["run", "-c"]).arg(&file))?;
        process.wait_for_line("ready")?;
        Ok(Self { process, gateway: gateway.clone(), file })
    }

    /// Runs `mooring VERB -c FILE` where it is expected to refuse, and returns how it ended.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn refused(
        gateway: &Namespace,
        verb: &str,
        config: &Config,
        wrapper: &[&str],
    ) -> Result<Exit> {
        let file = write_config(config)?;
        let mut command = wrapped(gateway, wrapper)?;
        let name = format!("mooring {verb}");
        Process::spawn(&name, command.args([verb, "-c"]).arg(&file))?.wait()
    }

    /// What `mooring show WHAT --json` prints.
    ///
    /// # Errors
    /// When it fails or prints anything but one JSON document.
    pub fn show(&self, what: &str) -> Result<Value> {
        let text = self.show_text(&[what, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("show {what} --json printed: {text}"))
    }

    /// What `mooring show ARGUMENTS` prints for people.
    ///
    /// # Errors
    /// When it fails.
    pub fn show_text(&self, arguments: &[&str]) -> Result<String> {
        let output =
            self.gateway.command(mooring_binary()?).arg("show").args(arguments).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "show {arguments:?}: {}: {stderr}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// How many packets were dropped for `reason` so far.
    ///
    /// # Errors
    /// When `show drops` does not list the reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let drops = self.show("drops")?;
        drops[reason].as_u64().with_context(|| format!("show drops has no `{reason}`: {drops}"))
    }

    /// Writes `config` to its file and sends SIGHUP; what it says about it is for the caller to
    /// wait for.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn reload(&self, config: &str) -> Result<()> {
        fs::write(&self.file, config)?;
        self.process.signal(Signal::HUP)
    }

    /// Puts another file in the place of its configuration, as a cluster does, and tells it nothing.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn replace_file(&self, config: &str) -> Result<()> {
        let next = self.file.with_extension("next");
        fs::write(&next, config)?;
        Ok(fs::rename(next, &self.file)?)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.is_running()
    }

    /// What the kernel says of each of its threads: the line `key` of `/proc/PID/task/*/status`.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn of_threads(&self, key: &str) -> Result<Vec<String>> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = fs::read_dir(&tasks).with_context(|| tasks.clone())?;
        let line = |task: std::io::Result<fs::DirEntry>| {
            let status = fs::read_to_string(task?.path().join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("no {key}"))?.trim().to_owned())
        };
        tasks.map(line).collect()
    }

    /// Stops one of its threads, as a debugger does, and none of the others. It stands still until the process
    /// ends.
    ///
    /// # Errors
    /// When there is no thread of that name, or it cannot be stopped.
    pub fn stop_thread(&self, name: &str) -> Result<()> {
        let mut stopper = Command::new("python3");
        // It goes with the thread: what is traced is not gone before its tracer has seen that.
        Process::spawn("a tracer", stopper.args(["-c", STOPPER, &self.thread(name)?]))?
            .leave_when("stopped")
    }

    /// Lets one of its threads have `result` in place of what the kernel answers to its next call of those
    /// numbers, which has been carried out then. The thread knows nothing of it, and is let alone afterwards.
    ///
    /// # Errors
    /// When there is no thread of that name, or it does not call within the limit.
    #[cfg(target_arch = "x86_64")]
    pub fn answer_once(&self, name: &str, calls: &[u32], result: i64) -> Result<()> {
        let mut liar = Command::new("python3");
        liar.args(["-c", LIAR, &self.thread(name)?, &result.to_string()]);
        let liar = liar.args(calls.iter().map(u32::to_string));
        Process::spawn("a tracer", liar)?.leave_when("answered")
    }

    /// The number of the thread of this name, of it or of a child of its wrapper.
    fn thread(&self, name: &str) -> Result<String> {
        let own = self.process.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        for process in children.split_whitespace().chain([&*own.to_string()]) {
            let tasks = format!("/proc/{process}/task");
            for task in fs::read_dir(&tasks).with_context(|| tasks.clone())? {
                let task = task?;
                if fs::read_to_string(task.path().join("comm"))?.trim() == name {
                    return Ok(task.file_name().to_string_lossy().into_owned());
                }
            }
        }
        bail!("no thread {name}")
    }

    /// Ends it by SIGABRT, as a panic of any thread does in a release build.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn abort(&self) -> Result<()> {
        self.process.signal(Signal::ABORT)
    }

    /// From now on it gets no further file or socket; those that it has stay.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn starve(&self) -> Result<()> {
        self.process.limit_descriptors(3)
    }

    /// Ends it by SIGTERM and returns its standard error.
    ///
    /// # Errors
    /// When it does not end, or not with exit code 0.
    pub fn stop(self) -> Result<String> {
        self.process.signal(Signal::TERM)?;
        let exit = self.process.wait()?;
        ensure!(exit.code == Some(0), "stopped with {:?}:\n{}", exit.code, exit.stderr);
        Ok(exit.stderr)
    }

    /// Sends SIGTERM, and waits for nothing.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Waits until it ends by itself, and returns how.
    ///
    /// # Errors
    /// When it still runs after the limit.
    pub fn ended(self) -> Result<Exit> {
        self.process.wait()
    }

    /// Waits until it says something that contains `part`.
    ///
    /// # Errors
    /// When it ends first, or says nothing of the kind within the limit.
    pub fn wait_for_line(&mut self, part: &str) -> Result<()> {
        self.process.wait_for_line(part)
    }

    /// The default control socket, which labs use (their `/run` is their own).
    #[must_use]
    pub fn control_socket() -> &'static Path {
        Path::new(CONTROL_SOCKET)
    }

    /// Ends it by SIGKILL: it cannot clean up.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn kill(self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait()?;
        Ok(())
    }
}

fn write_config(config: &Config) -> Result<PathBuf> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile_in(SCRATCH)?;
    fs::write(&file, config.to_string())?;
    Ok(file.into_temp_path().keep()?)
}

fn wrapped(gateway: &Namespace, wrapper: &[&str]) -> Result<Command> {
    let mooring = mooring_binary()?;
    let Some((program, arguments)) = wrapper.split_first() else {
        return Ok(gateway.command(mooring));
    };
    let mut command = gateway.command(program);
    command.args(arguments).arg(mooring);
    Ok(command)
}

const CONTROL_SOCKET: &str = "/run/mooring/control.sock";

/// `PTRACE_SEIZE`, `PTRACE_INTERRUPT`; then it waits (`__WALL`) for the stop, and for the end.
const STOPPER: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
thread = int(sys.argv[1])
for request in (0x4206, 0x4207):
    if libc.ptrace(request, thread, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000)
print("stopped", file=sys.stderr, flush=True)
os.waitpid(thread, 0x40000000)
"#;

/// `PTRACE_SEIZE` (which tells stops of system calls apart), `PTRACE_INTERRUPT`; then from stop to stop
/// (`PTRACE_SYSCALL`) until `PTRACE_GET_SYSCALL_INFO` says that a call ends and `PTRACE_GETREGS` (of x86_64) that it
/// is one of those.
#[cfg(target_arch = "x86_64")]
const LIAR: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
thread, result, calls = int(sys.argv[1]), int(sys.argv[2]), {int(call) for call in sys.argv[3:]}
def trace(request, address=0, data=0):
    if libc.ptrace(request, thread, address, data) == -1:
        sys.exit(os.strerror(ctypes.get_errno()))
trace(0x4206, 0, 1)
trace(0x4207)
os.waitpid(thread, 0x40000000)
information = (ctypes.c_ubyte * 128)()
registers = (ctypes.c_ulonglong * 27)()
RAX, CALLED = 10, 15
while True:
    trace(24)
    _, status = os.waitpid(thread, 0x40000000)
    if not os.WIFSTOPPED(status):
        sys.exit("the thread has ended")
    if os.WSTOPSIG(status) != 0x85:
        continue
    trace(0x420e, len(information), ctypes.addressof(information))
    trace(12, 0, ctypes.addressof(registers))
    if information[0] == 2 and registers[CALLED] in calls:
        registers[RAX] = result % 2**64
        trace(13, 0, ctypes.addressof(registers))
        trace(17)
        print("answered", file=sys.stderr, flush=True)
        break
"#;

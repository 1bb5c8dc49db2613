//! A container of the image, as a Pod has it: by crun, an OCI runtime, from what a kubelet and containerd make of a
//! Pod's `securityContext`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::config::Config;
use crate::image::Image;
use crate::isolation::SCRATCH;
use crate::namespace::Namespace;
use crate::process::{Exit, Process};
use crate::seccomp;

/// The `securityContext`, with `capabilities.drop: [ALL]` and `readOnlyRootFilesystem: true`.
#[derive(Debug, Clone, Copy)]
pub struct SecurityContext {
    /// `runAsUser` and `runAsGroup`.
    pub user: u32,
    /// `capabilities.add`.
    pub add: &'static [&'static str],
    /// `allowPrivilegeEscalation`.
    pub escalation: bool,
}

/// A running container.
#[derive(Debug)]
pub struct Container {
    process: Process,
    name: String,
    user: u32,
}

impl Container {
    /// Starts the image's own command in the network namespace of `pod`, and waits until it forwards.
    ///
    /// # Errors
    /// When it ends or stays silent instead.
    pub fn start(
        image: &Image,
        context: SecurityContext,
        pod: &Namespace,
        config: &Config,
    ) -> Result<Self> {
        let (mut process, name) = spawn(image, context, pod, config)?;
        process.wait_for_line("ready")?;
        Ok(Self { process, name, user: context.user })
    }

    /// Starts it where it is expected to refuse, and returns how it ended.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub fn refused(
        image: &Image,
        context: SecurityContext,
        pod: &Namespace,
        config: &Config,
    ) -> Result<Exit> {
        spawn(image, context, pod, config)?.0.wait()
    }

    /// What becomes of a program of this machine, with all rights but those that the filter of system calls takes.
    ///
    /// # Errors
    /// When the runtime does not start it.
    pub fn filtered(program: &[&str]) -> Result<Exit> {
        hide_control_groups()?;
        let bundle = Path::new(SCRATCH).join("filtered");
        let root = bundle.join("root");
        fs::create_dir_all(root.join("mnt"))?;
        for folder in ["bin", "lib", "lib64"] {
            let link = root.join(folder);
            if !link.is_symlink() {
                symlink(format!("usr/{folder}"), link)?;
            }
        }
        let document = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 }, "args": program, "cwd": "/", "env": ["PATH=/usr/sbin:/usr/bin"],
                "capabilities": { "bounding": ALL, "effective": ALL, "permitted": ALL },
            },
            "root": { "path": root },
            "mounts": [
                { "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] },
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
            ],
            "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }], "seccomp": seccomp::runtime_default() },
        });
        fs::write(bundle.join("config.json"), document.to_string())?;
        let mut command = crun();
        command.arg("run").arg("--bundle").arg(&bundle).arg("filtered");
        Process::spawn("the program", &mut command)?.wait()
    }

    /// What a command in the container prints, as `kubectl exec` runs it.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let user = format!("{0}:{0}", self.user);
        let output =
            crun().args(["exec", "--user", &user]).arg(&self.name).args(command).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The line `key` of the first process's `/proc/PID/status`.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn status(&self, key: &str) -> Result<String> {
        let output = crun().arg("state").arg(&self.name).output()?;
        let state: Value = serde_json::from_slice(&output.stdout).context("the state")?;
        let status = fs::read_to_string(format!("/proc/{}/status", state["pid"]))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("no {key}"))?.trim().to_owned())
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
}

fn spawn(
    image: &Image,
    context: SecurityContext,
    pod: &Namespace,
    config: &Config,
) -> Result<(Process, String)> {
    hide_control_groups()?;
    let name = format!("container-{}", MADE.fetch_add(1, Ordering::Relaxed));
    let bundle = Path::new(SCRATCH).join(&name);
    let mounted = bundle.join("config");
    fs::create_dir_all(&mounted)?;
    fs::write(mounted.join("mooring.toml"), config.to_string())?;
    let document = bundle_of(image, context, pod, &mounted);
    fs::write(bundle.join("config.json"), document.to_string())?;
    let mut command = crun();
    command.arg("run").arg("--bundle").arg(&bundle).arg(&name);
    Ok((Process::spawn("the container", &mut command)?, name))
}

/// The runtime's configuration, as containerd writes it.
fn bundle_of(image: &Image, context: SecurityContext, pod: &Namespace, mounted: &Path) -> Value {
    let of_image = &image.config["config"];
    let words = |key: &str| of_image[key].as_array().cloned().unwrap_or_default();
    let command = [words("Entrypoint"), words("Cmd")].concat();
    let capabilities: Vec<_> = context.add.iter().map(|name| format!("CAP_{name}")).collect();
    let folder = |destination: &str, source: &Path| {
        json!({
            "destination": destination, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", "ro"],
        })
    };
    let empty = |destination: &str, options: &[&str]| {
        let options = [&["nosuid"], options].concat();
        json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
    };
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": context.user, "gid": context.user },
            "args": command,
            "env": of_image["Env"],
            "cwd": of_image["WorkingDir"],
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": !context.escalation,
        },
        "root": { "path": image.root, "readonly": true },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            empty("/dev", &["noexec", "mode=755"]),
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            // An emptyDir is writable by all.
            empty("/run/mooring", &["nodev", "mode=777"]),
            folder("/etc/mooring", mounted),
        ],
        "linux": {
            "namespaces": [
                { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network", "path": format!("/run/netns/{}", pod.name()) },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            "seccomp": seccomp::runtime_default(),
        },
    })
}

/// crun without control groups, which machines set up in many ways, and which no right depends on.
fn crun() -> Command {
    let mut crun = Command::new("crun");
    crun.arg("--cgroup-manager=disabled").arg("--root").arg(Path::new(SCRATCH).join("crun"));
    crun
}

/// crun looks at what kind the machine has even so. The mounts of a lab are its own.
fn hide_control_groups() -> Result<()> {
    static HIDDEN: AtomicUsize = AtomicUsize::new(0);
    if HIDDEN.fetch_add(1, Ordering::Relaxed) > 0 {
        return Ok(());
    }
    let folder = "/sys/fs/cgroup";
    mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None).context("hiding /sys/fs/cgroup")
}

/// What the calls need that are refused to [`Container::filtered`].
const ALL: &[&str] = &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE"];

static MADE: AtomicUsize = AtomicUsize::new(0);

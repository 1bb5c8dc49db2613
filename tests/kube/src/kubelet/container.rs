//! A container: what its program sees, and what it may do. Becoming it is one way: nothing undoes it.
//!
//! The order is that of runc: namespaces, mounts, root, capabilities, user, no_new_privs, seccomp, program.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, LinkNameSpaceType, Uid, move_into_link_name_space,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_uid,
};
use serde::{Deserialize, Serialize};

use super::filter;
use super::rights::Rights;

/// All that a program's surroundings are made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Container {
    /// The folder that becomes `/`.
    pub root: PathBuf,
    /// The file of the network namespace.
    pub network: PathBuf,
    /// What is seen below `/`, in this order.
    pub mounts: Vec<Mount>,
    /// What the program may do.
    pub rights: Rights,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A folder or file from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Outside.
    pub source: PathBuf,
    /// Inside, from `/` on.
    pub target: PathBuf,
    /// Whether nobody inside may write.
    pub read_only: bool,
}

impl Container {
    /// What a file describes.
    ///
    /// # Errors
    /// When it describes nothing.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| file.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Turns this process into the container's program.
    ///
    /// # Errors
    /// The first step that the kernel refuses. This process is then of no use any more.
    pub fn become_it(self) -> Result<Infallible> {
        let network = File::open(&self.network).context("the network namespace")?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        drop(network);
        self.mount_all().context("the container's mounts")?;
        self.rights.take_on().context("the container's rights")?;
        let (program, arguments) = self.command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&self.environment);
        bail!("cannot start {program}: {}", command.exec())
    }

    fn mount_all(&self) -> Result<()> {
        let still = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind(&self.root, &self.root)?;
        for Mount { source, target, read_only } in &self.mounts {
            let at = self.inside(target, source.is_dir())?;
            mount_bind(source, &at).with_context(|| at.display().to_string())?;
            if *read_only {
                mount_remount(&at, MountFlags::BIND | MountFlags::RDONLY, "")?;
            }
        }
        let proc = self.inside(Path::new("/proc"), true)?;
        mount("proc", &proc, "proc", still, None)?;
        if !self.rights.privileged {
            let settings = proc.join("sys");
            mount_bind(&settings, &settings)?;
            mount_remount(&settings, MountFlags::BIND | MountFlags::RDONLY | still, "")?;
        }
        let sys = self.inside(Path::new("/sys"), true)?;
        mount("sysfs", &sys, "sysfs", still | MountFlags::RDONLY, None)?;
        let dev = self.inside(Path::new("/dev"), true)?;
        // A hostPath of a device has been mounted below already: it must not be covered.
        if !self.mounts.iter().any(|mount| mount.target.starts_with("/dev")) {
            mount("tmpfs", &dev, "tmpfs", MountFlags::NOSUID, None)?;
        }
        for device in DEVICES {
            let at = self.inside(Path::new(device), false)?;
            mount_bind(*device, &at)?;
        }
        if self.rights.read_only_root {
            mount_remount(&self.root, MountFlags::BIND | MountFlags::RDONLY, "")?;
        }
        chdir(&self.root)?;
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(chdir("/")?)
    }

    /// The place of `target` in the container's root, made if it is not there.
    fn inside(&self, target: &Path, folder: bool) -> Result<PathBuf> {
        let at = self.root.join(target.strip_prefix("/").context("a path from / on")?);
        if folder {
            fs::create_dir_all(&at)?;
        } else {
            fs::create_dir_all(at.parent().context("a file in a folder")?)?;
            File::options().create(true).append(true).open(&at)?;
        }
        Ok(at)
    }
}

impl Rights {
    fn take_on(&self) -> Result<()> {
        let allowed = self.capability_set()?;
        for capability in (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
            if !allowed.contains(capability) {
                // Those that this kernel does not know are refused.
                let _ = remove_capability_from_bounding_set(capability);
            }
        }
        let groups: Vec<_> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups)?;
        set_thread_gid(Gid::from_raw(self.group))?;
        // Another user than root loses all that is permitted here, and root what is not allowed below.
        set_thread_uid(Uid::from_raw(self.user))?;
        let kept = if self.user == 0 { allowed } else { CapabilitySet::empty() };
        let none = CapabilitySet::empty();
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: none },
        )?;
        if self.no_new_privileges {
            set_no_new_privs(true)?;
        }
        if self.filtered { filter::apply() } else { Ok(()) }
    }

    fn capability_set(&self) -> Result<CapabilitySet> {
        if self.privileged {
            return Ok(rustix::thread::capabilities(None)?.permitted);
        }
        let mut set = CapabilitySet::empty();
        for name in &self.capabilities {
            let known = CapabilitySet::from_name(name);
            set |= known.with_context(|| format!("a capability {name}?"))?;
        }
        Ok(set)
    }
}

const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

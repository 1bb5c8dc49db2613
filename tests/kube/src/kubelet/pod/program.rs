//! The program of a container: a process that is the first of its own process namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use mooring_lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};

/// What others see of a Pod.
#[derive(Debug, Default)]
pub(super) struct Shared {
    place: OnceLock<(Namespace, PathBuf)>,
    /// The process around the program's; 0 if there is none.
    outer: AtomicU32,
    ending: AtomicBool,
}

impl Shared {
    pub(super) fn place(&self) -> Option<(Namespace, PathBuf)> {
        self.place.get().cloned()
    }

    pub(super) fn set_place(&self, namespace: &Namespace, log: &Path) {
        let _ = self.place.set((namespace.clone(), log.to_owned()));
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(super) fn set_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn process(&self) -> Option<u32> {
        inner(self.outer.load(Ordering::Relaxed))
    }

    pub(super) fn set_outer(&self, process: u32) {
        self.outer.store(process, Ordering::Relaxed);
    }
}

/// A running program, in namespaces of its own. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    ended: bool,
}

impl Program {
    /// Starts what a file describes, see [`super::super::Container`].
    pub(super) fn start(description: &Path, log: &Path) -> Result<Self> {
        let said = File::options().create(true).append(true).open(log)?;
        let child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--"])
            .arg(pod_init()?)
            .arg(description)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("cannot run `unshare` (package util-linux)")?;
        Ok(Self { child, ended: false })
    }

    pub(super) fn outer(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        self.ended = self.child.try_wait()?.is_some();
        Ok(self.ended)
    }

    pub(super) fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        self.ended = true;
        Ok(status)
    }

    /// A program that has ended takes no signals.
    pub(super) fn signal(&self, signal: Signal) {
        let process = inner(self.outer()).and_then(|process| i32::try_from(process).ok());
        if let Some(process) = process.and_then(Pid::from_raw) {
            let _ = kill_process(process, signal);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.ended {
            // `unshare` takes its child with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The only child of a process.
fn inner(outer: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The program that becomes a container; Cargo builds it beside the tests.
fn pod_init() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut places = own.ancestors().skip(1).take(2).map(|folder| folder.join("mooring-pod-init"));
    let found = places.find(|file| file.is_file());
    ensure!(found.is_some(), "no mooring-pod-init beside {}", own.display());
    found.context("just seen")
}

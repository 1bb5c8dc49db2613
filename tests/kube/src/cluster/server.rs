//! One program of the control plane and its log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A running program. It is killed when it is dropped.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it says is added to the log.
    pub(super) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Fails with what it said last, if it has ended.
    pub(super) fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
        bail!("{} ended ({status}):\n{last}", self.name)
    }

    pub(super) fn kill(mut self) {
        self.end();
    }

    /// Both may fail only because it has ended already.
    pub(super) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Copies the log to where it outlives the test's corner, and says where.
    pub(super) fn keep_log(&self) {
        let program = std::env::current_exe().unwrap_or_default();
        // <target>/<profile>/deps/<test>, or <target>/<profile>/<program>
        let mut folders = program.ancestors().skip(1).skip_while(|folder| folder.ends_with("deps"));
        let target = folders.nth(1).unwrap_or(Path::new("/"));
        let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
        let folder = target.join("kube-logs").join(test);
        let kept = folder.join(self.log.file_name().unwrap_or_default());
        let copied = fs::create_dir_all(&folder).and_then(|()| fs::copy(&self.log, &kept));
        match copied {
            Ok(_) => eprintln!("the log of {} is in {}", self.name, kept.display()),
            Err(error) => eprintln!("the log of {} could not be kept: {error}", self.name),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

const LAST_WORDS: usize = 20;

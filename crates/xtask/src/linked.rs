//! The packages that the binary is made of.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::{cargo, output};

/// All packages that are linked into `mooring` for one target: from it along ordinary dependencies.
#[derive(Debug)]
pub(crate) struct Linked {
    packages: Vec<Value>,
    /// Of each package by its id: the ids of what it uses, in order.
    uses: BTreeMap<String, Vec<String>>,
}

impl Linked {
    /// As `cargo metadata` says.
    ///
    /// # Errors
    /// When Cargo fails, or `Cargo.lock` does not fit.
    pub(crate) fn of(triple: &str) -> Result<Self> {
        let mut command = cargo(&["metadata", "--locked", "--format-version", "1"]);
        let metadata = output(command.args(["--filter-platform", triple]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let packages = metadata["packages"].as_array().context("packages")?;
        let ours = packages.iter().find(|package| package["name"] == "mooring");
        let mut open = vec![id(ours.context("the package mooring")?)];
        let mut uses = BTreeMap::new();
        while let Some(next) = open.pop() {
            if uses.contains_key(&next) {
                continue;
            }
            let used = used_by(&metadata, &next)?;
            open.extend(used.iter().cloned());
            uses.insert(next, used);
        }
        let linked = packages.iter().filter(|package| uses.contains_key(&id(package)));
        let mut packages: Vec<_> = linked.cloned().collect();
        packages.sort_by_key(|package| [text(package, "name"), text(package, "version")]);
        Ok(Self { packages, uses })
    }

    /// All, by name.
    pub(crate) fn packages(&self) -> &[Value] {
        &self.packages
    }

    /// Those that are not ours.
    pub(crate) fn of_others(&self) -> impl Iterator<Item = &Value> {
        self.packages.iter().filter(|package| !package["source"].is_null())
    }

    /// What a package uses.
    pub(crate) fn used_by(&self, package: &Value) -> impl Iterator<Item = &Value> {
        let used = self.uses.get(&id(package));
        let named = |id: &String| self.packages.iter().find(move |package| package["id"] == **id);
        used.into_iter().flatten().filter_map(named)
    }
}

/// What a package uses when it runs: not for its tests, not for its build script.
fn used_by(metadata: &Value, id: &str) -> Result<Vec<String>> {
    let nodes = metadata["resolve"]["nodes"].as_array().context("a dependency graph")?;
    let node = nodes.iter().find(|node| node["id"] == id).context("a node")?;
    let dependencies = node["deps"].as_array().into_iter().flatten().filter(|dependency| {
        let mut kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
        kinds.any(|kind| kind["kind"].is_null())
    });
    let used: BTreeSet<_> = dependencies.map(|dependency| text(dependency, "pkg")).collect();
    Ok(used.into_iter().collect())
}

fn id(package: &Value) -> String {
    text(package, "id")
}

/// A text of a package; empty where it has none.
pub(crate) fn text(package: &Value, field: &str) -> String {
    package[field].as_str().unwrap_or_default().to_owned()
}

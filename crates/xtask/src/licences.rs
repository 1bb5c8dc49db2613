//! The licences of everything that is linked into the binary.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::linked::Linked;
use crate::workspace::root;

/// The text of THIRD-PARTY-LICENSES for a target: each package, then each text once.
///
/// # Errors
/// When a package comes without a text and under a licence that we have no text of.
pub(crate) fn collect(triple: &str) -> Result<String> {
    let linked = Linked::of(triple)?;
    let mut list = String::from(
        "Mooring is licensed under MIT OR Apache-2.0. Its binary contains the packages below.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked.of_others() {
        let field = |name: &str| package[name].as_str().unwrap_or_default();
        let title = format!("{} {}", field("name"), field("version"));
        writeln!(list, "{title}: {}  {}", field("license"), field("repository"))?;
        for text in texts_of(package)? {
            texts.entry(text).or_default().push(title.clone());
        }
    }
    for (title, licence, copyright) in BESIDE {
        writeln!(list, "{title}: {licence}")?;
        texts.entry(mit(copyright)?).or_default().push(title.to_owned());
    }
    for (text, packages) in texts {
        writeln!(list, "\n{RULE}\n{}\n{RULE}\n\n{}", packages.join(", "), text.trim())?;
    }
    Ok(list)
}

/// The licence texts that a package brings; where it brings none, that of the licence it names.
fn texts_of(package: &Value) -> Result<Vec<String>> {
    let manifest = package["manifest_path"].as_str().context("a manifest")?;
    let folder = Path::new(manifest).parent().context("a folder")?;
    let mut files: Vec<_> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && is_licence(path))
        .collect();
    files.sort();
    let texts: Vec<_> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    if !texts.is_empty() {
        return Ok(texts);
    }
    let licence = package["license"].as_str().unwrap_or_default();
    let any_of: Vec<_> = licence.split([' ', '/']).collect();
    if any_of.contains(&"MIT") {
        let authors = package["authors"].as_array().into_iter().flatten();
        let authors: Vec<_> = authors.filter_map(Value::as_str).collect();
        let name = package["name"].as_str().unwrap_or_default();
        return Ok(vec![mit(&match authors.is_empty() {
            true => format!("the authors of {name}"),
            false => authors.join(", "),
        })?]);
    }
    if any_of.contains(&"Apache-2.0") {
        return Ok(vec![fs::read_to_string(root().join("LICENSE-APACHE"))?]);
    }
    bail!("{} comes without a licence text ({licence})", package["name"])
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let is_code = name.ends_with(".RS") || name.ends_with(".TOML");
    !is_code && NAMES.iter().any(|start| name.starts_with(start))
}

/// Our own MIT text in the name of others.
fn mit(holder: &str) -> Result<String> {
    let own = fs::read_to_string(root().join("LICENSE-MIT"))?;
    let line = |line: &str| match line.starts_with("Copyright") {
        true => format!("Copyright (c) {holder}\n"),
        false => format!("{line}\n"),
    };
    Ok(own.lines().map(line).collect())
}

/// What is in the binary and is no package of Cargo: name, licence, who has the copyright.
pub(crate) const BESIDE: [(&str, &str, &str); 2] = [
    ("Rust standard library", "MIT OR Apache-2.0", "The Rust Project Developers"),
    ("musl libc", "MIT", "2005-2020 Rich Felker, et al."),
];
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
const RULE: &str =
    "--------------------------------------------------------------------------------";

#[cfg(test)]
mod tests {
    use super::collect;

    #[test]
    fn every_package_is_listed_with_a_text_and_nothing_of_this_machine() {
        let text = collect("x86_64-unknown-linux-musl").expect("all have texts");
        for expected in ["clap 4.", "serde 1.", "musl libc", "Apache License", "Permission is"] {
            assert!(text.contains(expected), "{expected}");
        }
        // Of tests only, and ours.
        for absent in ["proptest", "mooring-wire", env!("CARGO_MANIFEST_DIR")] {
            assert!(!text.contains(absent), "{absent}");
        }
    }
}

//! The software bill of materials: every package in the binary, as SPDX 2.3 in JSON.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::describe::{Describe, SOURCE, VENDOR};
use crate::cross::Arch;
use crate::licences::BESIDE;
use crate::linked::{Linked, text};
use crate::workspace::root;

/// The document for one architecture.
///
/// # Errors
/// When `Cargo.lock` cannot be read.
pub(super) fn write(describe: &Describe, arch: Arch, linked: &Linked) -> Result<Vec<u8>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);
    let mut packages: Vec<_> =
        linked.packages().iter().map(|package| entry(package, &checksums)).collect();
    packages.extend(BESIDE.map(|(name, licence, _)| beside(name, licence)));
    let binary = linked.packages().iter().find(|package| package["name"] == "mooring");
    let binary = id(binary.context("the package mooring")?);
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", &binary)];
    for package in linked.packages() {
        let used = linked.used_by(package);
        relations.extend(used.map(|used| relation(&id(package), "DEPENDS_ON", &id(used))));
    }
    for (name, _, _) in BESIDE {
        relations.push(relation(&binary, "STATIC_LINK", &spdx_id(name)));
    }
    let name = format!("mooring-{}-linux-{}", describe.version, arch.of_images());
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        // A name that no other document has, not an address.
        "documentNamespace": format!("{SOURCE}/spdx/{name}-{}", describe.revision),
        "creationInfo": {
            "created": describe.created,
            "creators": [format!("Organization: {VENDOR}"), "Tool: cargo-xtask-image"],
        },
        "packages": packages,
        "relationships": relations,
    });
    Ok(serde_json::to_vec_pretty(&document)?)
}

fn entry(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let ours = package["source"].is_null();
    let download = match ours {
        true => format!("git+{SOURCE}"),
        false => format!("https://crates.io/api/v1/crates/{name}/{version}/download"),
    };
    let mut entry = json!({
        "name": name,
        "SPDXID": id(package),
        "versionInfo": version,
        "supplier": if ours { format!("Organization: {VENDOR}") } else { NOTHING.to_owned() },
        "downloadLocation": download,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": expression(&text(package, "license")),
        "copyrightText": NOTHING,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")),
        }],
    });
    if let Some(sum) = checksums.get(&(name, version)) {
        entry["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sum }]);
    }
    entry
}

/// What is in the binary and is no package of Cargo.
fn beside(name: &str, licence: &str) -> Value {
    json!({
        "name": name,
        "SPDXID": spdx_id(name),
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": licence,
        "copyrightText": NOTHING,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn id(package: &Value) -> String {
    spdx_id(&format!("{}-{}", text(package, "name"), text(package, "version")))
}

/// An identifier may hold letters, digits, dots and dashes.
fn spdx_id(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    format!("SPDXRef-{}", name.chars().map(allowed).collect::<String>())
}

/// A licence as SPDX writes it: older packages of Cargo have a slash for OR.
fn expression(licence: &str) -> String {
    match licence {
        "" => NOTHING.to_owned(),
        _ => licence.replace(" / ", "/").replace('/', " OR "),
    }
}

/// The checksum of each package of a registry by name and version, from the text of `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let mut lines = package.lines();
        lines
            .find_map(|line| Some(line.strip_prefix(key)?.trim_matches([' ', '=', '"']).to_owned()))
    };
    let packages = lock.split("[[package]]").skip(1);
    let sums = packages.filter_map(|package| {
        let name = (value(package, "name")?, value(package, "version")?);
        Some((name, value(package, "checksum")?))
    });
    sums.collect()
}

/// SPDX's word for "we do not say".
const NOTHING: &str = "NOASSERTION";

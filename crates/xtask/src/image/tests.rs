//! Images of a small file in the place of the binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::content::Content;
use super::describe::{Describe, Profile};
use super::layer::{Entry, Layer, archive};
use super::layout::Layout;
use super::pack;
use crate::cross::Arch;
use crate::workspace::hex;

#[test]
fn the_same_input_gives_the_same_image() {
    let (first, second) = (files("the binary"), files("the binary"));
    assert_eq!(first, second);
    assert_ne!(first["index.json"], files("another")["index.json"]);
}

/// The required fields of image-spec v1.1: image-layout.md, image-index.md, manifest.md, config.md.
#[test]
fn every_document_has_what_the_image_specification_requires() {
    let files = files("the binary");
    assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let index = json(&files["index.json"]);
    let mut seen = 0;
    let mut images = Vec::new();
    follow(&files, &index, &mut |kind, document| {
        seen += 1;
        assert_eq!(document["schemaVersion"], 2);
        match kind {
            "index" => assert!(document["manifests"].is_array()),
            _ if document["artifactType"].is_string() => {
                assert_eq!(document["artifactType"], "application/spdx+json");
                assert!(document["subject"]["digest"].is_string());
                assert_eq!(blob(&files, &document["config"]), b"{}");
            }
            _ => images.push(document.clone()),
        }
    });
    // The index, one of each profile, and for each profile and architecture an image and what is attached to it.
    assert_eq!((seen, images.len()), (1 + 2 + 4 + 4, 4));
    for image in images {
        let config = json(blob(&files, &image["config"]));
        assert!(["amd64", "arm64"].iter().any(|arch| config["architecture"] == **arch));
        assert_eq!(config["os"], "linux");
        assert_eq!(config["rootfs"]["type"], "layers");
        let diffs = config["rootfs"]["diff_ids"].as_array().expect("layers");
        let layers = image["layers"].as_array().expect("layers");
        assert_eq!(diffs.len(), layers.len());
        for (diff, layer) in diffs.iter().zip(layers) {
            assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
            let archive = unzip(blob(&files, layer));
            assert_eq!(*diff, format!("sha256:{}", hex(&archive)));
        }
        for label in
            ["title", "description", "version", "revision", "source", "licenses", "created"]
        {
            let label = &config["config"]["Labels"][format!("org.opencontainers.image.{label}")];
            assert!(label.as_str().is_some_and(|text| !text.is_empty()), "{config}");
        }
    }
}

#[test]
fn each_profile_has_a_name_and_a_user() {
    let files = files("the binary");
    let index = json(&files["index.json"]);
    let tag = |name: &str| {
        let mut all = index["manifests"].as_array().into_iter().flatten();
        let named = |m: &&Value| m["annotations"]["org.opencontainers.image.ref.name"] == name;
        json(blob(&files, all.find(named).expect("a name")))
    };
    for (name, user) in [("0.1.0", "0:0"), ("0.1.0-file-capabilities", "65532:65532")] {
        let manifests = tag(name)["manifests"].as_array().cloned().expect("manifests");
        assert_eq!(manifests.len(), 2, "{name}");
        for manifest in manifests {
            let config = json(blob(&files, &json(blob(&files, &manifest))["config"]));
            assert_eq!(manifest["platform"]["architecture"], config["architecture"]);
            assert_eq!(config["config"]["User"], user, "{name}");
        }
    }
}

#[test]
fn the_root_file_system_holds_what_we_put_there_and_nothing_else() {
    let content = Content::new(&describe(), Arch::X86_64, b"the binary".to_vec()).expect("content");
    for (profile, owner) in [(Profile::Root, 0), (Profile::FileCapabilities, 65_532)] {
        let entries = [content.common(), content.of_profile(profile)].concat();
        let archive = archive(&entries, 1_000).expect("an archive");
        let mut archive = tar::Archive::new(&archive[..]);
        let found = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 1_000);
            let path = entry.path().expect("a path").display().to_string();
            (path, header.mode().expect("a mode"), header.uid().expect("an owner"))
        });
        let (folder, file) = (0o755, 0o644);
        let expected = [
            ("etc/", folder, 0),
            ("etc/group", file, 0),
            ("etc/mooring/", folder, 0),
            ("etc/passwd", file, 0),
            ("etc/podinfo/", folder, 0),
            ("licenses/", folder, 0),
            ("licenses/LICENSE-APACHE", file, 0),
            ("licenses/LICENSE-MIT", file, 0),
            ("licenses/THIRD-PARTY-LICENSES", file, 0),
            ("sbom.spdx.json", file, 0),
            ("mooring", 0o755, 0),
            ("run/", folder, 0),
            ("run/mooring/", folder, owner),
        ];
        let expected = expected.map(|(path, mode, owner)| (path.to_owned(), mode, owner));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}

/// capabilities(7): `VFS_CAP_REVISION_2`, permitted NET_ADMIN and NET_RAW, and neither flag nor inheritable set.
#[test]
fn the_file_of_profile_b_permits_and_makes_nothing_effective() {
    let content = Content::new(&describe(), Arch::X86_64, b"the binary".to_vec()).expect("content");
    let attributes = |profile| {
        let archive = archive(&content.of_profile(profile), 0).expect("an archive");
        let mut archive = tar::Archive::new(&archive[..]);
        let mut binary = archive.entries().expect("entries").next().expect("one").expect("read");
        let extensions = binary.pax_extensions().expect("read");
        let pairs = extensions.into_iter().flatten().map(|pair| pair.expect("a pair"));
        pairs
            .map(|pair| (pair.key().expect("text").to_owned(), pair.value_bytes().to_vec()))
            .collect::<Vec<_>>()
    };
    let value = [&[0, 0, 0, 2, 0x00, 0x30, 0, 0][..], &[0; 12]].concat();
    let expected = [("SCHILY.xattr.security.capability".to_owned(), value)];
    assert_eq!(attributes(Profile::FileCapabilities), expected);
    assert_eq!(attributes(Profile::Root), []);
}

#[test]
fn the_bill_of_materials_names_every_package_once_and_its_licence() {
    let content = Content::new(&describe(), Arch::X86_64, Vec::new()).expect("content");
    let document = json(&content.sbom);
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let packages = document["packages"].as_array().expect("packages");
    let ids: Vec<_> = packages.iter().map(|package| package["SPDXID"].to_string()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len());
    let find = |name: &str| packages.iter().find(|package| package["name"] == name);
    let clap = find("clap").expect("linked");
    assert_eq!(clap["licenseDeclared"], "MIT OR Apache-2.0");
    assert_eq!(clap["checksums"][0]["checksumValue"].as_str().map(str::len), Some(64));
    assert!(find("mooring-wire").is_some() && find("musl libc").is_some());
    // Of tests only.
    assert!(find("proptest").is_none() && find("mooring-lab").is_none());
    for relation in document["relationships"].as_array().expect("relations") {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            let id = relation[end].to_string();
            assert!(id == "\"SPDXRef-DOCUMENT\"" || once.contains(&id), "{relation}");
        }
    }
}

#[test]
fn an_archive_and_a_folder_hold_the_same_layout() {
    let mut layout = Layout::new();
    fill(&mut layout, "the binary");
    let folder = std::env::temp_dir().join(format!("mooring-image-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    for _ in 0..2 {
        let written = layout.write(&folder, "mooring", 1_000).expect("written");
        let archive = fs::read(&written.archive).expect("an archive");
        let mut archive = tar::Archive::new(&archive[..]);
        let mut count = 0;
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let path = folder.join("mooring").join(entry.path().expect("a path"));
            if entry.header().entry_type().is_file() {
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
                assert_eq!(fs::read(path).expect("the same file"), content);
                count += 1;
            }
        }
        assert_eq!(count, layout.files().len());
    }
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 2, "nothing is left over");
    fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_layer_depends_on_nothing_but_its_entries_and_the_time() {
    let entries = [Entry::folder("etc"), Entry::file("etc/passwd", "root")];
    let pack = |time| Layer::pack(&entries, time).expect("a layer");
    assert_eq!(pack(7).bytes, pack(7).bytes);
    assert_ne!(pack(7).diff, pack(8).diff);
    assert_eq!(hex(&unzip(&pack(7).bytes)), pack(7).diff);
}

/// Goes from the index to all that it lists, each blob held against its digest and its size.
fn follow(
    files: &BTreeMap<String, Vec<u8>>,
    document: &Value,
    visit: &mut impl FnMut(&str, &Value),
) {
    let manifests = document["manifests"].as_array();
    visit(if manifests.is_some() { "index" } else { "manifest" }, document);
    for descriptor in manifests.into_iter().flatten() {
        follow(files, &json(blob(files, descriptor)), visit);
    }
    if manifests.is_none() {
        blob(files, &document["config"]);
    }
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().expect("a digest");
    assert!(descriptor["mediaType"].is_string(), "{descriptor}");
    let hexadecimal = digest.strip_prefix("sha256:").expect("SHA-256");
    let blob = &files[&format!("blobs/sha256/{hexadecimal}")];
    assert_eq!(hex(blob), hexadecimal);
    assert_eq!(descriptor["size"], blob.len());
    blob
}

fn files(binary: &str) -> BTreeMap<String, Vec<u8>> {
    let mut layout = Layout::new();
    fill(&mut layout, binary);
    layout.files()
}

fn fill(layout: &mut Layout, binary: &str) {
    let file =
        std::env::temp_dir().join(format!("mooring-binary-{}-{}", std::process::id(), unique()));
    fs::write(&file, binary).expect("a file");
    let binaries: Vec<(Arch, PathBuf)> = Arch::ALL.map(|arch| (arch, file.clone())).to_vec();
    pack(&describe(), &binaries, layout).expect("an image");
    fs::remove_file(file).expect("removed");
}

fn unique() -> u32 {
    static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn describe() -> Describe {
    Describe {
        version: "0.1.0".to_owned(),
        revision: "0123456789ab".to_owned(),
        time: 1_000,
        created: "1970-01-01T00:16:40Z".to_owned(),
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut content)
        .expect("gzip");
    content
}

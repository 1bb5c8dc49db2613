//! An OCI image layout: blobs that are named by their digests, and an index of what they are (image-spec v1.1).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::describe::{Describe, Profile};
use super::layer::Layer;
use crate::cross::Arch;
use crate::workspace::hex;

/// How a blob is named elsewhere: its media type, its digest, its size, and what else is said of it.
pub(super) type Descriptor = Value;

/// A layout that is being filled.
#[derive(Debug, Default)]
pub(super) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Descriptor>,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) archive: PathBuf,
    /// SHA-256 of `index.json`, which names everything else.
    pub(super) digest: String,
}

impl Layout {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an image for one architecture.
    pub(super) fn image(
        &mut self,
        describe: &Describe,
        profile: Profile,
        arch: Arch,
        layers: &[&Layer],
    ) -> Descriptor {
        let config = self.json(CONFIG, &describe.config(profile, arch, layers));
        let layers: Vec<_> =
            layers.iter().map(|layer| self.blob(LAYER, layer.bytes.clone())).collect();
        let mut manifest = self.json(
            MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": layers,
                "annotations": describe.labels(),
            }),
        );
        manifest["platform"] = json!({ "architecture": arch.of_images(), "os": "linux" });
        manifest
    }

    /// Adds a software bill of materials as an artifact that refers to an image.
    pub(super) fn attach(
        &mut self,
        describe: &Describe,
        image: &Descriptor,
        sbom: &[u8],
    ) -> Descriptor {
        let subject = json!({
            "mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"],
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": SPDX,
            "config": self.blob(EMPTY, b"{}".to_vec()),
            "layers": [self.blob(SPDX, sbom.to_vec())],
            "subject": subject,
            "annotations": { "org.opencontainers.image.created": describe.created },
        });
        let mut artifact = self.json(MANIFEST, &manifest);
        artifact["artifactType"] = SPDX.into();
        artifact
    }

    /// Adds an image for several architectures, and names it.
    pub(super) fn tag(&mut self, describe: &Describe, profile: Profile, manifests: &[Descriptor]) {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": manifests,
            "annotations": describe.labels(),
        });
        let mut index = self.json(INDEX, &index);
        index["annotations"] =
            json!({ "org.opencontainers.image.ref.name": describe.tag(profile) });
        self.list(index);
    }

    /// Lists something in `index.json`.
    pub(super) fn list(&mut self, manifest: Descriptor) {
        self.manifests.push(manifest);
    }

    /// Writes the folder `name` and the archive `name.oci.tar` into `folder`, in the place of older ones.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn write(&self, folder: &Path, name: &str, time: u64) -> Result<Written> {
        let files = self.files();
        let (layout, archive) = (folder.join(name), folder.join(format!("{name}.oci.tar")));
        // Made beside them and renamed, so that nobody reads half of one.
        let fresh = |file: &str| folder.join(format!(".{file}-{}", std::process::id()));
        let (new_layout, new_archive) = (fresh("layout"), fresh("archive"));
        for (path, content) in &files {
            let path = new_layout.join(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, content)?;
        }
        fs::write(&new_archive, pack(&files, time)?)?;
        if layout.exists() {
            fs::remove_dir_all(&layout)?;
        }
        fs::rename(new_layout, &layout)?;
        fs::rename(new_archive, &archive)?;
        let digest = files.get("index.json").map(|index| hex(index));
        Ok(Written { archive, digest: digest.context("an index")? })
    }

    /// Every file of the layout by its path.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests,
        });
        let blobs = self.blobs.iter();
        let blobs = blobs.map(|(digest, blob)| (format!("blobs/sha256/{digest}"), blob.clone()));
        let fixed = [
            ("index.json".to_owned(), index.to_string().into_bytes()),
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ];
        blobs.chain(fixed).collect()
    }

    fn json(&mut self, media: &str, value: &Value) -> Descriptor {
        self.blob(media, value.to_string().into_bytes())
    }

    fn blob(&mut self, media: &str, bytes: Vec<u8>) -> Descriptor {
        let digest = hex(&bytes);
        let size = bytes.len();
        self.blobs.insert(digest.clone(), bytes);
        json!({ "mediaType": media, "digest": format!("sha256:{digest}"), "size": size })
    }
}

fn pack(files: &BTreeMap<String, Vec<u8>>, time: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let folders = ["blobs/", "blobs/sha256/"].map(|folder| (folder, None));
    let files = files.iter().map(|(path, content)| (path.as_str(), Some(content)));
    for (path, content) in folders.into_iter().chain(files) {
        let mut header = Header::new_ustar();
        header.set_path(path)?;
        let folder = content.is_none();
        header.set_entry_type(if folder { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(if folder { 0o755 } else { 0o644 });
        header.set_mtime(time);
        let content = content.map(Vec::as_slice).unwrap_or_default();
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content)?;
    }
    Ok(builder.into_inner()?)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const SPDX: &str = "application/spdx+json";

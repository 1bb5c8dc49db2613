//! The image, as a container runtime takes it: from its archive into a folder, by GNU tar, which knows nothing of
//! how we write it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::isolation::{SCRATCH, inside};

/// An image that was unpacked.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its root file system.
    pub root: PathBuf,
    /// Its configuration: user, command, environment.
    pub config: Value,
}

impl Image {
    /// Builds the image of this machine's architecture by `cargo xtask image`, unless `MOORING_IMAGE` names an
    /// archive. To be called outside of a lab, which has no network.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn build() {
        if !inside() && env::var_os(VARIABLE).is_none() {
            build().unwrap_or_else(|error| panic!("{error:?}"));
        }
    }

    /// Unpacks the image whose name ends so: its version comes before that.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be unpacked.
    pub fn unpack(suffix: &str) -> Result<Self> {
        let layout = Path::new(SCRATCH).join("layout");
        if !layout.exists() {
            fs::create_dir_all(&layout)?;
            tar(&archive()?, &layout)?;
        }
        let index = json(&layout.join("index.json"))?;
        let named = |manifest: &&Value| {
            let name = manifest["annotations"]["org.opencontainers.image.ref.name"].as_str();
            let version = name.and_then(|name| name.strip_suffix(suffix));
            version.is_some_and(|version| version.bytes().all(|c| c == b'.' || c.is_ascii_digit()))
        };
        let mut images = index["manifests"].as_array().into_iter().flatten();
        let image = images.find(named).with_context(|| format!("no `{suffix}` in {index}"))?;
        let manifest = json(&blob(&layout, &json(&blob(&layout, image)?)?["manifests"][0])?)?;
        let config = json(&blob(&layout, &manifest["config"])?)?;
        let root = Path::new(SCRATCH).join(format!("root{suffix}"));
        fs::create_dir_all(&root)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            tar(&blob(&layout, layer)?, &root)?;
        }
        Ok(Self { root, config })
    }

    /// Every file and folder of the root file system, in order.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let (mut open, mut found) = (vec![self.root.clone()], Vec::new());
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                found.push(path.strip_prefix(&self.root)?.display().to_string());
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The archive that is tested.
fn archive() -> Result<PathBuf> {
    match env::var_os(VARIABLE) {
        Some(named) => Ok(named.into()),
        None => Ok(folder()?.join("mooring.oci.tar")),
    }
}

fn build() -> Result<()> {
    let folder = folder()?;
    fs::create_dir_all(&folder)?;
    // One at a time: tests are processes.
    let lock = fs::File::create(folder.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["xtask", "image", "--profile", "image-test", "--arch", env::consts::ARCH])
        .arg("--output")
        .arg(&folder)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the image does not build:\n{said}");
    Ok(())
}

/// `target/image-test`.
fn folder() -> Result<PathBuf> {
    let test = env::current_exe()?;
    // <target>/<profile>/deps/<test>
    let target = test.ancestors().nth(3).context("a test binary lies in target/PROFILE/deps")?;
    Ok(target.join("image-test"))
}

fn tar(archive: &Path, folder: &Path) -> Result<()> {
    let output = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--same-owner", "--same-permissions"])
        .args(["--extract", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .output()
        .context("cannot run tar")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{}: {said}", archive.display());
    Ok(())
}

fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn json(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Names the archive of an image that was built before.
const VARIABLE: &str = "MOORING_IMAGE";

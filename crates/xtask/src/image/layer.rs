//! A layer: a compressed archive of a part of the root file system, with nothing in it that the build's machine or
//! time decides.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::workspace::hex;

/// A folder or a file of the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the root on, without a slash in front.
    pub(super) path: &'static str,
    /// `None`: a folder.
    pub(super) content: Option<Vec<u8>>,
    /// Its permissions.
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: u32,
    /// What the kernel permits who runs the file, one bit for each capability; not effective by itself.
    pub(super) permitted: u64,
}

impl Entry {
    /// A folder of root's.
    pub(super) fn folder(path: &'static str) -> Self {
        Self { path, content: None, mode: 0o755, owner: 0, permitted: 0 }
    }

    /// A file of root's that all may read.
    pub(super) fn file(path: &'static str, content: impl Into<Vec<u8>>) -> Self {
        Self { path, content: Some(content.into()), mode: 0o644, owner: 0, permitted: 0 }
    }
}

/// A packed layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// As it is stored: gzip.
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of the archive before it was compressed: what a configuration names.
    pub(super) diff: String,
    /// Bytes of the archive.
    pub(super) unpacked: usize,
}

impl Layer {
    /// Packs entries in their order; all have the time `time`, in seconds since 1970.
    pub(super) fn pack(entries: &[Entry], time: u64) -> Result<Self> {
        let archive = archive(entries, time)?;
        // No name and no time in the gzip header.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&archive)?;
        let bytes = gzip.finish()?;
        Ok(Self { bytes, diff: hex(&archive), unpacked: archive.len() })
    }
}

/// An archive in POSIX.1-2001's format.
pub(super) fn archive(entries: &[Entry], time: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        if entry.permitted != 0 {
            let value = file_capabilities(entry.permitted);
            builder.append_pax_extensions([(CAPABILITIES, &value[..])])?;
        }
        let content = entry.content.as_deref().unwrap_or_default();
        let mut header = Header::new_ustar();
        match &entry.content {
            Some(_) => header.set_path(entry.path)?,
            None => header.set_path(format!("{}/", entry.path))?,
        }
        let folder = entry.content.is_none();
        header.set_entry_type(if folder { EntryType::Directory } else { EntryType::Regular });
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.into());
        header.set_gid(entry.owner.into());
        header.set_mtime(time);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content)?;
    }
    Ok(builder.into_inner()?)
}

/// `struct vfs_cap_data` of revision 2 (linux/capability.h): permitted, none inheritable, none effective.
///
/// Not effective, so that the program starts also where the Pod's bound lacks one of them: the kernel refuses to
/// run a file whose effective capabilities it cannot give, and takes the others as far as the bound goes.
fn file_capabilities(permitted: u64) -> [u8; 20] {
    let halves = [permitted as u32, (permitted >> 32) as u32];
    let mut value = [0; 20];
    let words = [REVISION_2, halves[0], 0, halves[1], 0];
    for (place, word) in value.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    value
}

/// The key of the attribute in an archive, as container runtimes read and GNU tar reads and writes it.
const CAPABILITIES: &str = "SCHILY.xattr.security.capability";
const REVISION_2: u32 = 0x0200_0000;

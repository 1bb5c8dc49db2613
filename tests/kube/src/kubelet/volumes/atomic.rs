//! Folders that change as a kubelet changes them: by a symbolic link.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// A folder whose files change all at once: they are links into `..data`, a link itself.
#[derive(Debug)]
pub(in crate::kubelet) struct AtomicFolder {
    folder: PathBuf,
    owner: (u32, u32),
    mode: u32,
    written: u32,
    files: Option<BTreeMap<String, Vec<u8>>>,
}

impl AtomicFolder {
    /// An empty one, whose files will have this owner and mode.
    pub(in crate::kubelet) fn new(folder: PathBuf, owner: (u32, u32), mode: u32) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder, owner, mode, written: 0, files: None })
    }

    /// Where it is.
    pub(in crate::kubelet) fn path(&self) -> PathBuf {
        self.folder.clone()
    }

    /// Puts these files in the place of all others.
    pub(in crate::kubelet) fn write(&mut self, files: BTreeMap<String, Vec<u8>>) -> Result<()> {
        if self.files.as_ref() == Some(&files) {
            return Ok(());
        }
        let before = fs::read_link(self.folder.join(DATA)).ok();
        self.written += 1;
        let name = format!("..{:08}", self.written);
        let fresh = self.folder.join(&name);
        fs::create_dir(&fresh)?;
        for (file, content) in &files {
            let file = fresh.join(file);
            fs::write(&file, content)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(self.mode))?;
            chown(&file, Some(self.owner.0), Some(self.owner.1))?;
        }
        let link = self.folder.join("..data_tmp");
        symlink(&name, &link)?;
        fs::rename(&link, self.folder.join(DATA))?;
        for file in files.keys() {
            let link = self.folder.join(file);
            if link.symlink_metadata().is_err() {
                symlink(Path::new(DATA).join(file), &link)?;
            }
        }
        self.forget_links(&files)?;
        if let Some(before) = before {
            fs::remove_dir_all(self.folder.join(before))?;
        }
        self.files = Some(files);
        Ok(())
    }

    /// Removes the links of files that are no more.
    fn forget_links(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.contains_key(&name) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }
}

const DATA: &str = "..data";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::AtomicFolder;

    #[test]
    fn files_change_all_at_once() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let at = scratch.path().join("volume");
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mut folder = AtomicFolder::new(at.clone(), own, 0o644)?;
        let files = |all: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            all.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect()
        };
        folder.write(files(&[("one", "1"), ("two", "2")]))?;
        assert_eq!(fs::read_link(at.join("one"))?.to_str(), Some("..data/one"));
        let before = fs::read_link(at.join("..data"))?;
        folder.write(files(&[("one", "11")]))?;
        assert_eq!(fs::read_to_string(at.join("one"))?, "11");
        assert_ne!(fs::read_link(at.join("..data"))?, before);
        assert!(!at.join(before).exists() && at.join("two").symlink_metadata().is_err());
        Ok(())
    }
}

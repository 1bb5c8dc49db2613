//! Notices that a file was replaced, by its folder.
//!
//! What a Pod mounts from the cluster is replaced as a whole: the folder's `..data` becomes a link to
//! another folder, and the file itself is never written to. So whatever happens in the folder is a
//! reason to read the file; whether it says anything new is for its reader to find out.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Watches the folder of a file.
pub(super) struct FolderWatch(OwnedFd);

impl FolderWatch {
    /// Watches from now on; `None` if there is no such folder.
    ///
    /// # Errors
    /// The operating system's, when it has no descriptor or watch left.
    pub(super) fn of(file: &Path) -> io::Result<Option<Self>> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let whatever = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE;
        match inotify::add_watch(&watch, folder, whatever | WatchFlags::ONLYDIR) {
            Ok(_) => Ok(Some(Self(watch))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anything has happened since this was asked last.
    pub(super) fn any(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut any = false;
        while events.next().is_ok() {
            any = true;
        }
        any
    }
}

impl AsRawFd for FolderWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::FolderWatch;

    #[test]
    fn a_mounted_file_that_is_replaced_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path();
        let publish = |version: &str, text: &str| {
            fs::create_dir(path.join(version)).expect("the folder is writable");
            fs::write(path.join(version).join("mooring.toml"), text).expect("writable");
            symlink(version, path.join("..data_tmp")).expect("writable");
            fs::rename(path.join("..data_tmp"), path.join("..data")).expect("writable");
        };
        publish("..one", "one");
        let file = path.join("mooring.toml");
        symlink("..data/mooring.toml", &file).expect("writable");
        let watch = FolderWatch::of(&file).expect("a watch").expect("the folder is there");
        assert!(!watch.any());
        publish("..two", "two");
        assert!(watch.any());
        assert!(!watch.any(), "told once");
        assert_eq!(fs::read_to_string(&file).expect("a link"), "two");
        fs::write(path.join("other"), "").expect("writable");
        assert!(watch.any(), "a plain file, too");
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_watched() {
        let watch = FolderWatch::of(Path::new("/nowhere/at/all/annotations"));
        assert!(watch.expect("no error").is_none());
    }
}

//! The control socket's file: one instance at a time, nothing left behind.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::failed;

/// A listening socket whose file goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// A folder that was made for it.
    made_folder: Option<PathBuf>,
}

impl ControlSocket {
    /// Listens on `path`, with mode 0660. A file that a killed instance has left is taken over.
    ///
    /// # Errors
    /// When another instance answers there, something else than a socket is there, or the folder
    /// cannot be written.
    pub fn bind(path: &Path) -> Result<Self, Failure> {
        let made_folder = make_folder(path)?;
        clear_the_way(path)?;
        let listener = UnixListener::bind(path).map_err(|error| cannot(path, &error))?;
        let socket = Self { listener, path: path.to_owned(), made_folder };
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
            .and_then(|()| socket.listener.set_nonblocking(true))
            .map_err(|error| cannot(path, &error))?;
        Ok(socket)
    }

    /// The listening socket, which does not block.
    #[must_use]
    pub const fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What somebody else has already removed need not be removed.
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = &self.made_folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes the folder of `path` when it is not there.
fn make_folder(path: &Path) -> Result<Option<PathBuf>, Failure> {
    let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) else {
        return Ok(None);
    };
    fs::create_dir_all(folder).map_err(|error| cannot(path, &error))?;
    Ok(Some(folder.to_owned()))
}

/// Makes sure that nothing is at `path`, without taking anything away that is in use.
fn clear_the_way(path: &Path) -> Result<(), Failure> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(path, &error)),
    };
    let shown = path.display();
    if !metadata.file_type().is_socket() {
        return Err(failed(
            &format!("`{shown}` is not a socket"),
            Some("remove it, or choose another `control_socket`".to_owned()),
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| cannot(path, &error))
        }
        Err(error) => Err(cannot(path, &error)),
        Ok(_) => Err(failed(
            &format!("another instance answers on the control socket `{shown}`"),
            Some("stop it first, or give this one another `control_socket`".to_owned()),
        )),
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    failed(
        &format!("cannot listen on the control socket `{}`: {error}", path.display()),
        Some("set `control_socket` under [appliance] to a path that can be written".to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::ControlSocket;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("run/control.sock");
        let first = ControlSocket::bind(&path).expect("nobody else is there");
        let mode = fs::metadata(&path).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let refused = ControlSocket::bind(&path).expect_err("the first one still listens");
        assert!(refused.message.contains("another instance"), "{}", refused.message);
        assert!(path.exists(), "a refused instance takes nothing away");
        drop(first);
        assert!(!folder.path().join("run").exists());
    }

    #[test]
    fn what_a_killed_instance_left_is_taken_over_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).expect("the folder is writable"));
        assert!(path.exists(), "the standard library leaves the file");
        drop(ControlSocket::bind(&path).expect("nobody listens on it"));
        fs::write(&path, "precious").expect("the folder is writable");
        assert!(ControlSocket::bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}

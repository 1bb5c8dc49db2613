//! What left: a capture file for each interface.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use mooring_io::pcap::Writer;
use mooring_policy::{InterfaceId, Policy};

use super::playback::Sink;
use crate::exit::Failure;
use crate::failed;

/// The files `INTERFACE.pcapng` of a folder.
pub(super) struct Departures {
    files: Vec<(PathBuf, Writer<BufWriter<File>>)>,
}

impl Departures {
    /// Makes the folder, if need be, and a file for each interface, also for one by which nothing
    /// will leave. Files of an earlier replay are replaced.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub(super) fn create(folder: &Path, policy: &Policy) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
        let create = |name: &str| {
            let path = folder.join(format!("{name}.pcapng"));
            let writer = Writer::create(&path, name).map_err(|error| unwritten(&path, &error))?;
            Ok((path, writer))
        };
        let files: Result<_, _> =
            policy.interfaces.iter().map(|interface| create(&interface.name)).collect();
        Ok(Self { files: files? })
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub(super) fn finish(self) -> Result<(), Failure> {
        for (path, writer) in self.files {
            writer.finish().map_err(|error| unwritten(&path, &error))?;
        }
        Ok(())
    }
}

impl Sink for Departures {
    type Error = Failure;

    fn leave(&mut self, egress: InterfaceId, at: u64, frame: &[u8]) -> Result<(), Failure> {
        let (path, writer) = &mut self.files[usize::from(egress.0)];
        writer.write(at, frame).map_err(|error| unwritten(path, &error))
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    failed(&format!("cannot write `{}`: {error}", path.display()), None)
}

//! What the main thread does while packets pass: it waits for signals, clients, news of the kernel and
//! of the control plane, other files, and the end of a worker.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use mooring_io::routing::Changes;
use mooring_session::Tick;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::appliance::Appliance;
use super::control_socket::ControlSocket;
use super::folder_watch::FolderWatch;
use crate::exit::Failure;
use crate::failed;

/// What the main thread waits for.
pub struct Hub {
    poll: Poll,
    ended: Arc<Waker>,
    /// Where signals arrive that end the process.
    stop: UnixStream,
    reload: UnixStream,
    /// Where the control plane says that it has news, and where it writes that.
    assigned: UnixStream,
    news: UnixStream,
    /// The same of workers that see others use an address of ours.
    contradicted: UnixStream,
    ear: UnixStream,
    /// The folders of the configuration and of the Pod's annotations, where they are followed.
    folders: Vec<(FolderWatch, Token)>,
    changes: Changes,
    control: ControlSocket,
    /// When to look at what the kernel has changed.
    kernel_due: Option<Tick>,
}

impl Hub {
    /// Waits from now on, so that nothing is missed.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn new(control: ControlSocket) -> Result<Self, Failure> {
        Self::open(control).map_err(|error| failed(&error, None))
    }

    fn open(control: ControlSocket) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (stop, raised) = UnixStream::pair()?;
        pipe::register(SIGINT, raised.try_clone()?)?;
        pipe::register(SIGTERM, raised)?;
        let (reload, raised) = UnixStream::pair()?;
        pipe::register(SIGHUP, raised)?;
        let (assigned, news) = UnixStream::pair()?;
        let (contradicted, ear) = UnixStream::pair()?;
        for stream in [&stop, &reload, &assigned, &news, &contradicted, &ear] {
            stream.set_nonblocking(true)?;
        }
        let changes = Changes::watch()?;
        let descriptors = [
            (CONTROL, control.listener().as_raw_fd()),
            (STOP, stop.as_raw_fd()),
            (RELOAD, reload.as_raw_fd()),
            (ASSIGNED, assigned.as_raw_fd()),
            (CONTRADICTED, contradicted.as_raw_fd()),
            (KERNEL, changes.as_raw_fd()),
        ];
        for (token, fd) in descriptors {
            poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let ended = Arc::new(Waker::new(poll.registry(), WORKER_ENDED)?);
        // What changed since the kernel was asked first is looked at first.
        let kernel_due = Some(Tick::ZERO);
        let folders = Vec::new();
        Ok(Self {
            poll,
            ended,
            stop,
            reload,
            assigned,
            news,
            contradicted,
            ear,
            folders,
            changes,
            control,
            kernel_due,
        })
    }

    /// Where a control plane writes when it has news.
    ///
    /// # Errors
    /// When the system has no more descriptors.
    pub fn news(&self) -> Result<UnixStream, Failure> {
        self.news.try_clone().map_err(|error| failed(&error, None))
    }

    /// Where a worker writes when it sees somebody else use an address of ours.
    #[must_use]
    pub const fn ear(&self) -> &UnixStream {
        &self.ear
    }

    /// Follows the configuration and the Pod's annotations, as files that are replaced.
    ///
    /// # Errors
    /// When the system has no more descriptors or watches.
    pub fn follow_files(
        &mut self,
        configuration: &Path,
        annotations: &Path,
    ) -> Result<(), Failure> {
        for (file, token) in [(configuration, CONFIGURATION), (annotations, ANNOTATIONS)] {
            self.follow_file(file, token).map_err(|error| failed(&error, None))?;
        }
        Ok(())
    }

    fn follow_file(&mut self, file: &Path, token: Token) -> io::Result<()> {
        if let Some(watch) = FolderWatch::of(file)? {
            let fd = watch.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            self.folders.push((watch, token));
        }
        Ok(())
    }

    /// What a worker wakes when it ends.
    #[must_use]
    pub const fn ended(&self) -> &Arc<Waker> {
        &self.ended
    }

    /// Serves until a signal or the end of a worker.
    ///
    /// # Errors
    /// When the kernel carries our packets and cannot be kept from it, or does not answer; when an
    /// address that is not ours any more cannot be let go of.
    pub fn serve(mut self, appliance: &mut Appliance) -> Result<(), Failure> {
        let mut events = Events::with_capacity(8);
        loop {
            let pause = self.pause(appliance);
            match self.poll.poll(&mut events, Some(pause)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(failed(&error, None));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WORKER_ENDED => return Ok(()),
                    STOP => {
                        drain(&self.stop);
                        appliance.retire();
                    }
                    ASSIGNED => {
                        drain(&self.assigned);
                        appliance.assign()?;
                    }
                    CONTRADICTED => {
                        drain(&self.contradicted);
                        appliance.hear_contradiction();
                    }
                    CONFIGURATION | ANNOTATIONS => self.look_at_files(event.token(), appliance)?,
                    CONTROL => appliance.desk.accept(self.control.listener()),
                    KERNEL => self.note_changes(appliance.clock.now())?,
                    _ => {
                        drain(&self.reload);
                        appliance.reload()?;
                    }
                }
            }
            if self.kernel_due.is_some_and(|due| due <= appliance.clock.now()) {
                self.kernel_due = None;
                appliance.follow_kernel()?;
            }
            appliance.look()?;
            if appliance.is_over() {
                return Ok(());
            }
        }
    }

    fn look_at_files(&self, token: Token, appliance: &mut Appliance) -> Result<(), Failure> {
        let folder = self.folders.iter().find(|(_, of)| *of == token);
        if !folder.is_some_and(|(watch, _)| watch.any()) {
            return Ok(());
        }
        match token {
            CONFIGURATION => appliance.reload_if_changed(),
            _ => appliance.follow_networks(),
        }
    }

    fn pause(&self, appliance: &Appliance) -> Duration {
        let now = appliance.clock.now();
        let kernel = self.kernel_due.map(|due| Duration::from_millis(due.since(now)));
        appliance.pause().min(kernel.unwrap_or(Duration::MAX))
    }

    /// Changes come in crowds (an address brings routes with it): they are looked at together.
    fn note_changes(&mut self, now: Tick) -> Result<(), Failure> {
        if self.changes.any().map_err(|error| failed(&error, None))? {
            self.kernel_due.get_or_insert(now + CROWD);
        }
        Ok(())
    }
}

/// Takes what signals have written.
fn drain(mut signal: &UnixStream) {
    let mut raised = [0; 16];
    while io::Read::read(&mut signal, &mut raised).is_ok_and(|read| read > 0) {}
}

/// How long changes of the kernel are collected.
const CROWD: Duration = Duration::from_millis(20);

const CONTROL: Token = Token(0);
const STOP: Token = Token(1);
const RELOAD: Token = Token(2);
const WORKER_ENDED: Token = Token(3);
const KERNEL: Token = Token(4);
const ASSIGNED: Token = Token(5);
const CONFIGURATION: Token = Token(6);
const ANNOTATIONS: Token = Token(7);
const CONTRADICTED: Token = Token(8);

//! The side of `show`.

use std::io::{self, Chain, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use super::{MAX_LINE, PATIENCE, Question};

/// An answer that has begun, as bytes of JSON. It ends well only after its line feed: where it is cut
/// off, reading fails with `UnexpectedEof`.
#[derive(Debug)]
pub struct Incoming {
    /// What was read to see that it is no error, and the rest.
    bytes: Chain<Cursor<Vec<u8>>, UnixStream>,
    last: u8,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens on the socket.
    #[error("{0}")]
    Unreachable(io::Error),
    /// The appliance says why.
    #[error("{0}")]
    Refused(String),
    /// It does not say anything that could be an answer.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Asks the appliance behind the socket at `path`.
///
/// # Errors
/// [`AskError`], when there is no answer.
pub fn ask(path: &Path, question: &Question) -> Result<Incoming, AskError> {
    Incoming::ask(UnixStream::connect(path).map_err(AskError::Unreachable)?, question)
}

impl Incoming {
    pub(super) fn ask(mut stream: UnixStream, question: &Question) -> Result<Self, AskError> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let asked = stream.write_all(format!("{question}\n").as_bytes());
        // Whoever turns us away does not listen, but says why.
        let mut head = Vec::with_capacity(ERROR.len());
        (&stream).take(ERROR.len() as u64).read_to_end(&mut head).map_err(plainly)?;
        if head.is_empty() {
            asked.map_err(plainly)?;
        }
        let is_error = head == ERROR;
        let mut answer = Self { bytes: Cursor::new(head).chain(stream), last: 0 };
        if is_error { Err(answer.error()?) } else { Ok(answer) }
    }

    /// The error that the answer is.
    fn error(&mut self) -> io::Result<AskError> {
        let mut line = String::new();
        self.take(MAX_LINE).read_to_string(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        Ok(AskError::Refused(answer["error"].as_str().unwrap_or(&line).to_owned()))
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer).map_err(plainly)?;
        match buffer[..read].last() {
            Some(last) => self.last = *last,
            None if buffer.is_empty() || self.last == b'\n' => {}
            None => return Err(cut()),
        }
        Ok(read)
    }
}

/// The operating system's errors as what they mean here.
fn plainly(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, SILENT),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => cut(),
        _ => error,
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, CUT)
}

/// How an answer begins that is none.
const ERROR: &[u8] = b"{\"error\":";

const CUT: &str = "the answer was cut off: the appliance closed the connection before its end";

const SILENT: &str = "the answer was cut off: the appliance says nothing more";

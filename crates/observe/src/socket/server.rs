//! The appliance's side of the socket.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::{BUFFER, MAX_LINE, PATIENCE, PATIENCE_WITH_READERS, Question};

/// The answer to one client, on its way: an object, or an array row by row. Holds 64 KB of it, and
/// whoever writes it waits for whoever reads it.
#[derive(Debug)]
pub struct Reply<'s> {
    out: BufWriter<&'s UnixStream>,
    written: Written,
}

/// What has been written of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Nothing,
    SomeRows,
    Object,
}

impl<'s> Reply<'s> {
    fn new(stream: &'s UnixStream) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER, stream), written: Written::Nothing }
    }

    /// Adds rows to the array that the answer is; an array that never gets one is empty.
    ///
    /// # Errors
    /// When the client went away or does not read.
    ///
    /// # Panics
    /// If the answer is an object.
    pub fn rows(&mut self, rows: impl IntoIterator<Item: Serialize>) -> Result<(), Unanswered> {
        assert_ne!(self.written, Written::Object, "an object has no rows");
        for row in rows {
            let before = if self.written == Written::Nothing { b"[" } else { b"," };
            self.out.write_all(before)?;
            self.written = Written::SomeRows;
            serde_json::to_writer(&mut self.out, &row).map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Answers with one object.
    ///
    /// # Errors
    /// When the client went away or does not read.
    ///
    /// # Panics
    /// If there is an answer already.
    pub fn object(&mut self, object: &Value) -> Result<(), Unanswered> {
        assert_eq!(self.written, Written::Nothing, "there is one answer to a question");
        self.written = Written::Object;
        Ok(serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)?)
    }

    /// Writes what is missing: the end, or the error if nothing came before it.
    fn end(mut self, outcome: Result<(), Unanswered>) -> Result<(), Unanswered> {
        let end = match (&outcome, self.written) {
            (Ok(()), Written::Nothing) => Some("[]\n".to_owned()),
            (Ok(()), Written::SomeRows) => Some("]\n".to_owned()),
            (Ok(()), Written::Object) => Some("\n".to_owned()),
            (Err(Unanswered::Refused(error)), Written::Nothing) => {
                Some(format!("{}\n", json!({ "error": error })))
            }
            (Err(_), _) => None,
        };
        let told = end.map_or(Ok(()), |end| {
            self.out.write_all(end.as_bytes())?;
            self.out.flush()
        });
        // Just dropped, it would write what is left, and wait for the client once more.
        drop(self.out.into_parts());
        outcome.and(told.map_err(Unanswered::from))
    }
}

/// Why a client did not get its whole answer.
#[derive(Debug, Error)]
pub enum Unanswered {
    /// There is none, or no more of it. The client is told why, unless it has heard a part already.
    #[error("{0}")]
    Refused(String),
    /// The client went away, or was too slow.
    #[error("the client cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
}

/// Answers the one question that a client asks on `stream`.
///
/// # Errors
/// When the client did not get its whole answer; as far as it can be told, it was.
pub fn serve(
    stream: &UnixStream,
    answer: impl FnOnce(Question, &mut Reply<'_>) -> Result<(), Unanswered>,
) -> Result<(), Unanswered> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE_WITH_READERS))?;
    let mut question = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut question)?;
    let mut reply = Reply::new(stream);
    let question = question.trim().parse().map_err(Unanswered::Refused);
    let outcome = question.and_then(|question| answer(question, &mut reply));
    reply.end(outcome)
}

/// Tells a client why it gets no answer, without waiting for it.
pub fn turn_away(mut stream: &UnixStream, reason: &str) {
    // Whoever is gone, or does not read, need not know.
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(format!("{}\n", json!({ "error": reason })).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    // A question left unread would cut off the answer.
    let _ = stream.read(&mut [0; MAX_LINE as usize]);
}

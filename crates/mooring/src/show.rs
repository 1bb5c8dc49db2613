//! `mooring show`: asks the running appliance and prints the answer.

use std::io::{self, BufWriter, Write};

use mooring_observe::socket::{self, AskError};
use mooring_observe::table;

use crate::cli::ShowArgs;
use crate::exit::Failure;
use crate::failed;

/// Asks and prints. JSON is passed on as it arrives; where the answer is cut off, what came before
/// has been printed. A table is printed when its last row is there.
///
/// # Errors
/// When no appliance answers, or not to the end, or nothing can be printed.
pub fn show(arguments: &ShowArgs) -> Result<(), Failure> {
    let mut answer = socket::ask(&arguments.control, arguments.topic)
        .map_err(|error| unanswered(arguments, &error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match arguments.json {
        true => io::copy(&mut answer, &mut out).map(drop),
        false => table::print(arguments.topic, answer, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        // A reader that went away (`| head`) is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(&error, None)),
        _ => Ok(()),
    }
}

fn unanswered(arguments: &ShowArgs, error: &AskError) -> Failure {
    let path = arguments.control.display();
    match error {
        AskError::Unreachable(error) => failed(
            &format!("no appliance answers on `{path}`: {error}"),
            Some("start one with `mooring run`, or name its socket with --control".to_owned()),
        ),
        AskError::Refused(_) | AskError::Broken(_) => failed(error, None),
    }
}

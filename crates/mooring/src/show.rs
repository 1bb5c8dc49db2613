//! `mooring show`: asks the running appliance and prints the answer.

use std::io::{self, Write};

use mooring_observe::{socket, table};

use crate::cli::ShowArgs;
use crate::exit::Failure;
use crate::failed;

/// Asks and prints.
///
/// # Errors
/// When no appliance answers.
pub fn show(arguments: &ShowArgs) -> Result<(), Failure> {
    let answer = socket::ask(&arguments.control, arguments.topic).map_err(|error| {
        let path = arguments.control.display();
        match error.kind() {
            io::ErrorKind::InvalidData => failed(&error, None),
            _ => failed(
                &format!("no appliance answers on `{path}`: {error}"),
                Some("start one with `mooring run`, or name its socket with --control".to_owned()),
            ),
        }
    })?;
    let text = match arguments.json {
        true => format!("{answer}\n"),
        false => table::render(arguments.topic, &answer),
    };
    // A reader that went away (`| head`) is not an error.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

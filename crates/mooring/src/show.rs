//! `mooring show`: asks the running appliance and prints the answer.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use mooring_observe::socket::{self, AskError, Question};
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
    let mut answer = socket::ask(&arguments.control, &Question::Show(arguments.topic))
        .map_err(|error| unanswered(&arguments.control, &error))?;
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

/// What the user is told who got no answer from `control`.
pub(crate) fn unanswered(control: &Path, error: &AskError) -> Failure {
    let path = control.display();
    match error {
        AskError::Unreachable(error) => failed(
            &format!("no appliance answers on `{path}`: {error}"),
            Some("start one with `mooring run`, or name its socket with --control".to_owned()),
        ),
        AskError::Refused(_) | AskError::Broken(_) => failed(error, None),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use mooring_observe::socket::Topic;

    use super::show;
    use crate::cli::ShowArgs;
    use crate::exit::{FAILED, Failure};

    /// What the user is told when the appliance answers with these bytes and closes.
    fn answered(answer: &'static str, json: bool) -> Result<(), Failure> {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let control = folder.path().join("control.sock");
        let listener = UnixListener::bind(&control).expect("the folder is writable");
        let appliance = thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client comes");
            let mut question = String::new();
            BufReader::new(&client).read_line(&mut question).expect("it asks");
            assert_eq!(question, "neighbors\n");
            client.write_all(answer.as_bytes()).expect("it waits");
        });
        let outcome = show(&ShowArgs { topic: Topic::Neighbors, json, control });
        appliance.join().expect("the question is the topic");
        outcome
    }

    #[test]
    fn a_whole_answer_is_printed() {
        for json in [true, false] {
            assert_eq!(answered("[]\n", json), Ok(()));
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_no_success() {
        for answer in ["", "[", "[{\"address\":\"10.0.0.2\"}", "[{\"address\":\"10.0.0.2\"}]"] {
            for json in [true, false] {
                let failure = answered(answer, json).expect_err("it has no end");
                assert_eq!(failure.code, FAILED);
                assert!(failure.message.contains("cut off"), "{answer}: {}", failure.message);
            }
        }
    }

    #[test]
    fn an_error_of_the_appliance_is_told() {
        let failure = answered("{\"error\":\"the worker does not answer\"}\n", true);
        assert_eq!(failure.expect_err("an error").message, "the worker does not answer");
    }
}

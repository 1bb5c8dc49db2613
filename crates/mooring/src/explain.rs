//! `mooring explain`: what would happen to a packet and why; who holds an outside end.

use std::io::{self, Read, Write};
use std::path::Path;

use mooring_control::FileSource;
use mooring_observe::explain::{Explain, json, lines};
use mooring_observe::socket::{self, Question};
use serde_json::Value;

use crate::check::load;
use crate::cli::{ConfigArgs, DEFAULT_CONTROL, ExplainArgs};
use crate::exit::{BAD_INPUT, Failure};
use crate::show::unanswered;
use crate::{failed, offline};

/// Explains, by a configuration or by asking the running appliance. Changes nothing.
///
/// # Errors
/// When the question makes no sense, the configuration is bad, or no appliance answers.
pub fn explain(arguments: &ExplainArgs) -> Result<(), Failure> {
    let words = &arguments.packet;
    let question = match (&arguments.ingress, &arguments.outside) {
        (Some(interface), _) => Explain::packet(interface, words),
        (None, Some(end)) => Explain::outside(end, words),
        (None, None) => Err("say --in IFACE or --outside ADDR:PORT".to_owned()),
    };
    let question = question.map_err(|error| bad(&error))?;
    let explanation = match &arguments.config {
        Some(config) => by_configuration(&question, config)?,
        None => {
            by_asking(question, arguments.control.as_deref().unwrap_or(Path::new(DEFAULT_CONTROL)))?
        }
    };
    let text = match arguments.json {
        true => format!("{explanation}\n"),
        false => lines(&explanation),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(&error, None)),
        _ => Ok(()),
    }
}

/// What an appliance that has just started with this configuration would do.
fn by_configuration(question: &Explain, config: &Path) -> Result<Value, Failure> {
    let arguments = ConfigArgs { config: config.to_owned() };
    let state = load(&arguments, &mut FileSource::new(config))?;
    let asked = question.resolve(&state.policy).map_err(|error| bad(&error))?;
    let engine = offline::engine(state.policy, [0; 32], false);
    Ok(json(&asked.answer(&engine)))
}

fn by_asking(question: Explain, control: &Path) -> Result<Value, Failure> {
    let question = Question::Explain(question);
    let mut answer =
        socket::ask(control, &question).map_err(|error| unanswered(control, &error))?;
    let mut text = String::new();
    answer.read_to_string(&mut text).map_err(|error| failed(&error, None))?;
    serde_json::from_str(&text).map_err(|error| failed(&error, None))
}

fn bad(message: &str) -> Failure {
    let hint = "mooring explain -c FILE --in inside udp 10.0.0.2:5000 192.0.2.2:53".to_owned();
    Failure { code: BAD_INPUT, message: format!("mooring: error: {message}"), hint: Some(hint) }
}

//! `mooring check`: every problem of a configuration, and nothing else.

use mooring_control::{DesiredState, FileSource, LoadError};

use crate::cli::ConfigArgs;
use crate::exit::{BAD_INPUT, Failure};
use crate::say::{answer, count, say};

/// Reads the configuration and reports what is wrong with it.
///
/// # Errors
/// When there is any error; warnings are printed but are none.
pub fn check(arguments: &ConfigArgs) -> Result<(), Failure> {
    let state = load(arguments, &mut FileSource::new(&arguments.config))?;
    let policy = &state.policy;
    answer(&format!(
        "{}: valid: {}, {}, {}",
        arguments.config.display(),
        count(policy.interfaces.len() as u64, "interface"),
        count(policy.pools.len() as u64, "pool"),
        count(policy.rules.len() as u64, "rule")
    ));
    Ok(())
}

/// The next state of `source`; its warnings are printed.
pub(crate) fn load(
    arguments: &ConfigArgs,
    source: &mut FileSource,
) -> Result<DesiredState, Failure> {
    take(arguments, source.load())
}

/// A state that was made; its warnings are printed.
pub(crate) fn take(
    arguments: &ConfigArgs,
    made: Result<DesiredState, LoadError>,
) -> Result<DesiredState, Failure> {
    let state = made.map_err(|error| refused(&error))?;
    for warning in &state.warnings {
        say(warning.render(&arguments.config.display().to_string()).trim_end());
    }
    Ok(state)
}

fn refused(error: &LoadError) -> Failure {
    let hint = matches!(error, LoadError::Unreadable { .. })
        .then(|| "-c FILE names a configuration in TOML, such as configs/minimal.toml".to_owned());
    let message = match error {
        LoadError::Unreadable { .. } => format!("mooring: error: {error}"),
        LoadError::Refused { .. } => error.to_string(),
    };
    Failure { code: BAD_INPUT, message, hint }
}

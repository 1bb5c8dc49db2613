//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mooring_observe::socket::Topic;

use crate::VERSION;

/// A userspace NAT appliance for Pods that own persistent IP addresses.
#[derive(Debug, Parser)]
#[command(name = "mooring", version = VERSION, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Translate packets until SIGTERM or SIGINT
    Run(ConfigArgs),
    /// Report every problem of a configuration
    Check(ConfigArgs),
    /// Ask the running appliance
    Show(ShowArgs),
}

/// Arguments of verbs that read a configuration.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// What to show
    #[arg(value_parser = topics())]
    pub topic: Topic,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Control socket of the appliance
    #[arg(long, value_name = "PATH", default_value = "/run/mooring/control.sock")]
    pub control: PathBuf,
}

/// The topics, so that `--help` and errors list them.
fn topics() -> impl clap::builder::TypedValueParser<Value = Topic> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = Topic::ALL.map(|topic| topic.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Topic>())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use mooring_observe::socket::Topic;

    use super::{Cli, Verb};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_topic_is_one_of_the_list() {
        let parsed = Cli::try_parse_from(["mooring", "show", "drops", "--json"]).expect("valid");
        assert!(matches!(parsed.verb, Verb::Show(show) if show.topic == Topic::Drops && show.json));
        let error = Cli::try_parse_from(["mooring", "show", "sesions"]).expect_err("no topic");
        assert!(error.to_string().contains("sessions"), "{error}");
    }
}

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use mooring_observe::socket::Topic;

use crate::VERSION;
use crate::replay::{Input, Neighbors};

/// A userspace NAT appliance for Pods that own persistent IP addresses.
#[derive(Debug, Parser)]
#[command(name = "mooring", version = VERSION, about, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Translate packets until SIGTERM or SIGINT
    #[command(after_help = "Example: mooring run -c configs/minimal.toml")]
    Run(ConfigArgs),
    /// Report every problem of a configuration
    #[command(after_help = "Example: mooring check -c configs/minimal.toml")]
    Check(ConfigArgs),
    /// Ask the running appliance
    #[command(after_help = "Example: mooring show sessions --json")]
    Show(ShowArgs),
    /// Say what would happen to a packet and why, or who holds an outside address and port
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Say what would leave if captured packets arrived: no network, no root
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Print the JSON Schema of the configuration
    #[command(after_help = "Example: mooring schema > mooring.schema.json")]
    Schema,
    /// Print completions for a shell
    #[command(after_help = "Example: mooring completions bash > /etc/bash_completion.d/mooring")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write those of all verbs
    #[command(after_help = "Example: mooring man --dir /usr/local/share/man/man1")]
    Man(ManArgs),
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
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Explain by a configuration file (TOML); nothing needs to run
    #[arg(short, long, value_name = "FILE", conflicts_with = "control")]
    pub config: Option<PathBuf>,
    /// Ask the appliance behind this control socket [default: /run/mooring/control.sock]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// The interface that the packet comes in by
    #[arg(long = "in", value_name = "IFACE", required_unless_present = "outside")]
    pub ingress: Option<String>,
    /// Tell who holds this outside end, of TCP unless PROTO follows
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "ingress")]
    pub outside: Option<String>,
    /// The packet: protocol, source, destination, and the identifier of a ping.
    #[arg(value_name = "PACKET", help = PACKET_HELP)]
    pub packet: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// What to replay with.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Packets that come in by an interface: a pcap or pcapng file, Ethernet or raw IP
    #[arg(long = "in", value_name = "IFACE=FILE", required = true, num_args = 1..)]
    pub inputs: Vec<Input>,
    /// Folder for what leaves: IFACE.pcapng for each interface
    #[arg(long, value_name = "DIR")]
    pub out_dir: PathBuf,
    /// Where all that is random comes from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Seconds that time runs on after the last packet
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub drain: u32,
    /// How next hops are found
    #[arg(long, value_enum, default_value_t = Neighbors::Fixed)]
    pub neighbors: Neighbors,
    /// Print what became of each packet, as a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Folder for a page of each verb
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// The topics, so that `--help` and errors list them.
fn topics() -> impl clap::builder::TypedValueParser<Value = Topic> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = Topic::ALL.map(|topic| topic.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Topic>())
}

/// Where `run` listens unless the configuration says otherwise.
pub const DEFAULT_CONTROL: &str = "/run/mooring/control.sock";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  mooring explain -c configs/minimal.toml --in inside udp 10.0.0.2:5000 192.0.2.2:53
  mooring explain --in inside icmp 10.0.0.2 192.0.2.2 7
  mooring explain --outside 203.0.113.10:2000 udp";

const PACKET_HELP: &str =
    "PROTO SRC[:PORT] DST[:PORT], or icmp SRC DST [ID]; IPv6 with a port as [ADDR]:PORT";

const EXAMPLES: &str = "\
Examples:
  mooring check -c configs/minimal.toml      is the configuration right?
  mooring run -c configs/minimal.toml        translate
  mooring show sessions                      what goes on?
  mooring explain -c configs/minimal.toml --in inside tcp 10.0.0.2:5000 192.0.2.2:80
                                             what would happen, and why?
  mooring replay -c configs/minimal.toml --in inside=in.pcap --out-dir out
                                             what would have happened?";

const REPLAY_EXAMPLES: &str = "\
Example:
  mooring replay -c configs/minimal.toml --in inside=in.pcap --in outside=out.pcap --out-dir out

Interface n (from 1, in the order of the file) has the MAC address 02:00:00:00:00:0n and takes frames
for any. Time is that of the captures. The same input and seed give the same output, byte for byte.";

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

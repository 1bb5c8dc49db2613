//! The command line, and what it must not ask for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, Parser, Subcommand};

use crate::connect::Load;
use crate::flows::nth;
use crate::invalid::Invalid;
use crate::lab_only;
use crate::search::Bounds;
use crate::session_cli::Measure;
use crate::traffic::Traffic;

/// Sends flows of packets at a rate, and measures what becomes of them on the way.
#[derive(Debug, Parser)]
#[command(name = "mooring-pktgen", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
    /// Prints one JSON object instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Writes a page with plots, too: one HTML file that needs nothing else
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Sends at a rate and reports loss, order and latency
    Run(Run),
    /// Searches the highest rate without loss (RFC 2544, section 26.1)
    Search(Search),
    /// Sends at a rate for long, says what became of every interval, and how the last ones differ
    Soak(Soak),
    /// Measures sessions of a NAT, from both of its sides (RFC 9693)
    #[command(subcommand)]
    Sessions(Measure),
    /// Makes TCP connections on real sockets: connect, request, answer, close
    Connect(Connect),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Packets a second; without it as many as the device takes
    #[arg(long, value_parser = rate())]
    pub(crate) rate: Option<u64>,
    /// How long to send, in seconds
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Ends after so many packets, too
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// How long the intervals are that packets are counted in, in seconds; without it a sixtieth of the run
    #[arg(long, value_parser = seconds)]
    pub(crate) interval: Option<Duration>,
    /// Writes the latencies to a log of HdrHistogram (V2, nanoseconds)
    #[arg(long, value_name = "FILE", requires = "receive")]
    pub(crate) histogram_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Packets a second
    #[arg(long, value_parser = rate())]
    pub(crate) rate: u64,
    /// How long to send, in seconds
    #[arg(long, default_value = "3600", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// How long an interval is, in seconds; each is one record
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Writes the latencies of each interval to a log of HdrHistogram (V2, nanoseconds)
    #[arg(long, value_name = "FILE")]
    pub(crate) histogram_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The network namespace of the client: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) client_netns: Option<String>,
    /// The network namespace of the server: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) server_netns: Option<String>,
    /// The first address of the client; without it the kernel chooses
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Its addresses, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    sources: u32,
    /// The first address of the server
    #[arg(long, value_name = "ADDRESS")]
    destination: IpAddr,
    /// Its addresses, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    destinations: u32,
    /// The port that the server listens at
    #[arg(long, default_value_t = 8_080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Connections at a time, at most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    concurrent: u32,
    /// Connections a second; without it as many as there is room for
    #[arg(long, value_parser = rate())]
    rate: Option<u64>,
    /// How long to connect, in seconds
    #[arg(long, default_value = "5", value_parser = seconds)]
    duration: Duration,
    /// How long a connection may take, in seconds
    #[arg(long, default_value = "5", value_parser = seconds)]
    patience: Duration,
    /// Bytes of a request
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    request: u32,
    /// Bytes of an answer
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    answer: u32,
    /// Connects to addresses outside of every lab, too
    #[arg(long)]
    really: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Where the search begins, in packets a second
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) highest: u64,
    /// Where it ends
    #[arg(long, default_value_t = 1_000)]
    pub(crate) lowest: u64,
    /// How exactly the rate is wanted, in packets a second
    #[arg(long, default_value_t = 5_000)]
    pub(crate) precision: u64,
    /// The part of a trial's packets that may be lost; 0 is what RFC 2544 asks for
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// How long a trial is, in seconds; RFC 2544 asks for 60
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) trial: Duration,
    /// Times that a trial with too much loss is repeated
    #[arg(long, default_value_t = 1)]
    pub(crate) repeats: u32,
    #[command(flatten)]
    pub(crate) confirmed: Confirmed,
}

/// When a rate counts as found.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Confirmed {
    /// Trials that the rate must pass once it is found
    #[arg(long, default_value_t = 2)]
    pub(crate) confirmations: u32,
    /// The part of a rate that the generator must reach for a trial to count
    #[arg(long, default_value_t = 0.98)]
    pub(crate) offered: f64,
}

impl Search {
    /// What is searched for.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn bounds(&self) -> Result<Bounds, Invalid> {
        Invalid::unless(self.traffic.path.receive.is_some(), || {
            "a search needs --receive: loss is seen there".to_owned()
        })?;
        Invalid::unless(self.traffic.transmit.keeps_a_rate(), no_rate)?;
        let Self { lowest, highest, precision, loss, repeats, confirmed, .. } = *self;
        let Confirmed { confirmations, offered } = confirmed;
        Bounds { lowest, highest, precision, loss, offered, repeats, confirmations }.checked()
    }
}

impl Connect {
    /// What is asked of client and server.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn load(&self) -> Result<Load, Invalid> {
        let Self { source, sources, destination, destinations, port, really, .. } = *self;
        let too_many =
            |first| Invalid::new(format!("there are not so many addresses after {first}"));
        let all = |first: IpAddr, count: u32| -> Result<Vec<IpAddr>, Invalid> {
            let all = (0..count).map(|n| nth(first, n)).collect::<Option<_>>();
            all.ok_or_else(|| too_many(first))
        };
        let targets = all(destination, destinations)?;
        if !really {
            lab_only::check(destination, targets.last().copied().unwrap_or(destination))?;
        }
        let sources = source.map_or(Ok(Vec::new()), |first| all(first, sources))?;
        let is_one_family = source.is_none_or(|first| first.is_ipv4() == destination.is_ipv4());
        Invalid::unless(is_one_family, || "source and destination are of two families".to_owned())?;
        let targets = targets.into_iter().map(|target| SocketAddr::new(target, port)).collect();
        Ok(Load {
            sources,
            targets,
            concurrent: self.concurrent,
            rate: self.rate,
            time: self.duration,
            patience: self.patience,
            request: self.request as usize,
            answer: self.answer as usize,
            interval: (self.duration / 60).max(SHORTEST_INTERVAL),
        })
    }
}

impl Soak {
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        Invalid::unless(self.traffic.path.receive.is_some(), || {
            "a soak needs --receive: what becomes of the packets is seen there".to_owned()
        })?;
        Invalid::unless(self.traffic.transmit.keeps_a_rate(), no_rate)?;
        Invalid::unless(
            self.interval >= SHORTEST_INTERVAL && self.interval <= self.duration,
            || "--interval is from 0.01 seconds to all of --duration".to_owned(),
        )
    }
}

impl Run {
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        Invalid::unless(self.rate.is_none() || self.traffic.transmit.keeps_a_rate(), no_rate)?;
        let is_live = !self.traffic.transmit.keeps_a_rate();
        Invalid::unless(self.interval.is_none() || !is_live, || {
            "--transmit xdp-live does not know when what was sent: it has no --interval".to_owned()
        })
    }

    /// The intervals that were asked for, or about sixty of them; a single one where nobody knows when what was
    /// sent.
    pub(crate) fn intervals(&self) -> Duration {
        if !self.traffic.transmit.keeps_a_rate() {
            return LONGEST;
        }
        self.interval.unwrap_or(self.duration / 60).max(SHORTEST_INTERVAL)
    }
}

/// Every option of the mode that was chosen, with its value, defaults included.
pub(crate) fn parameters(command: &Command, matches: &ArgMatches) -> Vec<(String, String)> {
    if let Some((name, matches)) = matches.subcommand() {
        let below = command.find_subcommand(name).map(|below| parameters(below, matches));
        return below.unwrap_or_default();
    }
    let values = command.get_arguments().filter_map(|argument| {
        let id = argument.get_id().as_str();
        let values = matches.try_get_raw(id).ok()??;
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        Some((id.replace('_', " "), values.join(" ")))
    });
    values.collect()
}

fn no_rate() -> String {
    "--transmit xdp-live keeps no rate: it has no --rate, no search and no soak".to_owned()
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds, such as 2 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| format!("from 0 to {} seconds", LONGEST.as_secs()))
}

/// A week.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Shorter intervals hold too few packets to say anything.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Packets a second.
pub(crate) const FASTEST: u64 = 1_000_000_000;

/// A rate, a second.
pub(crate) fn rate() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=FASTEST)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, parameters};

    #[test]
    fn the_command_line_makes_sense_to_its_parser() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parameters_are_those_of_the_mode_with_its_defaults() {
        let arguments = "pktgen run --send eth0 --next-hop 02:00:00:00:00:01 --source 10.0.0.2 \
                         --destination 10.1.0.1 --size 64,1500 --json";
        let mut command = Cli::command();
        let matches = command.try_get_matches_from_mut(arguments.split_whitespace()).unwrap();
        let all = parameters(&command, &matches);
        let value =
            |name: &str| all.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str());
        assert_eq!(value("size"), Some("64,1500"));
        assert_eq!(value("batch"), Some("32"));
        assert_eq!((value("rate"), value("highest")), (None, None));
    }
}

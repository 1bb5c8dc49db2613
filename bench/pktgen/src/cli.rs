//! The command line, and what it must not ask for.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use mooring_wire::Mac;

use crate::flows::Addressing;
use crate::lab_only;
use crate::template::Template;

/// Sends flows of packets at a rate, and measures what becomes of them on the way.
#[derive(Debug, Parser)]
#[command(name = "mooring-pktgen", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
    /// Prints one JSON object instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Sends at a rate and reports loss, order and latency
    Run(Run),
    /// Searches the highest rate without loss (RFC 2544, section 26.1)
    Search(Search),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Packets a second; without it as many as the device takes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: Option<u64>,
    /// How long to send, in seconds
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Ends after so many packets, too
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Writes the latencies to a log of HdrHistogram (V2, nanoseconds)
    #[arg(long, value_name = "FILE", requires = "receive")]
    pub(crate) histogram_log: Option<PathBuf>,
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
    /// Trials that the rate must pass once it is found
    #[arg(long, default_value_t = 2)]
    pub(crate) confirmations: u32,
    /// The part of a rate that the generator must reach for a trial to count
    #[arg(long, default_value_t = 0.98)]
    pub(crate) offered: f64,
}

/// What is sent, where to, and where it is received.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// The device that sends
    #[arg(long, value_name = "DEVICE")]
    pub(crate) send: String,
    /// Its network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME")]
    pub(crate) send_netns: Option<String>,
    /// The Ethernet address of the next hop
    #[arg(long, value_name = "MAC")]
    pub(crate) next_hop: Mac,
    /// The device that receives; without it nothing is measured behind the sender
    #[arg(long, value_name = "DEVICE")]
    pub(crate) receive: Option<String>,
    /// Its network namespace: a name of `ip netns`, or a path
    #[arg(long, value_name = "NAME", requires = "receive")]
    pub(crate) receive_netns: Option<String>,
    /// What the packets are
    #[arg(long, value_enum, default_value_t = Template::Udp)]
    pub(crate) template: Template,
    /// The first source address
    #[arg(long, value_name = "ADDRESS")]
    source: IpAddr,
    /// Sources, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    sources: u32,
    /// The first destination address
    #[arg(long, value_name = "ADDRESS")]
    destination: IpAddr,
    /// Destinations, from the first on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    destinations: u32,
    /// The destination port
    #[arg(long, default_value_t = 9)]
    pub(crate) port: u16,
    /// Flows at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) flows: u32,
    /// Packets of a flow in a row, before the next one has its turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: u32,
    /// The part of the packets that begin a new flow, from 0 to 1
    #[arg(long, value_name = "PART", default_value = "0", value_parser = part)]
    pub(crate) new_flows: u32,
    /// Sizes of frames, in turn, check sequence included: `imix`, or numbers such as `64` or `64,1500`
    #[arg(long, default_value = "64")]
    pub(crate) size: Sizes,
    /// Most packets handed to the kernel at a time; they get one time stamp
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    pub(crate) batch: u64,
    /// First one packet of every flow at this rate, not measured: sessions and neighbours are there then
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) warm_up: Option<u64>,
    /// Groups that flows are counted in
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) buckets: u32,
    /// How long to wait for the last packets, in seconds
    #[arg(long, default_value = "0.2", value_parser = seconds)]
    pub(crate) settle: Duration,
    /// Sends to addresses outside of every lab, too
    #[arg(long)]
    really: bool,
}

impl Traffic {
    /// The addresses, if they fit together and may be sent to.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn addressing(&self) -> Result<Addressing> {
        let addressing = Addressing {
            source: self.source,
            sources: self.sources,
            destination: self.destination,
            destinations: self.destinations,
        };
        ensure!(
            self.source.is_ipv4() == self.destination.is_ipv4(),
            "source and destination are of two families"
        );
        ensure!(addressing.has_sources(), "there are not so many addresses after {}", self.source);
        let Some(destinations) = addressing.destination_range() else {
            anyhow::bail!("there are not so many addresses after {}", self.destination);
        };
        if !self.really {
            lab_only::check(*destinations.start(), *destinations.end())?;
        }
        ensure!(
            u64::from(self.flows) <= addressing.capacity(),
            "sources, their ports and destinations make {} flows, not {}",
            addressing.capacity(),
            self.flows
        );
        Ok(addressing)
    }
}

impl Search {
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.traffic.receive.is_some(), "a search needs --receive: loss is seen there");
        ensure!(
            0 < self.lowest && self.lowest <= self.highest && self.highest <= 1_000_000_000,
            "--lowest and --highest are packets a second, from 1 to 1000000000, in this order"
        );
        ensure!(self.precision > 0, "--precision is at least 1");
        ensure!((0.0..1.0).contains(&self.loss), "--loss is a part: from 0 to less than 1");
        ensure!((0.0..=1.0).contains(&self.offered), "--offered is a part: from 0 to 1");
        Ok(())
    }
}

/// Sizes of frames, in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes(pub(crate) Vec<u16>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self(IMIX.to_vec()));
        }
        let sizes = text.split(',').map(|size| match size.trim().parse() {
            Ok(size @ SMALLEST..=LARGEST) => Ok(size),
            _ => Err(format!("`imix`, or sizes from {SMALLEST} to {LARGEST}: not `{size}`")),
        });
        sizes.collect::<Result<_, _>>().map(Self)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "seconds, such as 2 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| format!("from 0 to {} seconds", LONGEST.as_secs()))
}

/// A part of one in millionths.
fn part(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(part @ 0.0..=1.0) => Ok((part * 1e6).round() as u32),
        _ => Err("a part from 0 to 1, such as 0.01".to_owned()),
    }
}

/// Seven small, four middling, one large, as testers have it ("simple IMIX").
const IMIX: [u16; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64];

const SMALLEST: u16 = 64;
const LARGEST: u16 = 1_518;

/// A week.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Mode, Sizes, part};

    fn addressing(more: &[&str]) -> Result<String, String> {
        let common = ["pktgen", "run", "--send", "eth0", "--next-hop", "02:00:00:00:00:01"];
        let cli = Cli::try_parse_from(common.iter().chain(more)).map_err(|e| e.to_string())?;
        let Mode::Run(run) = cli.mode else { return Err("another mode".to_owned()) };
        let addressing = run.traffic.addressing().map_err(|error| error.to_string())?;
        Ok(addressing.destination.to_string())
    }

    #[test]
    fn the_command_line_makes_sense_to_its_parser() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_destination_outside_of_the_lab_needs_to_be_meant() {
        let at = |destination: &str, more: &[&str]| {
            addressing(&[&["--source", "10.0.0.2", "--destination", destination], more].concat())
        };
        assert!(at("198.51.100.1", &[]).is_ok());
        let refusal = at("8.8.8.8", &[]).unwrap_err();
        assert!(refusal.contains("8.8.8.8") && refusal.contains("--really"), "{refusal}");
        assert_eq!(at("8.8.8.8", &["--really"]).as_deref(), Ok("8.8.8.8"));
        // The last one counts as well.
        assert!(at("198.51.100.250", &["--destinations", "7"]).unwrap_err().contains("101.0"));
        assert!(at("2001:db8::1", &[]).unwrap_err().contains("families"));
    }

    #[test]
    fn more_flows_than_there_are_ports_for_are_refused() {
        let ends = ["--source", "10.0.0.2", "--destination", "198.51.100.1", "--flows", "64513"];
        assert!(addressing(&ends).unwrap_err().contains("make 64512 flows"));
        assert!(addressing(&[&ends[..], &["--sources", "2"]].concat()).is_ok());
    }

    #[test]
    fn sizes_parts_and_addresses_are_read() {
        assert_eq!("64,1500".parse(), Ok(Sizes(vec![64, 1_500])));
        let Sizes(imix) = "imix".parse().unwrap();
        let count = |size| imix.iter().filter(|is| **is == size).count();
        assert_eq!([count(64), count(594), count(1_518)], [7, 4, 1]);
        for wrong in ["63", "1519", "64,", "x"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
        assert_eq!((part("0.01"), part("1")), (Ok(10_000), Ok(1_000_000)));
        assert!(part("1.1").is_err() && part("-0.1").is_err() && part("NaN").is_err());
    }
}

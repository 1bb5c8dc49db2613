//! What traffic is asked for, and what may not be.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use mooring_wire::Mac;

use crate::cli;
use crate::flows::Addressing;
use crate::invalid::Invalid;
use crate::lab_only;
use crate::template::Template;
use crate::transmit::Way;

/// From where to where, and what.
#[derive(Debug, Args)]
pub(crate) struct Path {
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
    /// Sizes of frames, in turn, check sequence included: `imix`, or numbers such as `64` or `64,1500`
    #[arg(long, default_value = "64")]
    pub(crate) size: Sizes,
    /// Most packets handed to the kernel at a time; they get one time stamp
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    pub(crate) batch: u64,
    /// How long to wait for the last packets, in seconds
    #[arg(long, default_value = "0.2", value_parser = cli::seconds)]
    pub(crate) settle: Duration,
    /// Sends to addresses outside of every lab, too
    #[arg(long)]
    really: bool,
}

/// What is sent, and in which order.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    #[command(flatten)]
    pub(crate) path: Path,
    /// Flows at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) flows: u32,
    /// Packets of a flow in a row, before the next one has its turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: u32,
    /// The part of the packets that begin a new flow, from 0 to 1
    #[arg(long, value_name = "PART", default_value = "0", value_parser = part)]
    pub(crate) new_flows: u32,
    /// How frames get to the device
    #[arg(long, value_enum, default_value_t = Way::Sendmmsg)]
    pub(crate) transmit: Way,
    /// First one packet of every flow at this rate, not measured: sessions and neighbours are there then
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) warm_up: Option<u64>,
    /// Groups that flows are counted in
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) buckets: u32,
}

impl Path {
    /// The addresses, if they fit together, may be sent to, and make so many flows.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn addressing(&self, flows: u32) -> Result<Addressing, Invalid> {
        let Self { source, sources, destination, destinations, really, .. } = *self;
        let addressing = Addressing { source, sources, destination, destinations };
        Invalid::unless(source.is_ipv4() == destination.is_ipv4(), || {
            "source and destination are of two families".to_owned()
        })?;
        let too_many = |first| format!("there are not so many addresses after {first}");
        Invalid::unless(addressing.has_sources(), || too_many(source))?;
        let Some(destinations) = addressing.destination_range() else {
            return Err(Invalid::new(too_many(destination)));
        };
        if !really {
            lab_only::check(*destinations.start(), *destinations.end())?;
        }
        Invalid::unless(u64::from(flows) <= addressing.capacity(), || {
            let capacity = addressing.capacity();
            format!("sources, their ports and destinations make {capacity} flows, not {flows}")
        })?;
        Ok(addressing)
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

/// Whether a number is a part of one.
pub(crate) fn is_part(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Sizes, part};
    use crate::cli::{Cli, Mode};

    fn addressing(more: &[&str]) -> Result<String, String> {
        let common = ["pktgen", "run", "--send", "eth0", "--next-hop", "02:00:00:00:00:01"];
        let cli = Cli::try_parse_from(common.iter().chain(more)).map_err(|e| e.to_string())?;
        let Mode::Run(run) = cli.mode else { return Err("another mode".to_owned()) };
        let addressing =
            run.traffic.path.addressing(run.traffic.flows).map_err(|error| error.to_string())?;
        Ok(addressing.destination.to_string())
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

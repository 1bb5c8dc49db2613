//! The command line of what is measured of sessions.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::{Confirmed, rate, seconds};
use crate::invalid::Invalid;
use crate::search::Bounds;
use crate::sessions::Search;
use crate::traffic::{Path, is_part};

/// What is measured of sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Measure {
    /// The highest rate at which sessions can begin (RFC 9693, section 4.5)
    Rate(Rate),
    /// How many sessions there can be at a time (RFC 9693, section 4.9)
    Capacity(Capacity),
    /// How fast a command ends all sessions (RFC 9693, section 4.8)
    Teardown(Teardown),
    /// When and how fast sessions end by themselves
    Expiry(Expiry),
}

/// Both sides of the NAT.
#[derive(Debug, Args)]
pub(crate) struct Both {
    #[command(flatten)]
    pub(crate) path: Path,
    /// Answers a second, by which sessions are looked for
    #[arg(long, default_value_t = 20_000, value_parser = rate())]
    pub(crate) validation_rate: u64,
    /// A command that makes the NAT forget its sessions; without it no two sessions have the same ends
    #[arg(long, value_name = "COMMAND")]
    pub(crate) reset: Option<String>,
}

/// How sessions begin.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Begin {
    /// Sessions a second that begin
    #[arg(long, default_value_t = 20_000, value_parser = rate())]
    pub(crate) rate: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Rate {
    #[command(flatten)]
    pub(crate) both: Both,
    /// Sessions of a trial
    #[arg(long, default_value_t = 10_000, value_parser = sessions())]
    pub(crate) sessions: u32,
    /// Where the search begins, in sessions a second
    #[arg(long, default_value_t = 500_000)]
    pub(crate) highest: u64,
    /// Where it ends
    #[arg(long, default_value_t = 1_000)]
    pub(crate) lowest: u64,
    /// How exactly the rate is wanted, in sessions a second
    #[arg(long, default_value_t = 2_000)]
    pub(crate) precision: u64,
    /// The part of a trial's sessions that may be missing; 0 is what RFC 9693 asks for
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// Times that a trial that failed is repeated
    #[arg(long, default_value_t = 1)]
    pub(crate) repeats: u32,
    #[command(flatten)]
    pub(crate) confirmed: Confirmed,
}

#[derive(Debug, Args)]
pub(crate) struct Capacity {
    #[command(flatten)]
    pub(crate) both: Both,
    /// Sessions of the first step; each further one has twice as many
    #[arg(long, default_value_t = 1_000, value_parser = sessions())]
    pub(crate) first: u32,
    /// Sessions of the last step
    #[arg(long, default_value_t = 1_048_576, value_parser = sessions())]
    pub(crate) most: u32,
    #[command(flatten)]
    pub(crate) begin: Begin,
    /// The part of the capacity that it may be too small by, where it is searched for
    #[arg(long, default_value_t = 0.01)]
    pub(crate) precision: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Teardown {
    #[command(flatten)]
    pub(crate) both: Both,
    /// Sessions to end
    #[arg(long, default_value_t = 10_000, value_parser = sessions())]
    pub(crate) sessions: u32,
    #[command(flatten)]
    pub(crate) begin: Begin,
    /// The command that ends them
    #[arg(long, value_name = "COMMAND")]
    pub(crate) command: String,
}

#[derive(Debug, Args)]
pub(crate) struct Expiry {
    #[command(flatten)]
    pub(crate) both: Both,
    /// Sessions to watch
    #[arg(long, default_value_t = 10_000, value_parser = sessions())]
    pub(crate) sessions: u32,
    #[command(flatten)]
    pub(crate) begin: Begin,
    /// How long to watch, in seconds; longer than the timeout
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub(crate) watch: Duration,
    /// Times to look, each at other sessions
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) probes: u32,
}

impl Rate {
    /// What is searched for.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn bounds(&self) -> Result<Bounds, Invalid> {
        let Self { lowest, highest, precision, loss, repeats, confirmed, .. } = *self;
        let Confirmed { confirmations, offered } = confirmed;
        Bounds { lowest, highest, precision, loss, offered, repeats, confirmations }.checked()
    }
}

impl Capacity {
    /// How to look for it.
    ///
    /// # Errors
    /// What is wrong, for the person who typed it.
    pub(crate) fn search(&self) -> Result<Search, Invalid> {
        let Self { first, most, begin: Begin { rate }, precision, .. } = *self;
        Invalid::unless(is_part(precision), || "--precision is a part: from 0 to 1".to_owned())?;
        let (validation_rate, can_reset) = (self.both.validation_rate, self.both.reset.is_some());
        Ok(Search { first, most, rate, validation_rate, precision, can_reset })
    }
}

fn sessions() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=16_777_216)
}

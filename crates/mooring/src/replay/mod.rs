//! `mooring replay`: what the appliance would have done with captured packets, without a network.
//!
//! The engine is the one that `run` uses; only the ports are files and the clock is the captures'.
//! The same captures, configuration and seed give the same bytes.
//!
//! `captures` reads and merges, `playback` lets the engine walk, `departures` writes, `verdicts`
//! tells what became of each packet.

mod captures;
mod departures;
mod playback;
mod verdicts;

use std::time::Duration;

use mooring_control::FileSource;

use self::captures::Captures;
pub use self::captures::Input;
use self::departures::Departures;
pub use self::playback::Neighbors;
use self::playback::Playback;
use self::verdicts::Verdicts;
use crate::check::load;
use crate::cli::ReplayArgs;
use crate::exit::Failure;

/// Replays the captures and writes what would have left.
///
/// # Errors
/// A bad configuration, an input that names no interface or no capture, an output that cannot be
/// written. Captures are read whole before anything is written.
pub fn replay(arguments: &ReplayArgs) -> Result<(), Failure> {
    let state = load(&arguments.config, &mut FileSource::new(&arguments.config.config))?;
    let captures = Captures::read(&arguments.inputs, &state.policy)?;
    let departures = Departures::create(&arguments.out_dir, &state.policy)?;
    let mut verdicts = Verdicts::new(&state.policy, arguments.json);
    let policy = state.policy.clone();
    let origin = captures.origin();
    let mut playback =
        Playback::new(policy, arguments.neighbors, arguments.seed, origin, departures);
    for arrival in captures.arrivals() {
        let fate = playback.arrive(&arrival)?;
        verdicts.note(&arrival, fate)?;
    }
    let (departures, counters) = playback.finish(Duration::from_secs(arguments.drain.into()))?;
    departures.finish()?;
    verdicts.finish(&counters)
}

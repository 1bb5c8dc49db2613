//! A fixed run, for those who count instructions: see `cargo xtask bench gate`.

use crate::config::Mapping;
use crate::flows::{Family, orders};
use crate::scene::{STEP, Scene, Way};

/// Lets each of some sessions' packets walk `passes` times, on a path such as `ipv4,out`; how many these were.
pub(crate) fn run(path: &str, passes: u32) -> u64 {
    let family = if path.starts_with("ipv6") { Family::V6 } else { Family::V4 };
    let way = if path.ends_with("in") { Way::In } else { Way::Out };
    let mut scene = Scene::new(family, Mapping::Independent, SESSIONS);
    scene.fill((0, SESSIONS), 1_000);
    for pass in 0..passes {
        scene
            .walk(way, &orders(SESSIONS, 0, u64::from(pass)), STEP, |walked| walked.all_leave(way));
    }
    u64::from(passes) * u64::from(SESSIONS)
}

/// A window of frames, a little less: the last batch is not full.
const SESSIONS: u32 = 8_064;

//! How workers scale: several of them, each on a core of its own, against as many threads that have nothing in common.
//!
//! A worker has its share of the tables, of the ports and of the hosts, as in the appliance; all have one
//! policy. A frame comes to its owner, as the kernel's fan-out gives nearly all. The probe is made of engines that
//! know of no other, each with a policy of its own and as many sessions as the worker whose core it has: what two
//! cores of this machine can do at the same time. Both are measured in turn, in the same run, and beside them one
//! thread alone.

use std::hint::spin_loop;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

use clap::Args;
use mooring_nat::{Owners, Share};
use mooring_session::{Address, FlowKey};
use mooring_wire::Protocol;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use self::report::Row;
use crate::clock::Rate;
use crate::config::Mapping;
use crate::flows::{Family, shuffle};
use crate::oracle::Judge;
use crate::scene::{STEP, Scene, WINDOW, Way, policy};

mod report;

/// Workers against as many independent threads.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// Workers, each on a core of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=64))]
    workers: u8,
    /// Numbers of sessions of all workers together
    #[arg(long, value_delimiter = ',', default_values_t = [64_512, 1_032_192])]
    sessions: Vec<u32>,
    /// Paired runs for each figure
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Only these families
    #[arg(long, value_delimiter = ',', default_values = ["ipv4", "ipv6"], value_parser = ["ipv4", "ipv6"])]
    family: Vec<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
}

/// Engines, each with its sessions, that walk at the same time.
struct Crew(Vec<(Scene, Vec<u32>)>);

/// Where threads wait for each other without a sleep: what follows begins at the same time in all.
struct Meeting {
    threads: usize,
    arrived: AtomicUsize,
}

impl Scale {
    /// Measures, and prints.
    pub(crate) fn run(&self) {
        let cores = cores();
        assert!(
            cores.len() >= usize::from(self.workers),
            "{} workers need a core each, and we may use {}",
            self.workers,
            cores.len()
        );
        let rate = Rate::measure();
        let mut rows = Vec::new();
        if !self.json {
            println!("{}", report::heading());
        }
        for family in [Family::V4, Family::V6] {
            let asked = self.family.contains(&family.to_string());
            for &sessions in self.sessions.iter().filter(|_| asked) {
                for row in self.measure(family, sessions, &cores) {
                    // Progress for people goes where no document is.
                    match self.json {
                        false => println!("{}", row.line(rate)),
                        true => eprintln!("{}", row.line(rate)),
                    }
                    rows.push(row);
                }
            }
        }
        if self.json {
            println!("{:#}", Value::Array(rows.iter().map(|row| row.json(rate)).collect()));
        }
    }

    fn measure(&self, family: Family, sessions: u32, cores: &[usize]) -> Vec<Row> {
        let room = sessions.div_ceil(self.workers.into());
        let members = owners(family, sessions, self.workers);
        let ways = [("hit_out", Way::Out), ("hit_in", Way::In)];
        let mut rows =
            ways.map(|(case, way)| (way, Row::new(case, family, (sessions, self.workers))));
        // A crew of its own: who is judged has walked every session once, which the others have not.
        let mut judged = Crew::of_workers(family, sessions, &members);
        rows.iter_mut().for_each(|(way, row)| row.verified = judged.judge(*way));
        drop(judged);
        for run in 0..self.runs {
            // Built anew for each run: where in memory tables come to lie makes some faster than others. Who comes
            // first has the machine as the other one leaves it: they take turns.
            let mut figures = [[0.0; 3]; 2];
            for together in [run % 2 == 0, run % 2 != 0] {
                let mut crew = match together {
                    true => Crew::of_workers(family, sessions, &members),
                    false => Crew::of_independent(family, room, &members),
                };
                for (way, [workers, probe, alone]) in
                    ways.iter().map(|(_, way)| way).zip(&mut figures)
                {
                    if together {
                        *workers = crew.walk(*way, run, cores);
                    } else {
                        *probe = crew.walk(*way, run, cores);
                        *alone = crew.walk_alone(*way, run, cores);
                    }
                }
            }
            rows.iter_mut().zip(figures).for_each(|((_, row), figures)| row.run(figures));
        }
        rows.map(|(_, row)| row).into()
    }
}

impl Crew {
    /// The workers of one appliance, and the sessions that are theirs.
    fn of_workers(family: Family, sessions: u32, members: &[Vec<u32>]) -> Self {
        let policy = Arc::new(policy(family, Mapping::Independent, sessions));
        let of = members.len() as u8;
        let build = |at: usize, flows: &Vec<u32>| {
            let share = Share::new(at as u8, of).expect("it is one of them");
            let mut scene = Scene::of_share(share, Arc::clone(&policy), family, sessions);
            scene.begin(flows.clone(), FILL_MILLIS);
            (scene, flows.clone())
        };
        Self::build(members, build)
    }

    /// As many engines that know of no other, with as many sessions each, and tables for `room`.
    fn of_independent(family: Family, room: u32, members: &[Vec<u32>]) -> Self {
        let build = |_: usize, flows: &Vec<u32>| {
            let mut scene = Scene::new(family, Mapping::Independent, room);
            let flows: Vec<u32> = (0..flows.len() as u32).collect();
            scene.begin(flows.clone(), FILL_MILLIS);
            (scene, flows)
        };
        Self::build(members, build)
    }

    /// Each by a thread of its own, which is the first to touch its memory.
    fn build(
        members: &[Vec<u32>],
        build: impl Fn(usize, &Vec<u32>) -> (Scene, Vec<u32>) + Sync,
    ) -> Self {
        let build = &build;
        std::thread::scope(|scope| {
            let built: Vec<_> = members
                .iter()
                .enumerate()
                .map(|(at, flows)| scope.spawn(move || build(at, flows)))
                .collect();
            Self(built.into_iter().map(|thread| thread.join().expect("it is built")).collect())
        })
    }

    /// Compares a frame of each session with the oracle's, and sees that no two workers have a port: frames compared.
    fn judge(&mut self, way: Way) -> u64 {
        let mut judge = Judge::new(false);
        for (scene, flows) in &mut self.0 {
            scene.judge(way, flows, u32::MAX, &mut judge);
        }
        judge.compared
    }

    /// Packets a clock that all engines carry together, each on its core.
    fn walk(&mut self, way: Way, run: u64, cores: &[usize]) -> f64 {
        walk_members(&mut self.0, way, run, cores)
    }

    /// The same of the first engine alone.
    fn walk_alone(&mut self, way: Way, run: u64, cores: &[usize]) -> f64 {
        walk_members(&mut self.0[..1], way, run, cores)
    }
}

impl Meeting {
    fn of(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0) }
    }

    fn wait(&self) {
        let place = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (place / self.threads + 1) * self.threads;
        let mut turns = 0_u32;
        while self.arrived.load(Ordering::Acquire) < all {
            turns = turns.wrapping_add(1);
            // On a machine that others use, too, who is waited for may need this core.
            if turns.is_multiple_of(TURNS) { yield_now() } else { spin_loop() }
        }
    }
}

fn walk_members(members: &mut [(Scene, Vec<u32>)], way: Way, run: u64, cores: &[usize]) -> f64 {
    let meeting = Meeting::of(members.len());
    // As many for each, and no session is left out for so long that it ends.
    let sessions = members.iter().map(|(_, flows)| flows.len()).max().unwrap_or(0);
    let packets = sessions.max(PACKETS).next_multiple_of(WINDOW);
    std::thread::scope(|scope| {
        let walking: Vec<_> = members
            .iter_mut()
            .zip(cores)
            .map(|((scene, flows), core)| {
                let meeting = &meeting;
                scope.spawn(move || {
                    pin(*core);
                    walk_one(scene, way, &order(flows, packets, run), meeting)
                })
            })
            .collect();
        walking.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

/// Packets a clock of one engine. Frames are written outside of what is timed, and then all begin together.
fn walk_one(scene: &mut Scene, way: Way, flows: &[u32], meeting: &Meeting) -> f64 {
    let mut clocks = 0;
    for window in flows.chunks(WINDOW) {
        scene.lay(way, window);
        meeting.wait();
        scene.walk_laid(way, window, STEP, |walked| {
            walked.all_leave(way);
            clocks += walked.clocks;
        });
    }
    flows.len() as f64 / clocks as f64
}

/// So many packets of these sessions, in random orders.
fn order(flows: &[u32], packets: usize, run: u64) -> Vec<u32> {
    let mut order: Vec<u32> = flows.iter().copied().cycle().take(packets).collect();
    let seeds = (run << 32)..;
    order.chunks_mut(flows.len()).zip(seeds).for_each(|(round, seed)| shuffle(round, seed));
    order
}

/// The sessions of each worker: those of its hosts, no more than it has room for.
fn owners(family: Family, sessions: u32, workers: u8) -> Vec<Vec<u32>> {
    let policy = Arc::new(policy(family, Mapping::Independent, sessions));
    let owners = Owners::new(policy, Share::new(0, workers).expect("there is a first one"));
    let mut members = vec![Vec::new(); workers.into()];
    for n in 0..sessions {
        let owner = match family {
            Family::V4 => owners.of_flow(&key::<Ipv4Addr>(family, n)),
            Family::V6 => owners.of_flow(&key::<Ipv6Addr>(family, n)),
        };
        members[usize::from(owner)].push(n);
    }
    assert!(
        members.iter().all(|flows| !flows.is_empty()),
        "a worker has no host: give more sessions"
    );
    let room = sessions.div_ceil(workers.into()) as usize;
    members.iter_mut().for_each(|flows| flows.truncate(room));
    members
}

fn key<A: Address>(family: Family, n: u32) -> FlowKey<A> {
    let (inside, remote) = (family.inside(n), family.remote(n));
    let of_the_family = |address: IpAddr| A::from_ip(address).expect("both ends are of the family");
    FlowKey {
        source: of_the_family(inside.0),
        destination: of_the_family(remote.0),
        source_port: inside.1,
        destination_port: remote.1,
        vrf: 0,
        protocol: Protocol::UDP,
        tag: 0,
    }
}

/// The cores that we may use.
fn cores() -> Vec<usize> {
    let usable = sched_getaffinity(None).expect("Linux tells it");
    (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core)).collect()
}

fn pin(core: usize) {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("it is one that we may use");
}

/// Looks at where the others are, before the system is asked whether there is something else to do.
const TURNS: u32 = 1 << 12;

/// Packets of each engine in a run, at least.
const PACKETS: usize = 1 << 20;

/// Spread over most of their timeout, as in the other cases.
const FILL_MILLIS: u64 = 200_000;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Crew, Meeting, owners};
    use crate::flows::Family;
    use crate::scene::Way;

    #[test]
    fn workers_carry_their_sessions_and_share_no_port() {
        for family in [Family::V4, Family::V6] {
            let members = owners(family, 2_016, 2);
            let sessions: usize = members.iter().map(Vec::len).sum();
            // Few hosts are not shared out evenly, and no worker has room for more than its share.
            assert!(sessions > 1_500 && members.iter().all(|flows| flows.len() <= 1_008));
            let mut workers = Crew::of_workers(family, 2_016, &members);
            for way in [Way::Out, Way::In] {
                assert_eq!(workers.judge(way), sessions as u64);
            }
        }
    }

    #[test]
    fn nobody_goes_on_before_all_have_come() {
        let (meeting, begun) = (Meeting::of(3), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 1..=50 {
                        begun.fetch_add(1, Ordering::AcqRel);
                        meeting.wait();
                        assert!(begun.load(Ordering::Acquire) >= 3 * round);
                        meeting.wait();
                    }
                });
            }
        });
    }
}

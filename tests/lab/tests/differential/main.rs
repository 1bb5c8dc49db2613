//! The appliance beside kernel nftables: the same random sequences of packets through two sites with
//! the same addresses, and every packet that leaves either, compared.
//!
//! Of every packet it is compared whether it arrives, its addresses and ports (those that a NAT chose
//! by whose they are), TTL, class, flags, checksums and data; of ICMP errors what their receiver sees:
//! type, code, MTU, and whether the quote is what it has sent. That no outside port is two flows' is
//! looked at for each NAT alone. What may differ is the closed list in [`allowed`]; which segments of TCP the
//! kernel drops, [`kernel_tcp`] foretells, and each segment of each sequence is held against it.
//!
//! The kernel uses no flowtable, and its timeouts are set to ours (`SETTINGS` in [`bed`]). `MOORING_SEED` names
//! other sequences than those of every run.

mod allowed;
mod bed;
mod kernel_tcp;
mod packets;
mod player;
mod sequence;
mod tracing;
mod witness;

use std::collections::{HashMap, HashSet};
use std::env;

use anyhow::{Context, Result, bail, ensure};
use mooring_lab::{Appliance, Config, isolated};

use allowed::{ALLOWED, Difference};
use bed::Nat;
use player::Player;
use sequence::{Sequence, Step};
use witness::Seen;

#[test]
fn ten_thousand_sequences_are_translated_as_the_kernel_translates_them() {
    isolated("ten_thousand_sequences_are_translated_as_the_kernel_translates_them", || {
        let seed = env::var("MOORING_SEED").ok().map_or(Ok(SEED), |seed| seed.parse())?;
        let mut arena = Arena::new(|config| config)?;
        let played = arena.play(random(seed, SEQUENCES))?;
        let report = arena.judge(played).with_context(|| format!("MOORING_SEED={seed}"))?;
        println!("{report}");
        arena.stop()
    });
}

/// Each of these is a mistake that somebody could make; a comparison that does not notice it would
/// not notice others.
#[test]
fn a_nat_of_other_behaviour_is_told_from_the_kernel() {
    isolated("a_nat_of_other_behaviour_is_told_from_the_kernel", || {
        let filter = |config: Config| {
            config.replace(
                "addresses = [\"203.0.113.10/32\"]",
                "addresses = [\"203.0.113.10/32\"]\nfiltering = \"endpoint-independent\"",
            )
        };
        let other_host = |config: Config| config.replace("10.4.0.1:20000", "10.4.0.1:20001");
        let other_prefix = |config: Config| config.replace("2001:db8:3::/64", "2001:db8:4::/64");
        for mistake in [filter, other_host, other_prefix] {
            let mut arena = Arena::new(mistake)?;
            let played = arena.play(random(SEED, FEW))?;
            let judged = arena.judge(played).expect_err("it is another behaviour");
            ensure!(judged.to_string().contains("different at step"), "{judged}");
            arena.stop()?;
        }
        Ok(())
    });
}

fn random(seed: u64, count: u16) -> HashMap<u16, Sequence> {
    (0..count).map(|number| (number, Sequence::random(seed, number))).collect()
}

/// Both sites.
struct Arena {
    players: [Player; 2],
    next_number: u16,
}

/// What came of some sequences.
#[derive(Default)]
struct Played {
    steps: usize,
    /// Steps of which something arrived, the same at both.
    delivered: usize,
    errors: usize,
    /// Sequences of which every step was compared.
    to_the_end: usize,
    /// How often each entry of the list was used.
    allowed: [usize; ALLOWED.len()],
    different: Vec<(Sequence, usize, [Vec<Seen>; 2])>,
    /// Steps of which only one of them let something through.
    of_one: HashSet<(u16, usize)>,
}

impl Arena {
    fn new(change: fn(Config) -> Config) -> Result<Self> {
        let players = [Player::new(Nat::Mooring, change)?, Player::new(Nat::Nftables, change)?];
        Ok(Self { players, next_number: SEQUENCES })
    }

    fn stop(self) -> Result<()> {
        let appliances = self.players.into_iter().filter_map(|player| player.bed.appliance);
        appliances.map(Appliance::stop).try_for_each(|said| said.map(drop))
    }

    /// Plays all of them at once: the first steps of all, then the second ones.
    fn play(&mut self, mut sequences: HashMap<u16, Sequence>) -> Result<Played> {
        let mut played = Played::default();
        for at in 0..LONGEST {
            let left = sequences.len();
            sequences.retain(|_, sequence| at < sequence.steps.len());
            played.to_the_end += left - sequences.len();
            let mut numbers: Vec<_> = sequences.keys().copied().collect();
            numbers.sort_unstable();
            for some in numbers.chunks(AT_A_TIME) {
                for number in some {
                    // About what arrived at one of them only, nobody complains.
                    let leave_out = played.is_about_one(*number, &sequences[number], at);
                    for player in &mut self.players {
                        match leave_out {
                            true => player.leave_out(*number),
                            false => player.send(*number, &sequences[number], at)?,
                        }
                    }
                }
                let mut seen = Vec::new();
                for player in &mut self.players {
                    player.settle(at % 2 == 1)?;
                    seen.push(player.seen(&sequences, at)?);
                }
                for number in some {
                    let seen = [0, 1].map(|of| seen[of].remove(number).unwrap_or_default());
                    if !played.compare(*number, &sequences[number], at, seen) {
                        sequences.remove(number);
                    }
                }
            }
        }
        played.to_the_end += sequences.len();
        Ok(played)
    }

    /// Plays what was different again, alone: only what is different again is a difference.
    fn judge(&mut self, mut played: Played) -> Result<String> {
        let mut passing = 0;
        for (sequence, at, seen) in std::mem::take(&mut played.different) {
            let number = self.next_number;
            self.next_number += 1;
            ensure!(number < NUMBERS, "more differences than can be looked at");
            let again = self.play([(number, sequence.clone())].into())?;
            if again.different.is_empty() {
                eprintln!("once only, at step {at} of {sequence}{}", told(&seen));
                passing += 1;
                continue;
            }
            let (_, at, seen) = &again.different[0];
            bail!("different at step {at} of\n{sequence}{}", told(seen));
        }
        for player in &mut self.players {
            player.ensure_nothing_lost()?;
            ensure!(player.clashes.is_empty(), "{:?}: {:#?}", player.nat, player.clashes);
            ensure!(player.strays.is_empty(), "{:?}: {:#?}", player.nat, player.strays);
        }
        let unused =
            ALLOWED.iter().zip(played.allowed).find(|(entry, used)| *used == 0 && !entry.is_rare);
        ensure!(unused.is_none(), "nothing needs {:?}", unused.map(|(entry, _)| entry.name));
        ensure!(passing <= PASSING, "{passing} differences that did not come again");
        let used: usize = played.allowed.iter().sum();
        ensure!(played.delivered * 2 > played.steps, "{} of {}", played.delivered, played.steps);
        ensure!(used * 10 < played.steps, "{used} of {} steps differ", played.steps);
        ensure!(
            played.to_the_end >= usize::from(TO_THE_END),
            "only {} sequences came to their end",
            played.to_the_end
        );
        let list = ALLOWED.iter().zip(played.allowed);
        let list: String = list
            .map(|(entry, used)| format!("{used:6} {}: {}\n", entry.name, entry.reason))
            .collect();
        Ok(format!(
            "{} of {SEQUENCES} sequences to their end: {} steps, {} with something that arrived, {} \
             with an error\nallowed:\n{list}",
            played.to_the_end, played.steps, played.delivered, played.errors
        ))
    }
}

impl Played {
    /// Whether the sequence may go on: both sites are in the same state.
    fn compare(
        &mut self,
        number: u16,
        sequence: &Sequence,
        at: usize,
        seen: [Vec<Seen>; 2],
    ) -> bool {
        self.steps += 1;
        let difference = Difference { sequence, at, mooring: &seen[0], kernel: &seen[1] };
        if difference.passes_against_its_table() {
            self.different.push((sequence.clone(), at, seen));
            return false;
        }
        if seen[0] == seen[1] {
            self.delivered += usize::from(!seen[0].is_empty());
            self.errors += usize::from(seen[0].iter().any(|seen| seen.error.is_some()));
            return true;
        }
        let aspects = difference.aspects();
        let entries: Option<Vec<_>> =
            aspects.iter().map(|aspect| difference.entry(*aspect)).collect();
        let Some(entries) = entries else {
            self.different.push((sequence.clone(), at, seen));
            return false;
        };
        entries.iter().for_each(|entry| self.allowed[*entry] += 1);
        if seen.iter().any(Vec::is_empty) {
            self.of_one.insert((number, at));
        }
        entries.into_iter().all(|entry| ALLOWED[entry].goes_on)
    }

    /// Whether a step complains about a packet that only one of them let through.
    fn is_about_one(&self, number: u16, sequence: &Sequence, at: usize) -> bool {
        matches!(sequence.steps[at], Step::Complain { about, .. }
            if self.of_one.contains(&(number, about)))
    }
}

fn told(seen: &[Vec<Seen>; 2]) -> String {
    let list = |seen: &[Seen]| match seen {
        [] => "    nothing\n".to_owned(),
        _ => seen.iter().map(|seen| format!("    {seen}\n")).collect(),
    };
    format!("  by mooring:\n{}  by nftables:\n{}", list(&seen[0]), list(&seen[1]))
}

const SEQUENCES: u16 = 10_000;
const SEED: u64 = 4;
/// The others end with a difference that leaves the two in different states.
const TO_THE_END: u16 = 9_950;
/// Enough for a coarse mistake.
const FEW: u16 = 400;
/// Sequence numbers that hosts have addresses for.
const NUMBERS: u16 = 24_000;
/// The most steps of a sequence.
const LONGEST: usize = 8;
/// Packets on their way at a time: fewer than any queue holds.
const AT_A_TIME: usize = 100;
/// Differences that do not come again: a packet that the machine lost or delayed.
const PASSING: usize = 5;

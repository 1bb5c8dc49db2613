//! The whole engine against a slow, obviously right model of what it should do.
//!
//! Random steps (packets from both sides, answers, wrong answers, ICMP errors, time, other policies) are
//! given to `rig`, which drives one, two or three engines as the appliance does, and to `model`,
//! which says what must come of each. `duel` compares: frames byte for byte, drop reasons, counters,
//! tables. What the engine may choose at random (a port) is learned from the frame in which it is first
//! seen, and judged: was it free, in range, of that worker?
//!
//! The model has lists that are searched from end to end, its own parser and checksums (`packet`),
//! and its own description of a configuration (`spec`). It shares no code with what it judges. Types
//! that stand in the engine's signature (`Tick`, `Mac`, `InterfaceId`) are used by `rig` alone.
//!
//! A step is plain data that means something whatever came before it, so a sequence that fails is
//! shortened by leaving steps out while it still fails, and printed. `MOORING_MODEL_SEED` repeats one
//! sequence, `MOORING_MODEL_STEPS` says how many steps each test takes.
#![forbid(unsafe_code)]
#![cfg(test)]

mod arranged;
mod assigned;
mod between;
mod crowd;
mod draining;
mod duel;
mod families;
mod faults;
mod large;
mod limited;
mod model;
mod owner;
mod packet;
mod pieces;
mod random;
mod rig;
mod spec;
mod step;
mod together;
mod tracking;
mod trials;

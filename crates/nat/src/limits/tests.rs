//! What each limit refuses, whom it leaves alone, and what makes room in a full table.

mod counted;
mod denied;
mod eviction;
mod kept;
mod options;
mod sources;
mod transitory;

//! What each limit refuses, whom it leaves alone, and what makes room in a full table.

mod eviction;
mod sources;

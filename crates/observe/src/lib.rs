//! What an operator sees of a running appliance: the questions that `show` asks, the answers of a
//! worker, and their form as JSON and as tables.
//!
//! Reads only, and only between two batches of a worker: the packet path never calls in here.
//!
//! [`query`] is what crosses to the worker and back, [`report`] and [`rows`] the JSON of the contract,
//! [`table`] the same for human eyes, [`socket`] how `show` reaches the appliance. A list is asked for,
//! written and read in pages and rows: nobody holds all of it.
//!
//! [`explain`] says what would happen to a packet, [`events`] what has happened that somebody wants on record.
//!
//! [`metrics`] and [`health`] are what monitors and probes read, by the [`http_server`].
#![forbid(unsafe_code)]

mod date;
pub mod events;
pub mod explain;
pub mod health;
pub mod http_server;
pub mod metrics;
pub mod query;
pub mod report;
pub mod rows;
pub mod socket;
pub mod table;

pub use query::{Answer, Query};
pub use report::{PortInfo, Report};

//! One HTTP/1.1 connection of a server (RFC 9112): bytes and the time go in, bytes come out.
//!
//! What it takes from a client is bounded: a head of [`HEAD_LIMIT`] bytes, no body, one answer at a
//! time, and a limit of time for each step. It knows no socket and no clock, so the same code speaks
//! over the kernel's sockets and over our own TCP.
#![forbid(unsafe_code)]

mod connection;
mod request;
mod response;

pub use crate::connection::Connection;
pub use crate::request::{HEAD_LIMIT, Method, Request};
pub use crate::response::{Response, Status};

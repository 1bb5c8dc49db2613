//! The endpoint against another TCP stack, against floods, and against arbitrary bytes.

mod flood;
mod health;
mod hostile;
mod peer;

//! Sessions under another policy.

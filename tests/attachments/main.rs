//! Forbidden attachments, from message bytes to findings.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod allowed;
mod bombs;
mod build;
mod corpus;
mod generator;
mod hostile;
mod names;
mod ordinary;
mod views;
mod zips;

//! Forbidden attachments, from message bytes to findings.

mod build;
mod hostile;
mod names;
mod ordinary;
mod zips;

//! Greylag.

pub mod admin;
pub mod breaker;
pub mod checks;
pub mod cli;
pub mod config;
pub mod content;
pub mod delegation;
pub mod dns;
pub mod driver;
pub mod facts;
pub mod filter;
pub mod listener;
pub mod milter;
pub mod policy;
pub mod reason;
pub mod store;
pub mod telemetry;
pub mod verdict;

//! Greylag: an inbound mail policy daemon for Postfix and Sendmail.
//!
//! # The way of a mail
//!
//! ```text
//! socket ─▶ milter, delegation ─▶ facts ─▶ filter ─▶ verdict ─▶ milter, delegation ─▶ socket
//!           bytes → commands               │  ▲
//!                                 Step::Ask│  │Known
//!                                          ▼  │
//!                                         driver ─▶ dns, store, scanner
//! ```
//!
//! A protocol room turns bytes into [`facts`] and asks the [`driver`] at each stage of the SMTP session. The driver asks the
//! [`filter`], which says what happens to the mail, or what it must know first; the driver fetches that and asks again. The
//! [`verdict`] goes back to the protocol room, which renders it. **The line that refused a mail is in [`checks`]**: one file a
//! check, one [`reason`] code a cause, the same code in log, metric, policy file and header.
//!
//! | room | its one job |
//! |---|---|
//! | [`cli`] | the command line, one file a subcommand; `serve` wires the daemon |
//! | [`config`], [`policy`] | files of the administrator → values, with every mistake shown where it stands |
//! | [`listener`], [`milter`], [`delegation`] | sockets and the two protocols |
//! | [`facts`] | what is known about a mail |
//! | [`filter`], [`checks`], [`verdict`], [`reason`] | what is decided, and why |
//! | [`content`] | what is inside a message |
//! | [`driver`], [`dns`], [`store`], [`breaker`], `patience` | answers from the world, each under its deadline |
//! | [`explain`] | what would happen to a mail, and why |
//! | [`reload`] | changed policy files → the policy in force |
//! | `spare` | memory that is lent from one mail to the next |
//! | [`admin`], [`telemetry`], `priority` | metrics, health, control socket, log, the trace of late decisions, beside the mail |
//!
//! # Invariants
//!
//! 1. `milter`, `delegation` (but for their `server.rs`), `policy`, `facts`, `filter`, `checks` and `content` do no IO and know no
//!    clock: time and answers come in as arguments. A test enforces it.
//! 2. Every question that is asked comes back as an answer or as unknown; unknown never refuses mail for good.
//! 3. One task owns a connection. No lock is held across an await; CPU work runs on a bounded pool, but for the
//!    little that a small mail without archives takes.
//! 4. An illegal reply cannot be written: one answer for each command, codes and texts are types.
//! 5. What a retry cannot cure is not deferred; what is our fault is never a 5xx.
//! 6. Everything that is inflated goes through one budget a message, which counts work and not time.
//!
//! # What is logged
//!
//! INFO: one line for each decision (target `greylag::decision`) and what the operator did: start, reload, stop. WARN: something
//! failed and was recovered from. ERROR: the operator must act. Text that came from a client is escaped and cut.

pub mod admin;
mod allocator;
pub mod auth;
pub mod breaker;
pub mod checks;
pub mod cli;
pub mod config;
pub mod content;
pub mod delegation;
pub mod dns;
pub mod driver;
pub mod explain;
pub mod facts;
pub mod filter;
pub mod listener;
pub mod milter;
mod patience;
pub mod policy;
mod priority;
pub mod reason;
pub mod reload;
mod spare;
pub mod store;
pub mod telemetry;
pub mod verdict;

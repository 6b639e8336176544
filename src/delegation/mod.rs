//! The Postfix policy delegation protocol (`check_policy_service`, SMTPD_POLICY_README): `name=value` lines in, one `action=`
//! line out.
//!
//! [`Decoder`] turns bytes into a [`Request`], [`Session`] a request into facts and a verdict into a [`Response`]; neither touches a
//! socket. [`serve`] does.

mod action;
mod before;
mod request;
mod server;
mod session;

pub use action::{Response, TagHeader};
pub use request::{Decoder, MAX_ATTRIBUTES, MAX_REQUEST, ProtocolState, Request, RequestError};
pub use server::{ConnectionError, Limits, converse, serve};
pub use session::{Session, Step};

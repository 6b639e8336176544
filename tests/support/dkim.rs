//! Signs messages as their authors' servers do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::crypto::Ed25519Key;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::headers::HeaderWriter;

/// A key made for these tests, by `openssl genpkey -algorithm ed25519`.
const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIDmR/9VA8erWN0/VV5FnTpC6AVWjmFPG3Xv12PQOcWWA";

fn key() -> Ed25519Key {
    Ed25519Key::from_pkcs8_der(&BASE64.decode(KEY).unwrap()).unwrap()
}

/// The text of the DNS record at [`name`].
pub fn record() -> String {
    format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(key().public_key()))
}

/// Where the key of `domain` is published, selector `s`.
pub fn name(domain: &str) -> String {
    format!("s._domainkey.{domain}")
}

/// The DNS record that publishes the key for `domain`, as [`greylag::dns::Zone`] reads it.
pub fn published(domain: &str) -> String {
    format!("{} TXT {}\n", name(domain), record())
}

/// `mail` (lines ended by LF) with a signature by `domain` on top.
pub fn sign(mail: &str, domain: &str, canonicalization: Canonicalization) -> String {
    sign_headers(&["From", "To", "Subject"], mail, domain, canonicalization)
}

/// As [`sign`], over these header fields.
pub fn sign_headers(
    headers: &[&'static str],
    mail: &str,
    domain: &str,
    canonicalization: Canonicalization,
) -> String {
    let signer = DkimSigner::from_key(key())
        .domain(domain)
        .selector("s")
        .headers(headers.iter().copied())
        .header_canonicalization(canonicalization)
        .body_canonicalization(canonicalization);
    let signature = signer.sign(mail.replace('\n', "\r\n").as_bytes()).unwrap().to_header();
    signature.replace("\r\n", "\n") + mail
}

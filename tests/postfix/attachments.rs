//! Forbidden attachments at the end of a message.

use crate::support::mail;
use crate::support::postfix::HookUp;
use crate::{NO_GREYLIST, RECIPIENT, SENDER, Site, assert_queued};

#[test]
fn a_program_in_a_zip_in_a_zip_is_refused_with_its_path() {
    let site = Site::start(HookUp::Milter, &[NO_GREYLIST]);
    let nested = mail::zip("b.zip", &mail::zip("evil.exe", b"MZ not really"));
    let mut smtp = site.connect();
    assert_eq!(
        smtp.send(SENDER, RECIPIENT, &mail::with_attachment("nested", "a.zip", &nested)),
        "554 5.7.0 Forbidden attachment: a.zip/b.zip/evil.exe - files of type exe are not accepted, remove it and \
         send again"
    );

    // The same session goes on, and the same archive with a harmless file is delivered.
    let harmless = mail::zip("b.zip", &mail::zip("report.txt", b"numbers"));
    let message = mail::with_attachment("harmless", "a.zip", &harmless);
    assert_queued(&smtp.send(SENDER, RECIPIENT, &message));
    assert!(site.sink.next().data.ends_with(&message));
    site.sink.assert_empty();
}

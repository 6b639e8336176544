use crate::check;

#[test]
fn header_fields_are_seen_decoded() {
    check(&[
        ("plain", b"Subject: You won the LOTTERY!\n\nx\n", &["subject"]),
        ("base64", b"Subject: =?utf-8?B?TE9UVEVSWQ==?=\n\nx\n", &["subject"]),
        ("quoted", b"Subject: =?iso-8859-1?Q?l=6Fttery_=E9?=\n\nx\n", &["subject"]),
        ("split over lines", b"Subject: =?utf-8?B?TG90?=\n =?utf-8?B?dGVyeQ==?=\n\nx\n", &["subject"]),
        ("split within a line", b"Subject: =?utf-8?Q?lott?= =?utf-8?Q?ery?=\n\nx\n", &["subject"]),
        ("a character split", b"Subject: =?utf-8?B?0YbQ?= =?utf-8?B?tdC90LA=?=\n\nx\n", &["subject"]),
        ("windows-1251", b"Subject: =?windows-1251?Q?=F6=E5=ED=E0?=\n\nx\n", &["subject"]),
        ("koi8-r", b"Subject: =?koi8-r?B?w8XOwQ==?=\n\nx\n", &["subject"]),
        ("bare utf-8", "Subject: цена\n\nx\n".as_bytes(), &["subject"]),
        ("folded", b"Subject: Re: your\n\torder\n 1234\n\nx\n", &["subject"]),
        ("case of the name", b"SUBJECT: lottery\n\nx\n", &["subject"]),
        ("space before the colon", b"Subject : lottery\n\nx\n", &["subject"]),
        ("the second of two", b"Subject: x\nSubject: lottery\n\nx\n", &["subject"]),
        ("zero width", "Subject: lot\u{200b}te\u{2060}ry\n\nx\n".as_bytes(), &["subject"]),
        ("full width", "Subject: ｌｏｔｔｅｒｙ\n\nx\n".as_bytes(), &["subject"]),
        ("encoded zero width", b"Subject: =?utf-8?Q?lot=E2=80=8Btery?=\n\nx\n", &["subject"]),
        ("an unknown charset", b"Subject: =?x-mars?Q?lottery?=\n\nx\n", &["subject"]),
        ("a display name", b"From: \"=?utf-8?Q?PayBank?=\" <a@b.test>\n\nx\n", &["from"]),
        ("an address", b"Reply-To: <help@paybanking.test>\n\nx\n", &["from"]),
        ("part of a word", b"Subject: lotterys\n\nx\n", &[]),
        ("another field", b"X-Subject: lottery\n\nx\n", &[]),
        ("the body", b"Subject: x\n\nSubject: lottery\n", &[]),
        ("more than the expression", b"Subject: Re: your order 12a\n\nx\n", &[]),
    ]);
}

#[test]
fn attachment_names_are_seen_decoded() {
    let mail = |disposition: &str| {
        format!(
            "Subject: x\nContent-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: application/pdf\n\
             Content-Disposition: {disposition}\n\nx\n--B--\n"
        )
        .into_bytes()
    };
    for (disposition, expected) in [
        ("attachment; filename=invoice.pdf", &["name"][..]),
        ("attachment; filename=\"Invoice 2026.PDF\"", &["name"]),
        ("attachment; filename*=utf-8''invoice%202026.pdf", &["name"]),
        ("attachment; filename*0=inv; filename*1=oice.pdf", &["name"]),
        ("attachment; filename=\"=?utf-8?B?aW52b2ljZS5wZGY=?=\"", &["name"]),
        ("attachment; filename=\"in\u{200b}voice.pdf\"", &["name"]),
        ("attachment; filename=report.pdf", &[]),
        ("attachment; filename=invoice.pdf.txt", &[]),
    ] {
        check(&[(disposition, &mail(disposition), expected)]);
    }
}

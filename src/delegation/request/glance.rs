//! What shows whether a request came before, without reading it.

use super::{Found, Place};

/// What is seen of a request at a glance.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::delegation) struct Glance<'a> {
    pub(in crate::delegation) client_address: Option<&'a str>,
    pub(in crate::delegation) client_port: Option<u16>,
    pub(in crate::delegation) queue_id: Option<&'a str>,
    pub(in crate::delegation) instance: Option<&'a str>,
    /// All but the client's port, recipient count, queue id, instance and size. Requests that have these in common are judged as one
    /// is, unless recipients of the mail were let pass before.
    pub(in crate::delegation) lasting: [&'a [u8]; 3],
}

impl<'a> Found<'a> {
    /// Looks whether it came before; `None` where that cannot be seen at a glance.
    pub(in crate::delegation) fn glance(&self) -> Option<Glance<'a>> {
        let [port, progress] = self.of_one_mail.as_ref()?;
        let part = |start: u32, end: u32| self.whole.get(start as usize..end as usize);
        let value = |place: Place| match place.range().filter(|range| !range.is_empty()) {
            Some(range) => str::from_utf8(self.whole.get(range)?).ok().map(Some),
            None => Some(None),
        };
        Some(Glance {
            client_address: value(self.places.client_address)?,
            client_port: value(self.places.client_port)?.and_then(|port| port.parse().ok()),
            queue_id: value(self.places.queue_id)?,
            instance: value(self.places.instance)?,
            lasting: [
                part(0, port.start)?,
                part(port.end, progress.start)?,
                self.whole.get(progress.end as usize..)?,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::delegation::Decoder;
    use crate::delegation::request::tests::POSTFIX;

    #[test]
    fn a_glance_shows_what_is_of_one_mail_and_what_lasts() {
        let lasting = |request: &str| {
            let found = Decoder::default().find(request.as_bytes()).unwrap().unwrap();
            found.glance().map(|glance| glance.lasting.concat())
        };
        let found = Decoder::default().find(POSTFIX.as_bytes()).unwrap().unwrap();
        let glance = found.glance().unwrap();
        assert_eq!((glance.client_address, glance.client_port), (Some("127.0.0.1"), Some(53850)));
        assert_eq!((glance.queue_id, glance.instance), (Some("F2DEA9A6504"), Some("3903.6b03b16e.f2bf9.0")));
        let of_another_mail = POSTFIX
            .replace("53850", "1")
            .replace("recipient_count=0", "recipient_count=7")
            .replace("F2DEA9A6504", "")
            .replace("3903.6b03b16e.f2bf9.0", "4")
            .replace("size=77", "size=0");
        assert_eq!(lasting(&of_another_mail), lasting(POSTFIX));
        for (is, other) in [
            ("RCPT", "DATA"),
            ("=ESMTP", "=SMTP"),
            ("client_address=127.0.0.1", "client_address=127.0.0.2"),
            ("\nclient_name=unknown", "\nclient_name=mx.test"),
            ("server_port=18835", "server_port=25"),
            ("c.test", "d.test"),
            ("a@b", "b@b"),
            ("carol", "Carol"),
            ("sasl_username=", "sasl_username=joe"),
            ("encryption_protocol=", "encryption_protocol=TLSv1.3"),
            ("policy_context=", "policy_context=mx"),
            ("3.10.13", "3.10.14"),
        ] {
            assert_ne!(lasting(&POSTFIX.replace(is, other)), lasting(POSTFIX), "{other}");
        }
        assert_eq!(lasting(&POSTFIX.replace("\n\n", "\nfuture=1\n\n")), None);
        let foreign = POSTFIX.as_bytes().iter().map(|byte| if *byte == b'F' { 0xff } else { *byte });
        let foreign: Vec<u8> = foreign.collect();
        assert!(Decoder::default().find(&foreign).unwrap().unwrap().glance().is_none());
    }
}

//! What shows whether a request came before, without reading it.

use super::{Found, Place, Places};

/// What is seen of a request at a glance.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::delegation) struct Glance<'a> {
    /// 0 where there is none.
    pub(in crate::delegation) client_port: u16,
    pub(in crate::delegation) queue_id: Option<&'a str>,
    /// In ASCII.
    pub(in crate::delegation) instance: Option<&'a [u8]>,
    /// All but the client's port, recipient count, queue id, instance and size. Requests that have these in common are judged as one
    /// is, unless recipients of the mail were let pass before.
    pub(in crate::delegation) lasting: [&'a [u8]; 3],
}

impl<'a> Found<'a> {
    /// Looks whether it came before; `None` where that cannot be seen at a glance.
    pub(in crate::delegation) fn glance(&self) -> Option<Glance<'a>> {
        let [port, progress] = self.of_one_mail.as_ref()?;
        let part = |start: u32, end: u32| self.whole.get(start as usize..end as usize);
        let value = |place: Place| part(place.start, place.end).filter(|value| !value.is_empty());
        let Places { client_port, queue_id, instance, .. } = &self.places;
        let instance = value(*instance);
        if !instance.is_none_or(<[u8]>::is_ascii) {
            return None;
        }
        Some(Glance {
            client_port: value(*client_port).map_or(Some(0), number)?,
            queue_id: value(*queue_id).map(str::from_utf8).transpose().ok()?,
            instance,
            lasting: [
                part(0, port.start)?,
                part(port.end, progress.start)?,
                self.whole.get(progress.end as usize..)?,
            ],
        })
    }
}

/// The number that these digits are; `None` where it has too many or they are none.
fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
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
        assert_eq!(glance.client_port, 53850);
        assert_eq!(glance.queue_id, Some("F2DEA9A6504"));
        assert_eq!(glance.instance, Some(&b"3903.6b03b16e.f2bf9.0"[..]));
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
        for port in ["65536", "+1", "1 ", "-1", "a"] {
            assert_eq!(lasting(&POSTFIX.replace("53850", port)), None, "{port}");
        }
        assert_eq!(lasting(&POSTFIX.replace("f2bf9", "\u{fc}")), None);
        let foreign = POSTFIX.as_bytes().iter().map(|byte| if *byte == b'F' { 0xff } else { *byte });
        let foreign: Vec<u8> = foreign.collect();
        assert!(Decoder::default().find(&foreign).unwrap().unwrap().glance().is_none());
    }
}

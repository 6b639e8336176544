//! What depends on what was agreed: where nobody waits for an answer, and what need not come.

use super::*;
use crate::policy::Reach;

/// A policy that says nothing at any stage but the end.
const NOTHING: Interest = Interest {
    looks_up_sender: false,
    refuses_recipients: false,
    refuses_data: false,
    header: false,
    body: Reach::Nobody,
};

#[test]
fn a_refusal_nobody_waited_for_is_told_with_every_answer_the_message_still_has() {
    let refusal = Refusal::new(&Reply::new(Code::C550, (7, 1), "No."));
    let refused = || Some(Response::Refuse(refusal.clone()));
    let mut mta = Mta::wishing(NOTHING, OFFER, Limits::default());
    for command in [connect(), Command::Helo("c.test".into())] {
        assert_eq!(mta.accept(command), None);
    }
    assert_eq!(mta.send(mail(), &refusing()), None);
    assert_eq!(mta.accept(rcpt("bob")), None);
    assert!(mta.accepted().is_empty());
    assert_eq!(mta.accept(Command::Data), refused());
    assert_eq!(mta.accept(end()), refused());
    // The next message is not concerned.
    assert_eq!([mta.accept(mail()), mta.accept(rcpt("bob"))], [None, None]);
    assert_eq!(mta.accepted(), ["bob@x.test"]);
    assert_eq!(mta.accept(end()), Some(Response::Deliver(Vec::new())));

    let mut mta = Mta::wishing(NOTHING, OFFER, Limits { message_bytes: 100, ..Limits::default() });
    for command in [connect(), mail()] {
        assert_eq!(mta.accept(command), None);
    }
    assert_eq!(mta.send(rcpt("bob"), &refusing()), None);
    assert!(mta.accepted().is_empty());
    mta.session.charge(1000, State::Header);
    assert_eq!(mta.accept(end()), refused(), "it is too large, and was refused before");
}

#[test]
fn a_body_that_nobody_reads_is_declined() {
    let in_scopes = Interest { body: Reach::Scopes, ..Interest::ALL };
    let begun = |reads_body| {
        let mut mta = Mta::wishing(in_scopes, OFFER, Limits { message_bytes: 1000, ..Limits::default() });
        mta.reads_body = reads_body;
        for command in [connect(), mail(), rcpt("bob"), Command::Data, header()] {
            mta.accept(command);
        }
        mta
    };
    let size = |mta: &mut Mta| {
        let last = Command::EndOfMessage(Bytes::from_static(b"end"));
        let Step::Judge(pending) = mta.session.on_command(last) else { panic!("the message is judged") };
        let message = mta.facts().message.clone().unwrap();
        mta.session.on_verdict(pending, &Verdict::default());
        (message.headers().len(), message.body().len())
    };
    let mut read = begun(true);
    assert_eq!([(); 2].map(|()| read.accept(body())), [const { Some(Response::Continue) }; 2]);
    assert_eq!(size(&mut read), (1, 17));

    let mut skipped = begun(false);
    assert_eq!([(); 2].map(|()| skipped.accept(body())), [const { Some(Response::SkipBody) }; 2]);
    assert_eq!(size(&mut skipped), (1, 0));

    let mut large = begun(true);
    assert_eq!(large.accept(body()), Some(Response::Continue));
    large.session.charge(1001, State::Body);
    assert_eq!(large.accept(body()), Some(Response::SkipBody), "what cannot be kept need not come");
    assert!(matches!(large.session.on_command(end()), Step::Judge(_)));
    assert_eq!(large.facts().message.as_ref().map(Message::kept), Some(Kept::Header));

    // The next message is asked about anew.
    skipped.reads_body = true;
    skipped.accept(mail());
    assert_eq!(skipped.accept(body()), Some(Response::Continue));
}

#[test]
fn a_session_serves_what_it_negotiated_for() {
    let needs_more = Interest { body: Reach::All, ..NOTHING };
    let little = Mta::wishing(NOTHING, OFFER, Limits::default()).session;
    assert!(little.serves(&NOTHING) && !little.serves(&needs_more));
    assert!(Mta::new().session.serves(&needs_more));
}

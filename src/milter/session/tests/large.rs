//! Messages that take more memory than there is for them.

use super::*;

#[test]
fn of_a_message_with_too_large_a_header_nothing_is_kept() {
    let mut mta = Mta::with(OFFER, Limits { message_bytes: 1000, ..Limits::default() });
    for command in [connect(), mail(), rcpt("bob"), Command::Data] {
        mta.accept(command);
    }
    mta.silent_frame(b'L', b"Subject\0hi\0");
    assert_eq!(mta.session.message.headers().len(), 1);
    mta.silent_frame(b'L', &[b"X-Large\0", &[b'x'; 1000][..], b"\0"].concat());
    mta.silent_frame(b'L', b"To\0bob\0");
    mta.silent_frame(b'B', b"end\r\n");
    assert!(mta.session.message.is_empty(), "nothing is kept");

    let step = mta.session.on_frame(Frame { code: b'E', payload: Bytes::new() });
    let Step::Judge(pending) = step else { panic!("{step:?}") };
    assert_eq!(mta.facts().message.as_ref().map(Message::kept), Some(Kept::Nothing));
    assert_eq!(mta.accepted(), ["bob@x.test"], "as the log names them");
    assert!(matches!(mta.session.on_verdict(pending, &refusing()), Response::Refuse(_)));
    assert!(mta.accepted().is_empty());

    mta.accept(mail());
    mta.silent_frame(b'B', b"small\r\n");
    assert_eq!(mta.accept(end()), Some(Response::Deliver(Vec::new())), "the next message is not concerned");
}

#[test]
fn of_a_message_with_too_large_a_body_the_header_is_kept() {
    let memory = MessageMemory::new(100_000);
    let limits = Limits { message_bytes: 1000, memory: memory.clone() };
    let mut mta = Mta::with(OFFER, limits);
    for command in [connect(), mail(), rcpt("bob"), Command::Data] {
        mta.accept(command);
    }
    mta.silent_frame(b'L', b"Subject\0hi\0");
    mta.silent_frame(b'B', &[b'x'; 500]);
    mta.silent_frame(b'B', &[b'x'; 500]);
    mta.silent_frame(b'B', b"end\r\n");
    assert!(mta.session.message.body().is_empty());
    let header = 5 + 11 + PACKET_OVERHEAD;
    assert!(memory.share().take(100_000 - header) && !memory.share().take(100_001 - header));

    let step = mta.session.on_frame(Frame { code: b'E', payload: Bytes::from_static(b"end") });
    let Step::Judge(pending) = step else { panic!("{step:?}") };
    let message = mta.facts().message.as_ref().unwrap();
    assert_eq!(message.kept(), Kept::Header);
    assert_eq!(message.text(), b"Subject:hi\r\n\r\n");
    assert_eq!(mta.accepted(), ["bob@x.test"]);
    assert_eq!(mta.session.on_verdict(pending, &Verdict::default()), Response::Deliver(Vec::new()));
    assert!(memory.share().take(100_000));
}

#[test]
fn a_message_that_others_left_no_room_for_is_not_kept_until_they_are_done() {
    let limits = Limits { message_bytes: 1000, memory: MessageMemory::new(1200) };
    let (mut one, mut other) = (Mta::with(OFFER, limits.clone()), Mta::with(OFFER, limits));
    for mta in [&mut one, &mut other] {
        for command in [connect(), mail(), rcpt("bob"), Command::Data] {
            mta.accept(command);
        }
    }
    one.silent_frame(b'B', &[b'x'; 500]);
    other.silent_frame(b'B', &[b'x'; 500]);
    let step = other.session.on_frame(Frame { code: b'E', payload: Bytes::new() });
    let Step::Judge(pending) = step else { panic!("{step:?}") };
    assert_eq!(other.facts().message.as_ref().map(Message::kept), Some(Kept::Header));
    assert!(matches!(other.session.on_verdict(pending, &refusing()), Response::Refuse(_)));
    assert_eq!(one.accept(end()), Some(Response::Deliver(Vec::new())));
    other.accept(mail());
    other.silent_frame(b'B', &[b'x'; 500]);
    assert_eq!(other.accept(end()), Some(Response::Deliver(Vec::new())));
}

#[test]
fn many_small_packets_count_as_what_they_cost() {
    let mut mta = Mta::with(OFFER, Limits { message_bytes: 10_000, ..Limits::default() });
    mta.accept(connect());
    mta.accept(mail());
    for _ in 0..100_000 {
        mta.silent_frame(b'L', b"\0\0");
    }
    assert!(mta.session.message.headers().is_empty());
    for _ in 0..1000 {
        mta.session.state = State::Envelope;
        mta.accept(rcpt("bob"));
    }
    assert!(mta.accepted().is_empty());
}

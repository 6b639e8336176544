//! The cases, by the sections of RFC 7208.

use greylag::auth::SpfResult::{self, Fail, Neutral, None, Pass, PermError, SoftFail, TempError};

/// What one section of RFC 7208 asks for.
pub(crate) struct Group {
    /// What of the RFC it is about.
    pub(crate) section: &'static str,
    /// The DNS, as [`greylag::dns::Zone::parse`] reads it.
    pub(crate) zone: &'static str,
    /// Client, MAIL FROM, result; the HELO name is `mail.client.test`.
    pub(crate) cases: &'static [(&'static str, &'static str, SpfResult)],
}

pub(crate) const V4: &str = "192.0.2.1";
pub(crate) const V6: &str = "2001:db8::1";

pub(crate) const SUITE: &[Group] = &[
    Group {
        section: "4.3 and 4.5: which record",
        zone: "
            one.test TXT v=spf1 -all
            upper.test TXT V=SPF1 -ALL
            others.test TXT google-site-verification=x
            others.test TXT v=spf1 -all
            others.test TXT v=spf10 +all
            others.test TXT spf2.0/pra +all
            two.test TXT v=spf1 -all
            two.test TXT v=spf1 +all
            texts.test TXT hello
            noversion.test TXT spf1 -all
            longversion.test TXT v=spf10 -all
            bare.test TXT v=spf1
            spaces.test TXT v=spf1    -all
            tab.test TXT v=spf1 a\tmx -all
            empty.test -
            broken.test !
            notxt.test A 192.0.2.1
            notxt.test TXT !
            test TXT v=spf1 +all",
        cases: &[
            (V4, "<joe@one.test>", Fail),
            (V4, "<joe@ONE.TEST.>", Fail),
            (V4, "<joe@upper.test>", Fail),
            (V4, "<joe@others.test>", Fail),
            (V4, "<joe@two.test>", PermError),
            (V4, "<joe@texts.test>", None),
            (V4, "<joe@noversion.test>", None),
            (V4, "<joe@longversion.test>", None),
            (V4, "<joe@bare.test>", Neutral),
            (V4, "<joe@spaces.test>", Fail),
            (V4, "<joe@tab.test>", PermError),
            (V4, "<joe@empty.test>", None),
            (V4, "<joe@nowhere.test>", None),
            (V4, "<joe@broken.test>", TempError),
            (V4, "<joe@notxt.test>", TempError),
            (V4, "<joe@test>", None),
            (V4, "<joe@a..test>", None),
            (V4, "<joe@[192.0.2.1]>", None),
            (
                V4,
                "<joe@a123456789012345678901234567890123456789012345678901234567890123.test>",
                None,
            ),
        ],
    },
    Group {
        section: "4.6: syntax errors are found before anything is matched",
        zone: "
            unknown.test TXT v=spf1 +all moo
            twice.test TXT v=spf1 +-all
            argument.test TXT v=spf1 all:x.test
            redirects.test TXT v=spf1 +all redirect=a.test redirect=b.test
            explanations.test TXT v=spf1 +all exp=a.test exp=b.test
            modifiers.test TXT v=spf1 moo=1 x.y-z_1=%{d}%%/?# +all
            badmodifier.test TXT v=spf1 moo=%x +all
            badname.test TXT v=spf1 1moo=x +all
            latin.test TXT v=spf1 +all \u{e9}
            latinelsewhere.test TXT r\u{e9}sum\u{e9}
            latinelsewhere.test TXT v=spf1 +all
            position.test TXT v=spf1 redirect=nowhere.test +all
            equals.test TXT v=spf1 a=x.test -all",
        cases: &[
            (V4, "<joe@unknown.test>", PermError),
            (V4, "<joe@twice.test>", PermError),
            (V4, "<joe@argument.test>", PermError),
            (V4, "<joe@redirects.test>", PermError),
            (V4, "<joe@explanations.test>", PermError),
            (V4, "<joe@modifiers.test>", Pass),
            (V4, "<joe@badmodifier.test>", PermError),
            (V4, "<joe@badname.test>", PermError),
            (V4, "<joe@latin.test>", PermError),
            (V4, "<joe@latinelsewhere.test>", Pass),
            (V4, "<joe@position.test>", Pass),
            (V4, "<joe@equals.test>", Fail),
        ],
    },
    Group {
        section: "5.1: all, and the qualifiers",
        zone: "
            default.test TXT v=spf1 all
            plus.test TXT v=spf1 +all
            minus.test TXT v=spf1 -all
            tilde.test TXT v=spf1 ~all
            question.test TXT v=spf1 ?all
            first.test TXT v=spf1 ?all -all
            over.test TXT v=spf1 -all redirect=plus.test",
        cases: &[
            (V4, "<joe@default.test>", Pass),
            (V4, "<joe@plus.test>", Pass),
            (V6, "<joe@plus.test>", Pass),
            (V4, "<joe@minus.test>", Fail),
            (V4, "<joe@tilde.test>", SoftFail),
            (V4, "<joe@question.test>", Neutral),
            (V4, "<joe@first.test>", Neutral),
            (V4, "<joe@over.test>", Fail),
        ],
    },
    Group {
        section: "5.2: include takes a pass for a match and nothing else",
        zone: "
            pass.test TXT v=spf1 +all
            fail.test TXT v=spf1 -all
            softfail.test TXT v=spf1 ~all
            neutral.test TXT v=spf1 ?all
            syntax.test TXT v=spf1 moo
            broken.test TXT !
            i-pass.test TXT v=spf1 ~include:pass.test -all
            i-fail.test TXT v=spf1 include:fail.test ?all
            i-softfail.test TXT v=spf1 include:softfail.test -all
            i-neutral.test TXT v=spf1 include:neutral.test -all
            i-syntax.test TXT v=spf1 include:syntax.test +all
            i-broken.test TXT v=spf1 include:broken.test +all
            i-none.test TXT v=spf1 include:nowhere.test +all
            i-nothing.test TXT v=spf1 include +all
            i-empty.test TXT v=spf1 include: +all
            i-prefix.test TXT v=spf1 include:pass.test/24 +all
            i-itself.test TXT v=spf1 include:i-itself.test +all
            deep.test TXT v=spf1 include:pass.test
            i-deep.test TXT v=spf1 ?include:deep.test -all
            minus-deep.test TXT v=spf1 -include:pass.test
            i-minus-deep.test TXT v=spf1 include:minus-deep.test ~all
            redirecting.test TXT v=spf1 redirect=pass.test
            i-redirecting.test TXT v=spf1 -include:redirecting.test
            d.test TXT v=spf1 a:%{d} -all
            d.test A 192.0.2.1
            i-d.test TXT v=spf1 include:d.test -all
            i-d.test A 198.51.100.1
            macro.test TXT v=spf1 include:%{o1r}.test -all",
        cases: &[
            (V4, "<joe@i-pass.test>", SoftFail),
            (V4, "<joe@i-fail.test>", Neutral),
            (V4, "<joe@i-softfail.test>", Fail),
            (V4, "<joe@i-neutral.test>", Fail),
            (V4, "<joe@i-syntax.test>", PermError),
            (V4, "<joe@i-broken.test>", TempError),
            (V4, "<joe@i-none.test>", PermError),
            (V4, "<joe@i-nothing.test>", PermError),
            (V4, "<joe@i-empty.test>", PermError),
            (V4, "<joe@i-prefix.test>", PermError),
            (V4, "<joe@i-itself.test>", PermError),
            (V4, "<joe@i-deep.test>", Neutral),
            (V4, "<joe@i-minus-deep.test>", SoftFail),
            (V4, "<joe@i-redirecting.test>", Fail),
            (V4, "<joe@i-d.test>", Pass),
            ("198.51.100.1", "<joe@i-d.test>", Fail),
            (V4, "<joe@macro.test>", PermError),
        ],
    },
    Group {
        section: "5.3: a",
        zone: "
            own.test TXT v=spf1 a -all
            own.test A 198.51.100.9
            own.test A 192.0.2.1
            own.test AAAA 2001:db8::1
            other.test TXT v=spf1 a:own.test. -all
            upper.test TXT v=spf1 A:OWN.Test -all
            net.test TXT v=spf1 a:own.test/24 -all
            dual.test TXT v=spf1 a:own.test/24//64 -all
            six.test TXT v=spf1 a:own.test//64 -all
            any.test TXT v=spf1 a:own.test/0//0 -all
            missing.test TXT v=spf1 a:nowhere.test -all
            broken.test TXT v=spf1 a:dead.test +all
            dead.test A !
            toplevel.test TXT v=spf1 a:test +all
            numeric.test TXT v=spf1 a:192.0.2.1 +all
            port.test TXT v=spf1 a:own.test:8080 +all
            cidr33.test TXT v=spf1 a/33 +all
            cidr129.test TXT v=spf1 a//129 +all
            cidr08.test TXT v=spf1 a/08 +all
            cidrempty.test TXT v=spf1 a/ +all
            nothing.test TXT v=spf1 a: +all
            colon.test TXT v=spf1 a:a:b.own.test -all
            nul.test TXT v=spf1 a:own.test\u{0} +all",
        cases: &[
            (V4, "<joe@own.test>", Pass),
            ("192.0.2.2", "<joe@own.test>", Fail),
            (V6, "<joe@own.test>", Pass),
            ("2001:db8::2", "<joe@own.test>", Fail),
            (V4, "<joe@other.test>", Pass),
            (V4, "<joe@upper.test>", Pass),
            ("192.0.2.255", "<joe@net.test>", Pass),
            ("192.0.3.0", "<joe@net.test>", Fail),
            ("2001:db8::2", "<joe@net.test>", Fail),
            ("192.0.2.77", "<joe@dual.test>", Pass),
            ("2001:db8::77:1", "<joe@dual.test>", Pass),
            ("2001:db8:0:1::1", "<joe@dual.test>", Fail),
            ("192.0.2.77", "<joe@six.test>", Fail),
            ("2001:db8::77:1", "<joe@six.test>", Pass),
            ("8.8.8.8", "<joe@any.test>", Pass),
            ("2a00::1", "<joe@any.test>", Pass),
            (V4, "<joe@missing.test>", Fail),
            (V4, "<joe@broken.test>", TempError),
            (V4, "<joe@toplevel.test>", PermError),
            (V4, "<joe@numeric.test>", PermError),
            (V4, "<joe@port.test>", PermError),
            (V4, "<joe@cidr33.test>", PermError),
            (V4, "<joe@cidr129.test>", PermError),
            (V4, "<joe@cidr08.test>", PermError),
            (V4, "<joe@cidrempty.test>", PermError),
            (V4, "<joe@nothing.test>", PermError),
            (V4, "<joe@colon.test>", Fail),
            (V4, "<joe@nul.test>", PermError),
        ],
    },
    Group {
        section: "5.4: mx",
        zone: "
            own.test TXT v=spf1 mx -all
            own.test MX mx1.test
            own.test MX mx2.test
            mx1.test A 198.51.100.1
            mx2.test A 192.0.2.1
            mx2.test AAAA 2001:db8::1
            net.test TXT v=spf1 mx:own.test/24//32 -all
            none.test TXT v=spf1 mx -all
            none.test A 192.0.2.1
            null.test TXT v=spf1 mx -all
            null.test MX .
            dangling.test TXT v=spf1 mx -all
            dangling.test MX nowhere.test
            dangling.test MX mx2.test
            broken.test TXT v=spf1 mx +all
            broken.test MX !
            dead.test A !
            brokenhost.test TXT v=spf1 mx +all
            brokenhost.test MX dead.test
            ten.test TXT v=spf1 mx:ten-mx.test -all
            ten-mx.test MX m1.test
            ten-mx.test MX m2.test
            ten-mx.test MX m3.test
            ten-mx.test MX m4.test
            ten-mx.test MX m5.test
            ten-mx.test MX m6.test
            ten-mx.test MX m7.test
            ten-mx.test MX m8.test
            ten-mx.test MX m9.test
            ten-mx.test MX mx2.test
            eleven.test TXT v=spf1 mx:eleven-mx.test -all
            eleven-mx.test MX mx2.test
            eleven-mx.test MX m1.test
            eleven-mx.test MX m2.test
            eleven-mx.test MX m3.test
            eleven-mx.test MX m4.test
            eleven-mx.test MX m5.test
            eleven-mx.test MX m6.test
            eleven-mx.test MX m7.test
            eleven-mx.test MX m8.test
            eleven-mx.test MX m9.test
            eleven-mx.test MX m10.test
            syntax.test TXT v=spf1 mx: +all",
        cases: &[
            (V4, "<joe@own.test>", Pass),
            (V6, "<joe@own.test>", Pass),
            ("192.0.2.2", "<joe@own.test>", Fail),
            ("198.51.100.254", "<joe@net.test>", Pass),
            ("2001:db8:ffff::1", "<joe@net.test>", Pass),
            (V4, "<joe@none.test>", Fail),
            (V4, "<joe@null.test>", Fail),
            (V4, "<joe@dangling.test>", Pass),
            (V4, "<joe@broken.test>", TempError),
            (V4, "<joe@brokenhost.test>", TempError),
            (V4, "<joe@ten.test>", Pass),
            (V4, "<joe@eleven.test>", PermError),
            (V4, "<joe@syntax.test>", PermError),
        ],
    },
    Group {
        section: "5.5: ptr",
        zone: "
            1.2.0.192.in-addr.arpa PTR mail.own.test
            1.2.0.192.in-addr.arpa PTR liar.other.test
            mail.own.test A 192.0.2.1
            liar.other.test A 198.51.100.1
            1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.own.test
            six.own.test AAAA 2001:db8::1
            3.2.0.192.in-addr.arpa !
            4.2.0.192.in-addr.arpa PTR own.test
            own.test TXT v=spf1 ptr -all
            own.test A 192.0.2.4
            upper.test TXT v=spf1 PTR:OWN.test -all
            other.test TXT v=spf1 ptr -all
            wn.test TXT v=spf1 ptr -all
            empty.test TXT v=spf1 ptr: -all
            prefix.test TXT v=spf1 ptr/24 -all",
        cases: &[
            (V4, "<joe@own.test>", Pass),
            (V6, "<joe@own.test>", Pass),
            ("192.0.2.4", "<joe@own.test>", Pass),
            ("192.0.2.2", "<joe@own.test>", Fail),
            ("192.0.2.3", "<joe@own.test>", Fail),
            (V4, "<joe@upper.test>", Pass),
            (V4, "<joe@other.test>", Fail),
            (V4, "<joe@wn.test>", Fail),
            (V4, "<joe@empty.test>", PermError),
            (V4, "<joe@prefix.test>", PermError),
        ],
    },
    Group {
        section: "5.6: ip4 and ip6",
        zone: "
            four.test TXT v=spf1 ip4:192.0.2.1 -all
            net.test TXT v=spf1 ip4:192.0.2.128/25 -all
            hostbits.test TXT v=spf1 ip4:192.0.2.200/24 -all
            any.test TXT v=spf1 -ip4:0.0.0.0/0 +all
            six.test TXT v=spf1 ip6:2001:db8::1 -all
            sixnet.test TXT v=spf1 IP6:2001:DB8::/32 -all
            sixany.test TXT v=spf1 -ip6:::/0 +all
            mapped.test TXT v=spf1 ip6:::ffff:192.0.2.1 -all
            short.test TXT v=spf1 ip4:192.0.2 +all
            octet.test TXT v=spf1 ip4:192.0.2.300 +all
            prefix.test TXT v=spf1 ip4:192.0.2.0/33 +all
            sixprefix.test TXT v=spf1 ip6:2001:db8::/129 +all
            double.test TXT v=spf1 ip4:192.0.2.0//24 +all
            port.test TXT v=spf1 ip4:192.0.2.1:25 +all
            bare.test TXT v=spf1 ip4 +all
            mixed.test TXT v=spf1 ip4:2001:db8::1 +all
            sixmixed.test TXT v=spf1 ip6:192.0.2.1 +all",
        cases: &[
            (V4, "<joe@four.test>", Pass),
            ("192.0.2.2", "<joe@four.test>", Fail),
            ("::ffff:192.0.2.1", "<joe@four.test>", Pass),
            ("192.0.2.129", "<joe@net.test>", Pass),
            ("192.0.2.127", "<joe@net.test>", Fail),
            (V4, "<joe@hostbits.test>", Pass),
            (V4, "<joe@any.test>", Fail),
            (V6, "<joe@any.test>", Pass),
            (V6, "<joe@six.test>", Pass),
            (V4, "<joe@six.test>", Fail),
            ("2001:db8:1::1", "<joe@sixnet.test>", Pass),
            (V6, "<joe@sixany.test>", Fail),
            (V4, "<joe@sixany.test>", Pass),
            (V4, "<joe@mapped.test>", Fail),
            (V4, "<joe@short.test>", PermError),
            (V4, "<joe@octet.test>", PermError),
            (V4, "<joe@prefix.test>", PermError),
            (V6, "<joe@sixprefix.test>", PermError),
            (V4, "<joe@double.test>", PermError),
            (V4, "<joe@port.test>", PermError),
            (V4, "<joe@bare.test>", PermError),
            (V4, "<joe@mixed.test>", PermError),
            (V4, "<joe@sixmixed.test>", PermError),
        ],
    },
    Group {
        section: "5.7: exists asks for A records, whatever the client is",
        zone: "
            there.test A 127.0.0.2
            sixonly.test AAAA 2001:db8::1
            dead.test A !
            yes.test TXT v=spf1 exists:there.test -all
            no.test TXT v=spf1 exists:nowhere.test -all
            sixonly-e.test TXT v=spf1 exists:sixonly.test -all
            broken.test TXT v=spf1 exists:dead.test +all
            bare.test TXT v=spf1 exists +all
            empty.test TXT v=spf1 exists: +all
            prefix.test TXT v=spf1 exists:there.test/24 +all",
        cases: &[
            (V4, "<joe@yes.test>", Pass),
            (V6, "<joe@yes.test>", Pass),
            (V4, "<joe@no.test>", Fail),
            (V6, "<joe@sixonly-e.test>", Fail),
            (V4, "<joe@broken.test>", TempError),
            (V4, "<joe@bare.test>", PermError),
            (V4, "<joe@empty.test>", PermError),
            (V4, "<joe@prefix.test>", PermError),
        ],
    },
    Group {
        section: "6.1: redirect hands the question on",
        zone: "
            pass.test TXT v=spf1 ip4:192.0.2.1 -all
            syntax.test TXT v=spf1 moo
            dead.test TXT !
            r.test TXT v=spf1 redirect=pass.test
            mechanisms.test TXT v=spf1 redirect=pass.test ip4:198.51.100.1
            twice.test TXT v=spf1 redirect=r.test
            none.test TXT v=spf1 redirect=nowhere.test
            wrong.test TXT v=spf1 redirect=syntax.test
            broken.test TXT v=spf1 redirect=dead.test
            itself.test TXT v=spf1 redirect=itself.test
            empty.test TXT v=spf1 redirect=
            upper.test TXT v=spf1 REDIRECT=Pass.Test
            macro.test TXT v=spf1 redirect=%{l}.test
            d.test TXT v=spf1 exists:%{d}.there.test -all
            d.test.there.test A 127.0.0.2
            r-d.test TXT v=spf1 redirect=d.test",
        cases: &[
            (V4, "<joe@r.test>", Pass),
            ("192.0.2.2", "<joe@r.test>", Fail),
            ("198.51.100.1", "<joe@mechanisms.test>", Pass),
            ("198.51.100.2", "<joe@mechanisms.test>", Fail),
            (V4, "<joe@twice.test>", Pass),
            (V4, "<joe@none.test>", PermError),
            (V4, "<joe@wrong.test>", PermError),
            (V4, "<joe@broken.test>", TempError),
            (V4, "<joe@itself.test>", PermError),
            (V4, "<joe@empty.test>", PermError),
            (V4, "<joe@upper.test>", Pass),
            (V4, "<pass@macro.test>", Pass),
            (V4, "<joe@r-d.test>", Pass),
        ],
    },
    Group {
        section: "6.2: an explanation changes nothing",
        zone: "
            x.test TXT v=spf1 -all exp=why.test
            why.test TXT because %{x}
            none.test TXT v=spf1 exp=nowhere.test -all
            dead.test TXT !
            broken.test TXT v=spf1 exp=dead.test -all
            empty.test TXT v=spf1 exp= -all
            toplevel.test TXT v=spf1 exp=why -all",
        cases: &[
            (V4, "<joe@x.test>", Fail),
            (V4, "<joe@none.test>", Fail),
            (V4, "<joe@broken.test>", Fail),
            (V4, "<joe@empty.test>", PermError),
            (V4, "<joe@toplevel.test>", PermError),
        ],
    },
    Group {
        section: "7: macros",
        zone: "
            s.test TXT v=spf1 exists:%{s}.ok.test -all
            joe@s.test.ok.test A 127.0.0.2
            l.test TXT v=spf1 exists:%{l}.%{o}.ok.test -all
            joe.l.test.ok.test A 127.0.0.2
            delimiters.test TXT v=spf1 exists:%{l1r-}.%{lr-}.%{l-+}.ok.test -all
            strong.bad.strong.strong.bad.ok.test A 127.0.0.2
            strong.bad+x.strong.strong.bad.x.ok.test A 127.0.0.2
            sub.digits.test TXT v=spf1 exists:%{d2}.%{d1r}.%{d99}.ok.test -all
            digits.test.sub.sub.digits.test.ok.test A 127.0.0.2
            ip.test TXT v=spf1 exists:%{i}.%{ir}.%{v}.ok.test -all
            192.0.2.1.1.2.0.192.in-addr.ok.test A 127.0.0.2
            ip1.test TXT v=spf1 exists:%{i1}.%{i1r}.ok.test -all
            1.192.ok.test A 127.0.0.2
            six.test TXT v=spf1 exists:%{ir}.%{v}.ok.test -all
            1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.ok.test A 127.0.0.2
            helo.test TXT v=spf1 exists:%{h}.ok.test -all
            mail.client.test.ok.test A 127.0.0.2
            upper.test TXT v=spf1 exists:%{L}.ok.test -all
            jo%2be.ok.test A 127.0.0.2
            percent.test TXT v=spf1 exists:a%%b%-c.ok.test -all
            a%b%20c.ok.test A 127.0.0.2
            p.test TXT v=spf1 exists:%{p}.ok.test -all
            1.2.0.192.in-addr.arpa PTR elsewhere.example
            1.2.0.192.in-addr.arpa PTR mail.p.test
            1.2.0.192.in-addr.arpa PTR p.test
            elsewhere.example A 192.0.2.1
            mail.p.test A 192.0.2.1
            2.2.0.192.in-addr.arpa PTR p.test
            mail.p.test.ok.test A 127.0.0.2
            unknown.ok.test A 127.0.0.2
            long.test TXT v=spf1 exists:%{l}.%{l}.%{l}.%{l}.%{l}.ok.test -all
            open.test TXT v=spf1 exists:%{d.test +all
            letter.test TXT v=spf1 exists:%{x}.test +all
            explain.test TXT v=spf1 exists:%{c}.test +all
            zero.test TXT v=spf1 exists:%{d0}.test +all
            order.test TXT v=spf1 exists:%{dr2}.test +all
            lone.test TXT v=spf1 exists:%d.test +all",
        cases: &[
            (V4, "<joe@s.test>", Pass),
            (V4, "<jim@s.test>", Fail),
            (V4, "<joe@l.test>", Pass),
            (V4, "<strong-bad@delimiters.test>", Pass),
            (V4, "<strong-bad+x@delimiters.test>", Pass),
            (V4, "<weak-bad@delimiters.test>", Fail),
            (V4, "<joe@sub.digits.test>", Pass),
            (V4, "<joe@ip.test>", Pass),
            (V4, "<joe@ip1.test>", Pass),
            ("198.51.100.1", "<joe@ip1.test>", Fail),
            (V6, "<joe@six.test>", Pass),
            (V4, "<joe@helo.test>", Pass),
            (V4, "<jo+e@upper.test>", Pass),
            (V4, "<joe@percent.test>", Pass),
            (V4, "<joe@p.test>", Pass),
            ("192.0.2.2", "<joe@p.test>", Pass),
            ("192.0.2.3", "<joe@p.test>", Pass),
            (V4, "<a23456789012345678901234567890123456789012345678901234567890123@long.test>", Fail),
            (V4, "<joe@open.test>", PermError),
            (V4, "<joe@letter.test>", PermError),
            (V4, "<joe@explain.test>", PermError),
            (V4, "<joe@zero.test>", PermError),
            (V4, "<joe@order.test>", PermError),
            (V4, "<joe@lone.test>", PermError),
        ],
    },
    Group {
        section: "4.6.4: limits",
        zone: "
            h.test A 198.51.100.1
            ten.test TXT v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test +all
            eleven.test TXT v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test mx:h.test +all
            early.test TXT v=spf1 +ip4:192.0.2.1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test
            free.test TXT v=spf1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip4:1.1.1.1 ip6:::1 ip4:1.1.1.1 +all
            four.test TXT v=spf1 a:h.test a:h.test a:h.test a:h.test ?all
            nested10.test TXT v=spf1 include:four.test include:four.test +all
            nested11.test TXT v=spf1 include:four.test include:four.test a:h.test +all
            last.test TXT v=spf1 include:four.test include:four.test redirect=free.test
            void2.test TXT v=spf1 a:n1.test exists:n2.test +all
            void3.test TXT v=spf1 a:n1.test exists:n2.test mx:n3.test +all
            nodata.test -
            void3b.test TXT v=spf1 a:nodata.test mx:nodata.test exists:nodata.test +all
            nested2.test TXT v=spf1 include:void2n.test a:n4.test +all
            void2n.test TXT v=spf1 a:n1.test a:n2.test ?all
            mxvoid.test TXT v=spf1 mx -all
            mxvoid.test MX n1.test
            mxvoid.test MX n2.test
            mxvoid.test MX n3.test
            mxvoid.test MX good.test
            good.test A 192.0.2.1
            1.2.0.192.in-addr.arpa PTR n1.test
            1.2.0.192.in-addr.arpa PTR n2.test
            1.2.0.192.in-addr.arpa PTR n3.test
            1.2.0.192.in-addr.arpa PTR n4.test
            1.2.0.192.in-addr.arpa PTR n5.test
            1.2.0.192.in-addr.arpa PTR n6.test
            1.2.0.192.in-addr.arpa PTR n7.test
            1.2.0.192.in-addr.arpa PTR n8.test
            1.2.0.192.in-addr.arpa PTR n9.test
            1.2.0.192.in-addr.arpa PTR tenth.test
            1.2.0.192.in-addr.arpa PTR eleventh.test
            tenth.test A 192.0.2.1
            eleventh.test A 192.0.2.1
            ptr10.test TXT v=spf1 ptr:tenth.test -all
            ptr11.test TXT v=spf1 ptr:eleventh.test -all",
        cases: &[
            (V4, "<joe@ten.test>", Pass),
            (V4, "<joe@eleven.test>", PermError),
            (V4, "<joe@early.test>", Pass),
            (V4, "<joe@free.test>", Pass),
            (V4, "<joe@nested10.test>", Pass),
            (V4, "<joe@nested11.test>", PermError),
            (V4, "<joe@last.test>", PermError),
            (V4, "<joe@void2.test>", Pass),
            (V4, "<joe@void3.test>", PermError),
            (V4, "<joe@void3b.test>", PermError),
            (V4, "<joe@nested2.test>", PermError),
            (V4, "<joe@mxvoid.test>", Pass),
            (V4, "<joe@ptr10.test>", Pass),
            (V4, "<joe@ptr11.test>", Fail),
        ],
    },
];

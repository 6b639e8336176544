//! What a reader of the same table of tricks came upon who had not seen the other lists: spellings, carriers and ways to write
//! a file into a page.

use super::Harmless::{self, IsRefused, Passes};
use super::archives::{self, rar4, rar5, sevenz};
use super::{Payload, bytes::Bytes as _, carriers, encodings, zips};
use crate::build::{attachment, base64, part, zip};

/// A part of a multipart, which need not be text.
pub(super) type Part = (String, Vec<u8>, Harmless);

pub(super) fn parts(payload: &Payload) -> Vec<Part> {
    let named =
        names(payload).into_iter().map(|(what, fields)| (what, part(&fields, payload.data).into_bytes()));
    let all = named
        .chain(uuencoded(payload))
        .chain(in_pages(payload))
        .map(|(what, part)| (what.to_owned(), part, Passes));
    let files = files(payload).into_iter().chain(discs(payload));
    let files = files.map(|(what, name, data, harmless)| {
        (what.to_owned(), attachment(&name, &data).into_bytes(), harmless)
    });
    all.chain(files).collect()
}

/// Spellings of a name.
fn names(payload: &Payload) -> Vec<(&'static str, String)> {
    let name = payload.name;
    let (stem, extension) = name.split_at(name.len() - 4);
    let disposition = |parameters: &str| format!("Content-Disposition: attachment; {parameters}");
    let digits = base64(name.as_bytes());
    let (one, two) = digits.split_at(5);
    vec![
        (
            "parameter in a line of its own",
            format!("Content-Disposition: attachment;\r\nfilename=\"{name}\""),
        ),
        ("escapes without quotes", {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            disposition(&format!("filename={escaped}"))
        }),
        ("behind a semicolon without quotes", disposition(&format!("filename=a.txt;{name}"))),
        ("in angle brackets", disposition(&format!("filename=<{name}>"))),
        ("in square brackets", disposition(&format!("filename=[{name}]"))),
        ("slash behind", disposition(&format!("filename=\"{name}/\""))),
        ("backslash behind", disposition(&format!("filename=\"{name}\\\\\""))),
        ("asterisk behind", disposition(&format!("filename=\"{name}*\""))),
        ("before a wide gap", disposition(&format!("filename=\"{name}{}.txt\"", " ".repeat(200)))),
        (
            "encoded word that does not end",
            disposition(&format!("filename=\"=?utf-8?Q?{stem}=2E{}\"", &extension[1..])),
        ),
        ("encoded word that half ends", disposition(&format!("filename=\"=?utf-8?B?{digits}?\""))),
        (
            "base64 split between words",
            disposition(&format!("filename=\"=?utf-8?B?{one}?= =?utf-8?B?{two}?=\"")),
        ),
        ("word in a word", {
            let inner = format!("=?utf-8?B?{digits}?=");
            disposition(&format!("filename=\"=?utf-8?B?{}?=\"", base64(inner.as_bytes()).replace("\r\n", "")))
        }),
        ("escaped as in a page", disposition(&format!("filename=\"{stem}&#46;{}\"", &extension[1..]))),
        (
            "escaped as in a page, by a name",
            disposition(&format!("filename=\"{stem}&period;{}\"", &extension[1..])),
        ),
        ("escaped as in a script", disposition(&format!("filename=\"{stem}\\u002e{}\"", &extension[1..]))),
        (
            "escaped as in quoted-printable",
            disposition(&format!("filename=\"{stem}=2E{}\"", &extension[1..])),
        ),
        ("encoded word that half begins", disposition(&format!("filename=?utf-8?Q?{name}?="))),
        ("semicolon on the next line", format!("Content-Disposition: attachment\r\n; filename={name}")),
        ("field of its own", format!("Content-Type: application/octet-stream\r\nContent-Filename: {name}")),
        ("identifier", format!("Content-Type: application/octet-stream\r\nContent-ID: <{name}>")),
        (
            "location on a disk",
            format!("Content-Type: application/octet-stream\r\nContent-Location: file:///C:/x/{name}"),
        ),
        ("fields indented", format!("X-Y: z\r\n  Content-Type: a/b;\r\n  name={name}\r\nZ: z")),
    ]
}

/// A zip long enough for a full line of every encoding.
fn archive(payload: &Payload) -> Vec<u8> {
    zips::archive(&[
        zips::Entry::stored("readme.txt", &b"hello ".repeat(30)),
        zips::Entry::stored(payload.name, payload.data),
    ])
}

/// Spellings of uuencode, and of what looks like it.
fn uuencoded(payload: &Payload) -> Vec<(&'static str, Vec<u8>)> {
    let zip = archive(payload);
    let encoded = encodings::uuencode("a.zip", &zip);
    let lines = encoded.split_once("\r\n").map_or("", |(_, lines)| lines);
    let text = |body: &str| format!("Content-Type: text/plain\r\n\r\nHello\r\n\r\n{body}");
    let of = |encoding: &str, body: &str| {
        format!(
            "Content-Type: application/octet-stream; name=a.dat\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"
        )
    };
    let rar = rar5(payload.name, payload.data);
    let (one, two) = rar.split_at(rar.len() / 2);
    let piece = |number: usize, data: &[u8], from: usize| {
        let header = format!(
            "=ybegin part={number} total=2 line=128 size={} name=a.rar\r\n=ypart begin={from} end={}\r\n",
            rar.len(),
            from + data.len() - 1
        );
        [
            header.into_bytes(),
            yenc(data),
            format!("\r\n=yend size={} part={number}\r\n", data.len()).into_bytes(),
        ]
        .concat()
    };
    let mut all = vec![
        ("uuencode, indented", text(&format!(" {encoded}"))),
        ("uuencode in capitals", text(&encoded.replacen("begin 644 ", "BEGIN\t644\t", 1))),
        ("uuencode with the mode of a file", text(&encoded.replacen("644", "100644", 1))),
        ("uuencode with a short mode", text(&encoded.replacen("644", "7", 1))),
        ("uuencode with empty lines", text(&encoded.replace("\r\n", "\r\n\r\n"))),
        ("uuencode without a beginning", of("x-uuencode", lines)),
        ("uuencode without anything", of("7bit", lines)),
        (
            "base64 as uuencode has it",
            text(&format!("begin-base64 644 {}\r\naGVsbG8=\r\n====\r\n", payload.name)),
        ),
        (
            "encoded name as uuencode has it",
            text(&format!(
                "begin-encoded 644 {}\r\n%:&5L;&\\\r\n`\r\nend\r\n",
                base64(payload.name.as_bytes())
            )),
        ),
        ("base64 behind a digit", of("base64", &format!("A\r\n{}", base64(&zip)))),
        ("file in a calendar", calendar(payload.name, "SGVsbG8=")),
        ("zip in a calendar", calendar("a.zip", &base64(&zip).replace("\r\n", "\r\n "))),
        ("xxencode", text(&xxencode(&zip))),
    ]
    .into_iter()
    .map(|(what, part)| (what, part.into_bytes()))
    .collect::<Vec<_>>();
    let header = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".to_vec();
    all.push((
        "yEnc in two parts",
        [header, piece(1, one, 1), b"\r\n".to_vec(), piece(2, two, one.len() + 1)].concat(),
    ));
    all
}

fn calendar(name: &str, digits: &str) -> String {
    format!(
        "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n\
         ATTACH;FMTTYPE=application/octet-stream;ENCODING=BASE64;VALUE=BINARY;\r\n X-FILENAME={name}:{digits}\r\n\
         END:VEVENT\r\nEND:VCALENDAR"
    )
}

fn xxencode(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"+-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |value: u32| char::from(DIGITS[(value & 63) as usize]);
    let mut out = "begin 644 a.zip\r\n".to_owned();
    for line in data.chunks(45) {
        out.push(digit(line.len() as u32));
        for group in line.chunks(3) {
            let bits =
                u32::from_be_bytes([0, group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)]);
            out.extend([18, 12, 6, 0].map(|shift| digit(bits >> shift)));
        }
        out += "\r\n";
    }
    out + "+\r\nend\r\n"
}

fn yenc(data: &[u8]) -> Vec<u8> {
    let escaped = data.iter().flat_map(|byte| match byte.wrapping_add(42) {
        byte @ (0 | b'\n' | b'\r' | b'=') => vec![b'=', byte.wrapping_add(64)],
        byte => vec![byte],
    });
    escaped.collect()
}

/// Pages and pictures whose script puts a file together.
fn in_pages(payload: &Payload) -> Vec<(&'static str, Vec<u8>)> {
    let data = archive(payload);
    let digits = base64(&data).replace("\r\n", "");
    let pieces: Vec<&str> =
        digits.as_bytes().chunks(60).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
    let list =
        |form: &dyn Fn(&u8) -> String, between: &str| data.iter().map(form).collect::<Vec<_>>().join(between);
    let scripts = [
        ("string", format!("atob('{digits}')")),
        ("string in pieces", format!("atob('{}')", pieces.join("'+\r\n'"))),
        ("string of digits", format!("x='{}'", list(&|byte| format!("{byte:02x}"), ""))),
        ("string of escapes", format!("x='{}'", list(&|byte| format!("\\x{byte:02x}"), ""))),
        ("list of numbers", format!("new Uint8Array([{}])", list(&u8::to_string, ","))),
        (
            "list of hexadecimal numbers",
            format!("new Uint8Array([{}])", list(&|byte| format!("{byte:#04x}"), ", ")),
        ),
    ];
    let mut all = Vec::new();
    for (what, script) in &scripts {
        let page = format!("<html><script>{script}</script></html>\r\n");
        all.push((*what, format!("Content-Type: text/html\r\n\r\n{page}")));
        all.push((*what, part("Content-Type: text/html; name=invoice.html", page.as_bytes())));
        let picture = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><script>{script}</script></svg>");
        all.push((*what, part("Content-Type: image/svg+xml; name=invoice.svg", picture.as_bytes())));
    }
    let link =
        |url: String| format!("Content-Type: text/html\r\n\r\n<a download href=\"{url}\">open</a>\r\n");
    let escaped = digits.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    all.push(("address with escaped base64", link(format!("data:application/zip;base64,{escaped}"))));
    all.push((
        "address without base64",
        link(format!("data:application/zip,{}", list(&|byte| format!("%{byte:02X}"), ""))),
    ));
    all.push((
        "page in an address",
        link(format!("data:text/html;base64,{}", base64(saving(payload).as_bytes()).replace("\r\n", ""))),
    ));
    all.push((
        "page in a script",
        format!(
            "Content-Type: text/html\r\n\r\n<script>document.write(atob('{}'))</script>\r\n",
            base64(saving(payload).as_bytes()).replace("\r\n", "")
        ),
    ));
    all.push(("comment", format!("Content-Type: text/html\r\n\r\n<!-- {digits} -->\r\n")));
    all.into_iter().map(|(what, part)| (what, part.into_bytes())).collect()
}

type File = (&'static str, String, Vec<u8>, Harmless);

/// Archives behind other files, and carriers.
fn files(payload: &Payload) -> Vec<File> {
    let (name, data) = (payload.name, payload.data);
    let zip_of = |name: &str| zips::archive(&[zips::Entry::stored(name, data)]);
    let tar = archives::tar(name, data);
    let stub = b"no program ".repeat(300);
    let pdf = [&b"%PDF-1.7\n"[..], &b"x".repeat(900)].concat();
    let other = "readme.txt";
    let mut wrong_sum = tar.clone();
    wrong_sum[148..154].copy_from_slice(b"000001");
    let file = |what, name: &str, data| (what, name.to_owned(), data, Passes);
    vec![
        file("7z behind a program", "a.dat", [stub.clone(), sevenz(name, data)].concat()),
        file("7z behind a document", "a.pdf", [pdf, sevenz(name, data)].concat()),
        file("7z behind a zip", "a.zip", [zip_of(other), sevenz(name, data)].concat()),
        file("RAR far behind", "a.dat", [b"x".repeat(1_200_000), rar5(name, data)].concat()),
        file("RAR behind a zip", "a.dat", [zip_of(other), rar5(name, data)].concat()),
        file("RAR behind a RAR", "a.rar", [rar5(other, data), rar5(name, data)].concat()),
        file("RAR 4 behind a RAR 5", "a.rar", [rar5(other, data), rar4(name, data, 0x8000)].concat()),
        file("RAR behind a 7z", "a.7z", [sevenz(other, data), rar5(name, data)].concat()),
        file("zip behind a RAR", "a.rar", [rar5(other, data), zip_of(name)].concat()),
        file("zip behind a 7z", "a.7z", [sevenz(other, data), zip_of(name)].concat()),
        file("cpio", "a.cpio", cpio(name, data)),
        file("cpio as another file", "a.dat", cpio(name, data)),
        file("ar", "a.dat", ar(name, data)),
        file("MacBinary", "a.bin", macbinary(name, data)),
        file("zip in MacBinary", "a.bin", macbinary("a.zip", &zip_of(name))),
        file("tar.lz4", "a.tar.lz4", lz4(&tar)),
        file("lz4", &format!("{name}.lz4"), lz4(data)),
        file("tar with a wrong sum", "a.tar", [archives::tar(other, data), wrong_sum].concat()),
        file("package in RTF", "a.rtf", rtf(name, data)),
        file("package in RTF as a document", "a.doc", rtf(name, data)),
        file("package in RTF in a zip", "a.zip", zip(&[("a.doc", &rtf(name, data))])),
        file(
            "attached to a PDF",
            "a.pdf",
            format!("%PDF-1.7\n<</Type/Filespec/F({name})/EF<</F 2 0 R>>>>\n<</Type/EmbeddedFile>>")
                .into_bytes(),
        ),
        file("signed by S/MIME, in PEM", "smime.p7m", pem(&carriers::signed(&zip_of(name), false))),
        file("compressed by S/MIME", "smime.p7m", carriers::compressed(&zip_of(name))),
        file(
            "embedded under a name in capitals",
            "a.doc",
            carriers::ole_native_as("OLE10NATIVE", name, data),
        ),
        file("page in a zip", "a.zip", zip(&[("invoice.html", saving(payload).as_bytes())])),
        file("page in a zip, by its content", "a.zip", zip(&[("invoice", saving(payload).as_bytes())])),
        file(
            "picture in a zip",
            "a.zip",
            zip(&[("invoice.svg", saving(payload).replace("html", "svg").as_bytes())]),
        ),
        file("page in a gz", "a.html.gz", archives::gz(None, saving(payload).as_bytes())),
        file("page in UTF-16", "invoice.html", wide(&saving(payload))),
        file("page in UTF-16 in a zip", "a.zip", zip(&[("invoice.html", &wide(&saving(payload)))])),
        (
            "file compressed for Windows",
            format!("{}_", &name[..name.len() - 1]),
            b"SZDD\x88\xf0\x27\x33Ae\x05\0\0\0\xffHello".to_vec(),
            IsRefused,
        ),
        (
            "ARC",
            "a.dat".to_owned(),
            [b"\x1a\x02", name.as_bytes(), b"\0\0\0\0\0\x05\0\0\0", &[0; 10], b"hello\x1a\0"].concat(),
            IsRefused,
        ),
        (
            "archive that nobody lists",
            "a.alz".to_owned(),
            [b"ALZ\x01\x0a\0\0\0BLZ\x01", name.as_bytes(), data].concat(),
            IsRefused,
        ),
    ]
}

/// A page whose script saves an archive.
fn saving(payload: &Payload) -> String {
    format!("<html><script>save(atob('{}'))</script></html>", base64(&archive(payload)).replace("\r\n", ""))
}

fn wide(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Disc images whose beginning says nothing, and programs, under harmless names.
fn discs(payload: &Payload) -> Vec<File> {
    let of = |data: Vec<u8>| if payload.is_hostile { data } else { payload.data.repeat(2000) };
    let mut iso = vec![0; 0x9000];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    let mut disk = vec![0; 1024];
    disk[446..462].copy_from_slice(b"\x80\0\x02\0\x07\0\0\0\0\x08\0\0\0\0\x10\0");
    disk[510..512].copy_from_slice(b"\x55\xaa");
    let fat = b"\xca\xfe\xba\xbf\0\0\0\x02".to_vec().bytes(&[0; 64]);
    let (iso, disk, fat) = (of(iso), of(disk), of(fat));
    let file = |what, name: &str, data| (what, name.to_owned(), data, Passes);
    vec![
        file("disc in a zip", "a.zip", zip(&[("picture.jpg", &iso)])),
        file("disc in a tar.gz", "a.tgz", archives::gz(None, &archives::tar("picture.jpg", &iso))),
        file("disc in a gz", "picture.jpg.gz", archives::gz(None, &iso)),
        file("disk", "picture.jpg", disk.clone()),
        file("disk in a zip", "a.zip", zip(&[("picture.jpg", &disk)])),
        file("macOS program of 64 bits", "picture.jpg", fat),
    ]
}

fn cpio(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in [(name, data), ("TRAILER!!!", b"")] {
        let (size, name_size, zeros) = (data.len(), name.len() + 1, "0".repeat(32));
        let fields = format!(
            "070701{:08x}{:08x}{}{:08x}{size:08x}{zeros}{name_size:08x}{:08x}{name}\0",
            1,
            0o100_644,
            "0".repeat(24),
            0,
            0
        );
        for piece in [fields.as_bytes(), data] {
            out.extend(piece);
            out.resize(out.len().next_multiple_of(4), 0);
        }
    }
    out
}

fn ar(name: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("!<arch>\n{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, data.len());
    [header.as_bytes(), data, &b"\n"[..data.len() % 2]].concat()
}

fn macbinary(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 128];
    header[1] = name.len() as u8;
    header[2..2 + name.len()].copy_from_slice(name.as_bytes());
    header[65..73].copy_from_slice(b"TEXTttxt");
    header[83..87].copy_from_slice(&(data.len() as u32).to_be_bytes());
    header[122] = 129;
    header.bytes(data)
}

/// A frame of one block that is not compressed; the last byte of its header is a checksum of the two before.
fn lz4(data: &[u8]) -> Vec<u8> {
    b"\x04\x22\x4d\x18\x60\x40\x82".to_vec().u32(data.len() as u32 | 1 << 31).bytes(data).u32(0)
}

fn rtf(name: &str, data: &[u8]) -> Vec<u8> {
    let path = format!("C:\\Users\\a\\{name}\0");
    let package = Vec::new().u16(2).bytes(name.as_bytes()).bytes(b"\0").bytes(path.as_bytes()).u16(0).u16(3);
    let package = package.u32(path.len() as u32).bytes(path.as_bytes()).u32(data.len() as u32).bytes(data);
    let object =
        Vec::new().u32(0x501).u32(2).u32(8).bytes(b"Package\0").u32(0).u32(0).u32(package.len() as u32);
    let digits: String = object.bytes(&package).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\\rtf1\\ansi{{\\object\\objemb{{\\*\\objclass Package}}{{\\*\\objdata\r\n{digits}}}}}}}")
        .into_bytes()
}

fn pem(data: &[u8]) -> Vec<u8> {
    format!("-----BEGIN PKCS7-----\n{}-----END PKCS7-----\n", base64(data).replace('\r', "") + "\n")
        .into_bytes()
}

//! Files that carry others and are no archives (2.1, 2.4), and programs under names of something else (2.2).

use std::io::{Cursor, Write};

use super::Harmless::Passes;
use super::archives::File;
use super::{Payload, bytes::Bytes as _};
use crate::build::{attachment, mail, zip};

pub(crate) fn carriers(payload: &Payload) -> Vec<File> {
    let (name, data) = (payload.name, payload.data);
    let inner = mail(&[attachment(name, data)]);
    vec![
        ("TNEF, title", "winmail.dat".to_owned(), tnef(&[title(name), tnef_data(data)]), Passes),
        ("TNEF as another file", "letter.bin".to_owned(), tnef(&[title(name), tnef_data(data)]), Passes),
        (
            "TNEF, data before the name",
            "winmail.dat".to_owned(),
            tnef(&[tnef_data(data), title(name)]),
            Passes,
        ),
        (
            "TNEF, long name",
            "winmail.dat".to_owned(),
            tnef(&[title("SHORT~1.TXT"), properties(&[string(0x3707, name)]), tnef_data(data)]),
            Passes,
        ),
        (
            "TNEF, transport name",
            "winmail.dat".to_owned(),
            tnef(&[
                title("ok.txt"),
                attribute(0x0001_9001, &[name.as_bytes(), b"\0"].concat()),
                tnef_data(data),
            ]),
            Passes,
        ),
        (
            "TNEF, display name",
            "winmail.dat".to_owned(),
            tnef(&[title("ok.txt"), properties(&[string(0x3001, name)]), tnef_data(data)]),
            Passes,
        ),
        (
            "TNEF, extension",
            "winmail.dat".to_owned(),
            tnef(&[title("ok"), properties(&[string(0x3703, &name[name.len() - 4..])]), tnef_data(data)]),
            Passes,
        ),
        (
            "TNEF, wrong checksums",
            "winmail.dat".to_owned(),
            {
                let mut title = title(name);
                *title.last_mut().unwrap() ^= 0xff;
                tnef(&[title, tnef_data(data)])
            },
            Passes,
        ),
        (
            "TNEF, attached message",
            "winmail.dat".to_owned(),
            tnef(&[title("message"), properties(&[embedded(&tnef(&[title(name), tnef_data(data)]))])]),
            Passes,
        ),
        (
            "TNEF, zip",
            "winmail.dat".to_owned(),
            tnef(&[title("a.zip"), tnef_data(&zip(&[(name, data)]))]),
            Passes,
        ),
        ("Outlook message", "a.msg".to_owned(), msg(name, data), Passes),
        ("Outlook message as another file", "a.dat".to_owned(), msg(name, data), Passes),
        ("Outlook message, zip", "a.msg".to_owned(), msg("a.zip", &zip(&[(name, data)])), Passes),
        ("embedded in an old document", "a.doc".to_owned(), ole_native(name, data), Passes),
        (
            "embedded in a document",
            "a.docx".to_owned(),
            zip(&[
                ("[Content_Types].xml", b"<Types/>"),
                ("word/document.xml", b"<w:document/>"),
                ("word/embeddings/oleObject1.bin", &ole_native(name, data)),
            ]),
            Passes,
        ),
        (
            "in a document",
            "a.docx".to_owned(),
            zip(&[("[Content_Types].xml", b"<Types/>"), (&format!("word/embeddings/{name}"), data)]),
            Passes,
        ),
        ("in a web archive of Java", "a.war".to_owned(), zip(&[(&format!("WEB-INF/{name}"), data)]), Passes),
        ("AppleDouble", "a.dat".to_owned(), apple(0x0005_1607, name, data), Passes),
        ("AppleSingle", "a.dat".to_owned(), apple(0x0005_1600, name, data), Passes),
        ("signed by S/MIME, definite", "smime.p7m".to_owned(), signed(&inner, false), Passes),
        ("signed by S/MIME, in chunks", "smime.p7m".to_owned(), signed(&inner, true), Passes),
        ("signed by S/MIME, as another file", "a.dat".to_owned(), signed(&inner, false), Passes),
    ]
}

/// Programs under the name of something else.
pub(crate) fn programs(payload: &Payload) -> Vec<File> {
    let mut iso = vec![0; 0x8001];
    iso.extend(b"CD001\x01\0");
    iso.resize(0x9000, 0);
    let mut vhd = vec![0; 4096];
    vhd.extend(b"conectix");
    vhd.resize(4096 + 512, 0);
    let mut pe = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0\xb8\0\0\0".to_vec();
    pe.resize(0x3c, 0);
    pe.extend([0x80, 0, 0, 0]);
    pe.resize(0x80, 0);
    pe.extend(b"PE\0\0\x64\x86\x02\0");
    pe.resize(512, 0);
    let kinds: [(&'static str, &str, Vec<u8>); 12] = [
        ("Windows program", "picture.jpg", pe.clone()),
        ("Windows program without name", "", pe),
        ("Linux program", "picture.jpg", [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 100]].concat()),
        ("macOS program", "picture.jpg", [b"\xcf\xfa\xed\xfe\x07\0\0\x01".to_vec(), vec![0; 100]].concat()),
        (
            "shortcut",
            "picture.jpg",
            [b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".to_vec(), vec![0; 100]].concat(),
        ),
        (
            "compiled help",
            "notes.pdf",
            [b"ITSF\x03\0\0\0\x60\0\0\0\x01\0\0\0".to_vec(), vec![0; 100]].concat(),
        ),
        ("cabinet", "notes.pdf", cabinet(payload)),
        ("disc image", "notes.pdf", iso),
        ("virtual disk", "notes.pdf", vhd),
        (
            "OneNote section",
            "notes.pdf",
            [b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3".to_vec(), vec![0; 100]]
                .concat(),
        ),
        ("encoded script", "notes.txt", b"#@~^GAAAAA==~ M+U:.L4fAAA==^#~@\0".repeat(3)),
        (
            "ACE archive",
            "notes.pdf",
            [b"\0\0\x31\0\0\0\x90**ACE**\x14\x14\x02\0".to_vec(), vec![0; 60]].concat(),
        ),
    ];
    let content = |bytes: Vec<u8>| if payload.is_hostile { bytes } else { b"hello".to_vec() };
    let file =
        |(what, name, bytes): (&'static str, &str, Vec<u8>)| (what, name.to_owned(), content(bytes), Passes);
    kinds.into_iter().map(file).collect()
}

fn cabinet(payload: &Payload) -> Vec<u8> {
    super::archives::cab(payload.name, payload.data)
}

fn tnef(attributes: &[Vec<u8>]) -> Vec<u8> {
    let version = attribute(0x0008_9006, &0x0001_0000u32.to_le_bytes());
    let mut out = Vec::new().u32(0x223e_9f78).u16(1).bytes(&version);
    out[6] = 1;
    out = out.bytes(&attribute(0x0006_9002, &[0; 14]));
    attributes.iter().fold(out, |out, attribute| out.bytes(attribute))
}

/// TNEF with messages one in the other.
pub(crate) fn nested_tnef(levels: usize) -> Vec<u8> {
    (0..levels).fold(tnef_of("notes.txt", b"hello"), |inner, _| {
        tnef(&[title("message"), properties(&[embedded(&inner)])])
    })
}

/// TNEF with one file.
pub(crate) fn tnef_of(name: &str, data: &[u8]) -> Vec<u8> {
    tnef(&[title(name), tnef_data(data)])
}

/// An attribute of an attachment.
fn attribute(id: u32, data: &[u8]) -> Vec<u8> {
    let sum = data.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    vec![2].u32(id).u32(data.len() as u32).bytes(data).u16(sum)
}

fn title(name: &str) -> Vec<u8> {
    attribute(0x0001_8010, &[name.as_bytes(), b"\0"].concat())
}

fn tnef_data(data: &[u8]) -> Vec<u8> {
    attribute(0x0006_800f, data)
}

fn properties(properties: &[Vec<u8>]) -> Vec<u8> {
    attribute(0x0006_9005, &Vec::new().u32(properties.len() as u32).bytes(&properties.concat()))
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(data.len().next_multiple_of(4), 0);
    out
}

fn string(id: u16, text: &str) -> Vec<u8> {
    let text = [text.as_bytes(), b"\0"].concat();
    Vec::new().u16(0x1e).u16(id).u32(1).u32(text.len() as u32).bytes(&padded(&text))
}

/// `PidTagAttachDataObject` with a message in TNEF.
fn embedded(tnef: &[u8]) -> Vec<u8> {
    let message = b"\x07\x03\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46".to_vec().bytes(tnef);
    Vec::new().u16(0x0d).u16(0x3701).u32(1).u32(message.len() as u32).bytes(&padded(&message))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn compound(streams: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    for (path, data) in streams {
        if let Some((storage, _)) = path.rsplit_once('/').filter(|(storage, _)| !storage.is_empty()) {
            file.create_storage_all(storage).unwrap();
        }
        file.create_stream(path).unwrap().write_all(data).unwrap();
    }
    file.flush().unwrap();
    file.into_inner().into_inner()
}

pub(crate) fn msg(name: &str, data: &[u8]) -> Vec<u8> {
    compound(&[
        ("/__properties_version1.0", &[0; 32]),
        ("/__substg1.0_0037001F", &utf16("Hello")),
        ("/__attach_version1.0_#00000000/__substg1.0_3704001F", &utf16("OK~1.TXT")),
        ("/__attach_version1.0_#00000000/__substg1.0_3707001F", &utf16(name)),
        ("/__attach_version1.0_#00000000/__substg1.0_37010102", data),
    ])
}

pub(crate) fn ole_native(name: &str, data: &[u8]) -> Vec<u8> {
    ole_native_as("Ole10Native", name, data)
}

/// The same in a stream of this name, behind its first character.
pub(super) fn ole_native_as(stream: &str, name: &str, data: &[u8]) -> Vec<u8> {
    let path = format!("C:\\Users\\a\\{name}");
    let inner = Vec::new().u16(2).bytes(name.as_bytes()).bytes(b"\0").bytes(path.as_bytes()).bytes(b"\0");
    let inner = inner.u16(0).u16(3).u32(path.len() as u32 + 1).bytes(path.as_bytes()).bytes(b"\0");
    let inner = inner.u32(data.len() as u32).bytes(data);
    let native = Vec::new().u32(inner.len() as u32).bytes(&inner);
    compound(&[(&format!("/ObjectPool/_1/\u{1}{stream}"), &native), ("/WordDocument", &[0; 64])])
}

/// AppleSingle or AppleDouble (RFC 1740): the real name, and the data fork.
fn apple(magic: u32, name: &str, data: &[u8]) -> Vec<u8> {
    let entry = |id: u32, offset: usize, length: usize| {
        [id, offset as u32, length as u32].iter().flat_map(|field| field.to_be_bytes()).collect::<Vec<u8>>()
    };
    let header = 26 + 2 * 12;
    [
        magic.to_be_bytes().to_vec(),
        0x0002_0000u32.to_be_bytes().to_vec(),
        vec![0; 16],
        2u16.to_be_bytes().to_vec(),
        entry(3, header, name.len()),
        entry(1, header + name.len(), data.len()),
        name.as_bytes().to_vec(),
        data.to_vec(),
    ]
    .concat()
}

/// CMS SignedData around a message (RFC 5652), without certificates or signers.
pub(crate) fn signed(message: &[u8], in_chunks: bool) -> Vec<u8> {
    const SIGNED: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    let value = |tag: u8, content: &[u8]| match in_chunks {
        true => [&[tag, 0x80], content, &[0, 0]].concat(),
        false => [&der_length(tag, content.len())[..], content].concat(),
    };
    let octets = match in_chunks {
        true => {
            let chunks: Vec<u8> = message
                .chunks(100)
                .flat_map(|chunk| [&der_length(4, chunk.len())[..], chunk].concat())
                .collect();
            value(0x24, &chunks)
        }
        false => value(4, message),
    };
    let content = value(0x30, &[DATA, &value(0xa0, &octets)].concat());
    let signed = value(0x30, &[&b"\x02\x01\x01\x31\0"[..], &content, b"\x31\0"].concat());
    value(0x30, &[SIGNED, &value(0xa0, &signed)].concat())
}

/// CMS CompressedData around a file (RFC 3274).
pub(super) fn compressed(file: &[u8]) -> Vec<u8> {
    const COMPRESSED: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09";
    const ZLIB: &[u8] = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x03\x08";
    const DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    let value = |tag: u8, content: &[u8]| [&der_length(tag, content.len())[..], content].concat();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(file).unwrap();
    let octets = value(0xa0, &value(4, &packed.finish().unwrap()));
    let inner = value(0x30, &[DATA, &octets].concat());
    let content = value(0x30, &[&b"\x02\x01\0"[..], &value(0x30, ZLIB), &inner].concat());
    value(0x30, &[COMPRESSED, &value(0xa0, &content)].concat())
}

fn der_length(tag: u8, length: usize) -> Vec<u8> {
    if length < 0x80 {
        vec![tag, length as u8]
    } else {
        vec![tag, 0x83].bytes(&(length as u32).to_be_bytes()[1..])
    }
}

//! A zip that holds itself, and so has no bottom. The way to make one is Russ Cox's (Zip Files All The Way Down, 2010): a Deflate stream
//! of instructions that print literally and instructions that repeat, each five bytes long, which together print themselves and what
//! stands before and after them. Where the checksum stands in its own file, the last bytes are chosen to make it true.

use super::bytes::Bytes as _;

const NAME: &[u8; 30] = b"zips-all-the-way-down-to-a.zip";
/// Bytes before the stream: the local header. The lengths are chosen so that repeating them takes 40 bits.
const PREFIX: usize = 30 + NAME.len();
/// Bytes behind the instructions: the last block, directory and end record, with a comment of five bytes.
const SUFFIX: usize = 5 + 46 + NAME.len() + 22 + 5;
/// An instruction's length.
const UNIT: usize = 5;
/// Instructions, those that are printed included.
const INSTRUCTIONS: usize = 30;

pub(crate) fn quine() -> Vec<u8> {
    let checksum = 0x6e67_6c79;
    // The checksum of the file is a linear function of the four free bytes: with what each bit changes, solve for them.
    let without = crc32fast::hash(&file(checksum, 0));
    let mut rows: Vec<(u32, u32)> =
        (0..32).map(|bit| (crc32fast::hash(&file(checksum, 1 << bit)) ^ without, 1 << bit)).collect();
    let (mut wanted, mut free) = (without ^ checksum, 0);
    for bit in (0..32).map(|bit| 1 << bit) {
        let at = rows.iter().position(|(change, _)| change & bit != 0).unwrap();
        let (change, bits) = rows.swap_remove(at);
        for row in rows.iter_mut().filter(|row| row.0 & bit != 0) {
            *row = (row.0 ^ change, row.1 ^ bits);
        }
        if wanted & bit != 0 {
            (wanted, free) = (wanted ^ change, free ^ bits);
        }
    }
    file(checksum, free)
}

fn file(checksum: u32, free: u32) -> Vec<u8> {
    let (print_prefix, print_suffix) = (print(PREFIX + UNIT), print(SUFFIX + UNIT));
    let (print_1, print_4, nothing) = (print(UNIT), print(4 * UNIT), print(0));
    // Two matches of 10 bytes, 20 back.
    let repeat_4 = repeat(Tail::End, 20);
    // One match of 65, 65 back.
    let repeat_prefix = repeat(Tail::EmptyBlock, PREFIX + UNIT);
    // One match of all but the last byte, and that.
    let repeat_suffix = repeat(Tail::Literal, SUFFIX + UNIT);

    let size = 2 * (PREFIX + SUFFIX) + INSTRUCTIONS * UNIT;
    let fields = Vec::new()
        .u16(0)
        .u16(8)
        .u32(0x5a21_0000)
        .u32(checksum)
        .u32((size - PREFIX - SUFFIX + UNIT) as u32)
        .u32(size as u32)
        .u16(NAME.len() as u16)
        .u16(0);
    let prefix = b"PK\x03\x04".to_vec().u16(20).bytes(&fields).bytes(NAME);
    let central = b"PK\x01\x02".to_vec().u16(20).u16(20).bytes(&fields).bytes(&[0; 14]).bytes(NAME);
    let end = b"PK\x05\x06".to_vec().u32(0).u16(1).u16(1).u32(central.len() as u32);
    let end = end.u32((size - SUFFIX + UNIT) as u32).u16(5).u32(free).bytes(&[0xff]);
    let suffix = [b"\x01\0\0\xff\xff".to_vec(), central, end].concat();

    let program: Vec<&[u8]> = vec![
        &print_prefix,
        &prefix,
        &print_prefix,
        &repeat_prefix,
        &print_1,
        &repeat_prefix,
        &print_1,
        &print_1,
        &print_4,
        &repeat_prefix,
        &print_1,
        &print_1,
        &print_4,
        &repeat_4,
        &print_4,
        &repeat_4,
        &print_4,
        &repeat_4,
        &print_4,
        &repeat_4,
        &print_4,
        &repeat_4,
        &nothing,
        &nothing,
        &print_suffix,
        &repeat_4,
        &nothing,
        &nothing,
        &print_suffix,
        &repeat_suffix,
        &suffix,
        &repeat_suffix,
    ];
    let file = [prefix.clone(), program.concat(), suffix.clone()].concat();
    assert_eq!((file.len(), prefix.len(), suffix.len()), (size, PREFIX, SUFFIX));
    file
}

/// A stored block: prints what follows.
fn print(length: usize) -> Vec<u8> {
    vec![0].u16(length as u16).u16(!(length as u16))
}

/// What fills an instruction up to its forty bits.
enum Tail {
    End,
    EmptyBlock,
    Literal,
}

/// A block of fixed Huffman codes that prints the last `length` bytes once more.
fn repeat(tail: Tail, length: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.number(0b010, 3);
    match tail {
        Tail::End => {
            for _ in 0..2 {
                bits.code(264 - 256, 7);
                bits.code(8, 5);
                bits.number(length as u64 - 17, 3);
            }
        }
        Tail::EmptyBlock => {
            bits.code(276 - 256, 7);
            bits.number(length as u64 - 59, 3);
            bits.code(12, 5);
            bits.number(length as u64 - 65, 5);
            bits.code(0, 7);
            bits.number(0b010, 3);
        }
        Tail::Literal => {
            bits.code(279 - 256, 7);
            bits.number(length as u64 - 1 - 99, 4);
            bits.code(13, 5);
            bits.number(length as u64 - 97, 5);
            bits.code(0x190 + 0xff - 144, 9);
        }
    }
    bits.code(0, 7);
    assert_eq!(bits.length, 40);
    bits.value.to_le_bytes()[..UNIT].to_vec()
}

#[derive(Default)]
struct Bits {
    value: u64,
    length: u32,
}

impl Bits {
    /// Numbers stand lowest bit first.
    fn number(&mut self, value: u64, length: u32) {
        self.value |= value << self.length;
        self.length += length;
    }

    /// Codes stand highest bit first.
    fn code(&mut self, code: u64, length: u32) {
        self.number(code.reverse_bits() >> (64 - length), length);
    }
}

#[test]
#[expect(clippy::disallowed_types, reason = "it inflates to as much as it is")]
fn it_holds_itself() {
    let quine = quine();
    let mut archive = zip::read::ZipArchive::new(std::io::Cursor::new(&quine)).unwrap();
    let mut inside = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_index(0).unwrap(), &mut inside).unwrap();
    assert_eq!(inside, quine);
}

//! Writing fields of binary formats one behind the other.

pub(super) trait Bytes: Sized {
    fn bytes(self, bytes: &[u8]) -> Self;

    fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }
}

impl Bytes for Vec<u8> {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.extend_from_slice(bytes);
        self
    }
}

//! The head of a frame, byte by byte.

const MOST: usize = 14;

/// Bytes of a head that is not complete yet.
#[derive(Clone, Debug, Default)]
pub struct Partial {
    bytes: [u8; MOST],
    have: usize,
}

/// A head that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// As it was read.
    pub bytes: Vec<u8>,
    pub first: u8,
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub length: u64,
}

impl Partial {
    /// Takes bytes off the front until the head is complete.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        while self.have < self.need() {
            let (first, rest) = bytes.split_first()?;
            self.bytes[self.have] = *first;
            self.have += 1;
            *bytes = rest;
        }
        let head = Head::of(&self.bytes[..self.have]);
        self.have = 0;
        Some(head)
    }

    /// What was taken of a head that is not complete.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[..self.have]
    }

    fn need(&self) -> usize {
        if self.have < 2 { 2 } else { 2 + extended(self.bytes[1]) + if self.bytes[1] & 0x80 == 0 { 0 } else { 4 } }
    }
}

impl Head {
    fn of(bytes: &[u8]) -> Head {
        let extended = extended(bytes[1]);
        let length = match extended {
            0 => u64::from(bytes[1] & 0x7f),
            _ => bytes[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mask = bytes[2 + extended..].try_into().ok();
        Head { first: bytes[0], mask, length, bytes: bytes.to_vec() }
    }

    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

fn extended(second: u8) -> usize {
    match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

//! Bytes of streams travel packed with zstd where that makes them smaller: links cost money per byte.
//!
//! Each piece is packed by itself, so that any of them can be sent again, or first.

use std::cell::RefCell;

use prost::bytes::Bytes;
use zstd::zstd_safe::{CCtx, DCtx};

use crate::codec::{compressor, decompressor};
use crate::planted::{Bug, is_planted};

/// Level 1: of text in pieces of this size level 3 leaves no less.
const LEVEL: i32 = 1;

/// log2 of the window: a piece fits a frame.
const WINDOW_LOG: u32 = 17;

/// Bytes of the smallest piece that is tried: below it there is next to nothing to gain.
const LEAST: usize = 256;

/// A piece goes packed if that saves one part in so many.
const GAIN: usize = 16;

/// Most pieces that are not tried after one that could not be made smaller: each other time twice as many, so that what is packed already
/// costs little.
const MOST_PASSED: u32 = 32;

/// Whether the pieces of one direction are packed.
#[derive(Debug, Default)]
pub struct Packing {
    /// Bytes from this offset on may be packed.
    from: Option<u64>,
    /// So many pieces are not tried now, and after the next failure.
    passed: (u32, u32),
}

impl Packing {
    /// Bytes from `offset` on may be packed.
    pub fn begin(&mut self, offset: u64) {
        self.from.get_or_insert(offset);
    }

    /// A piece packed, if it becomes smaller.
    pub fn pack<'a>(&mut self, offset: u64, len: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
        let may = self.from.is_some_and(|from| offset >= from || is_planted(Bug::StreamPacksCredentials));
        if len < LEAST || !may || self.passes() {
            return None;
        }
        let packed = packed(len, pieces).filter(|packed| packed.len() <= len - len / GAIN);
        self.passed = match packed {
            Some(_) => (0, 0),
            None => (self.passed.1, (2 * self.passed.1 + 1).min(MOST_PASSED)),
        };
        packed
    }

    fn passes(&mut self) -> bool {
        let (now, _) = &mut self.passed;
        let passes = *now > 0;
        *now = now.saturating_sub(1);
        passes
    }
}

/// What a thread needs to pack and to unpack: a context takes longer to make than a piece to pack.
struct Tools {
    pack: CCtx<'static>,
    unpack: DCtx<'static>,
    /// The bytes of a piece, side by side.
    whole: Vec<u8>,
}

thread_local! {
    static TOOLS: RefCell<Tools> = RefCell::new(Tools {
        pack: compressor(LEVEL, WINDOW_LOG),
        unpack: decompressor(WINDOW_LOG),
        whole: Vec::new(),
    });
}

fn packed<'a>(len: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    TOOLS.with_borrow_mut(|Tools { pack, whole, .. }| {
        whole.clear();
        pieces.for_each(|piece| whole.extend_from_slice(piece));
        // What does not fit was not worth it.
        let mut out = Vec::with_capacity(len - len / GAIN);
        let packed = pack.compress2(&mut out, whole).is_ok();
        zeroize::Zeroize::zeroize(whole);
        packed.then_some(out)
    })
}

/// The `size` bytes that were packed; `None` when these are not they.
pub fn unpack(packed: &[u8], size: usize) -> Option<Bytes> {
    TOOLS.with_borrow_mut(|Tools { unpack, .. }| {
        let mut out = Vec::with_capacity(size);
        let written = unpack.decompress(&mut out, packed).ok()?;
        (written == size).then(|| out.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    #[test]
    fn what_is_packed_comes_out_as_it_was() {
        let text = b"2026-11-29T10:00:00Z INFO a request was served\n".repeat(500);
        let mut packing = Packing::default();
        packing.begin(0);
        let packed = packing.pack(0, text.len(), text.chunks(700)).expect("text becomes smaller");
        assert!(packed.len() * 20 < text.len(), "{} of {}", packed.len(), text.len());
        assert_eq!(unpack(&packed, text.len()).as_deref(), Some(&text[..]));
        for wrong in [text.len() - 1, text.len() + 1, 0] {
            assert_eq!(unpack(&packed, wrong), None, "another size was announced");
        }
        assert_eq!(unpack(&packed[1..], text.len()), None);
        assert_eq!(unpack(&packed, text.len()).as_deref(), Some(&text[..]), "after damage the next one comes out again");
    }

    #[test]
    fn heads_short_pieces_and_noise_stay_as_they_are() {
        let text = [b'x'; 4_000];
        let mut packing = Packing::default();
        assert!(packing.pack(0, text.len(), [&text[..]].into_iter()).is_none(), "nobody has said that it may be packed");
        packing.begin(100);
        assert!(packing.pack(99, text.len(), [&text[..]].into_iter()).is_none(), "it begins before that");
        assert!(packing.pack(100, 200, [&text[..200]].into_iter()).is_none());
        assert!(packing.pack(100, text.len(), [&text[..]].into_iter()).is_some());
        let noise = noise(4_000);
        assert!(packing.pack(100, noise.len(), [&noise[..]].into_iter()).is_none());
    }

    #[test]
    fn noise_is_tried_ever_more_rarely_and_text_after_it_is_found() {
        let (noise, text) = (noise(4_000), [b'x'; 4_000]);
        let mut packing = Packing::default();
        packing.begin(0);
        for _ in 0..1_000 {
            assert!(packing.pack(0, noise.len(), [&noise[..]].into_iter()).is_none());
        }
        assert_eq!(packing.passed.1, MOST_PASSED);
        let found = (0..=MOST_PASSED).find(|_| packing.pack(0, text.len(), [&text[..]].into_iter()).is_some());
        assert!(found.is_some());
        assert!(packing.pack(0, text.len(), [&text[..]].into_iter()).is_some(), "and from then on every piece");
    }
}

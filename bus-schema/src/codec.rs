//! zstd with the held bytes as prefix: a change costs what changed.
//!
//! Frames carry no magic number, size or checksum: the size travels beside them, the hash of the result is checked after.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

use crate::limits::MAX_WINDOW_LOG;

const LEVEL: i32 = 3;
/// Bytes of base and target together from which on the tables of level 3 forget the start of the base.
const LONG: usize = 256 * 1024;
const MIN_WINDOW_LOG: u32 = 10;

/// How the bytes of an object or a list are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// As they are: secret data is never compressed.
    Stored = 0,
    /// zstd alone.
    Whole = 1,
    /// zstd with the base as prefix.
    Delta = 2,
}

impl Mode {
    pub fn read(value: u32) -> Option<Mode> {
        [Mode::Stored, Mode::Whole, Mode::Delta].into_iter().find(|mode| *mode as u32 == value)
    }
}

/// Why received bytes could not be turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{size} bytes announced, at most {limit} are taken")]
    TooBig { size: u32, limit: u32 },
    #[error("the compressed bytes are damaged, or made with another base")]
    Damaged,
}

/// What a failure to set zstd up would mean.
const IN_BOUNDS: &str = "these zstd parameters are within bounds";

/// Makes frames as they travel: nothing but the compressed bytes.
pub(crate) fn compressor<'a>(level: i32, window_log: u32) -> CCtx<'a> {
    let mut context = CCtx::create();
    let settings = [
        CParameter::CompressionLevel(level),
        CParameter::WindowLog(window_log),
        CParameter::Format(FrameFormat::Magicless),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ];
    for setting in settings {
        context.set_parameter(setting).expect(IN_BOUNDS);
    }
    context
}

/// Reads what a [`compressor`] made, with at most this window.
pub(crate) fn decompressor<'a>(window_log_max: u32) -> DCtx<'a> {
    let mut context = DCtx::create();
    let settings = [DParameter::Format(FrameFormat::Magicless), DParameter::WindowLogMax(window_log_max)];
    for setting in settings {
        context.set_parameter(setting).expect(IN_BOUNDS);
    }
    context
}

/// Compresses `bytes`, with `base` as prefix where there is one.
pub fn compress(bytes: &[u8], base: Option<&[u8]>) -> Vec<u8> {
    let span = bytes.len() + base.map_or(0, <[u8]>::len);
    let mut context = compressor(LEVEL, window_log(span));
    let long = CParameter::EnableLongDistanceMatching(base.is_some() && span > LONG);
    context.set_parameter(long).expect(IN_BOUNDS);
    if let Some(base) = base {
        context.ref_prefix(base).expect("a fresh context takes a prefix");
    }
    let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut out, bytes).expect("the output has room for the worst case");
    out
}

/// Turns compressed bytes back; `size` is the announced size of the result.
///
/// # Errors
/// [`CodecError::TooBig`] before anything is allocated, [`CodecError::Damaged`] unless the result has exactly `size` bytes.
pub fn decompress(bytes: &[u8], base: Option<&[u8]>, size: u32, limit: u32) -> Result<Vec<u8>, CodecError> {
    if size > limit {
        return Err(CodecError::TooBig { size, limit });
    }
    let mut context = decompressor(MAX_WINDOW_LOG.max(window_log(size as usize)));
    if let Some(base) = base {
        context.ref_prefix(base).expect("a fresh context takes a prefix");
    }
    let mut out = Vec::with_capacity(size as usize);
    match context.decompress(&mut out, bytes) {
        Ok(written) if written == size as usize => Ok(out),
        _ => Err(CodecError::Damaged),
    }
}

/// The smallest window in which the whole prefix is still in reach.
fn window_log(span: usize) -> u32 {
    (usize::BITS - span.leading_zeros()).clamp(MIN_WINDOW_LOG, 27)
}

/// Writes `bytes` in the shortest way: as a delta only where that gains.
pub fn encode(bytes: &[u8], base: Option<&[u8]>, secret: bool) -> (Mode, Vec<u8>) {
    if secret {
        return (Mode::Stored, bytes.to_vec());
    }
    let whole = compress(bytes, None);
    match base.map(|base| compress(bytes, Some(base))) {
        Some(delta) if delta.len() < whole.len() => (Mode::Delta, delta),
        _ => (Mode::Whole, whole),
    }
}

/// Reads what [`encode`] wrote. `base` must be there for a delta.
///
/// # Errors
/// As [`decompress`]; a delta without its base is [`CodecError::Damaged`].
pub fn decode(mode: Mode, bytes: &[u8], base: Option<&[u8]>, size: u32, limit: u32) -> Result<Vec<u8>, CodecError> {
    match mode {
        Mode::Stored if size > limit => Err(CodecError::TooBig { size, limit }),
        Mode::Stored if bytes.len() != size as usize => Err(CodecError::Damaged),
        Mode::Stored => Ok(bytes.to_vec()),
        Mode::Whole => decompress(bytes, None, size, limit),
        Mode::Delta => decompress(bytes, Some(base.ok_or(CodecError::Damaged)?), size, limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(count: u64, factor: u64) -> String {
        (0..count).map(|line| format!("\"setting-{line}\":\"{:x}\",", line.wrapping_mul(factor) >> 20)).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn a_small_change_of_a_large_object_costs_little() {
        let base = settings(40_000, 0x9e37_79b9_7f4a_7c15);
        let changed = base.replace("setting-20000", "setting-xxxxx");
        let delta = compress(changed.as_bytes(), Some(base.as_bytes()));
        assert!(base.len() > 1_000_000 && delta.len() < 200, "{} bytes", delta.len());
        assert_eq!(decompress(&delta, Some(base.as_bytes()), changed.len() as u32, u32::MAX), Ok(changed.into_bytes()));
    }

    #[test]
    fn the_wrong_base_or_size_is_damage() {
        let (base, other) = (settings(100, 0x9e37_79b9_7f4a_7c15), settings(100, u64::MAX / 11));
        let size = base.len() as u32;
        let delta = compress(base.clone().as_bytes(), Some(base.as_bytes()));
        assert!(decompress(&delta, Some(other.as_bytes()), size, size) != Ok(base.clone().into_bytes()));
        assert_eq!(decompress(&delta, Some(base.as_bytes()), size - 1, size), Err(CodecError::Damaged));
        assert_eq!(decode(Mode::Delta, &delta, None, 4000, 4000), Err(CodecError::Damaged));
    }

    #[test]
    fn an_announced_size_over_the_limit_allocates_nothing() {
        assert_eq!(decompress(&[], None, u32::MAX, 10), Err(CodecError::TooBig { size: u32::MAX, limit: 10 }));
    }

    #[test]
    fn a_bomb_stops_at_the_announced_size() {
        let bomb = compress(&vec![0; 50_000_000], None);
        assert_eq!(decompress(&bomb, None, 1000, 1000), Err(CodecError::Damaged));
    }

    #[test]
    fn random_bytes_never_panic() {
        for len in 0..300 {
            let bytes = noise(len);
            for mode in [Mode::Stored, Mode::Whole, Mode::Delta] {
                let _ = decode(mode, &bytes, Some(&bytes), 1000, 1000);
            }
        }
    }

    #[test]
    fn secrets_are_written_as_they_are() {
        assert_eq!(encode(&[7; 500], Some(&[7; 500]), true), (Mode::Stored, vec![7; 500]));
    }
}

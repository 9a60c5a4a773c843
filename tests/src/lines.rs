//! Text as programs log it: it packs as logs do, which one letter a million times, and noise, do not.

use std::fmt::Write;

use fastrand::Rng;

/// Lines of some 120 bytes, until they are at least so many `bytes`.
pub fn log_lines(bytes: usize, rng: &mut Rng) -> String {
    let mut text = String::with_capacity(bytes + 200);
    while text.len() < bytes {
        let (second, path, size, request) = (rng.u32(..60), rng.u32(..1_000), rng.u32(..100_000), rng.u32(..));
        writeln!(
            text,
            "2026-11-29T10:00:{second:02}Z INFO request served method=GET path=/cart/{path} status=200 bytes={size} id={request:08x}"
        )
        .expect("into memory");
    }
    text
}

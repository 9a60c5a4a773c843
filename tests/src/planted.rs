//! Secrets that a test plants, and the search for them: in every file of a folder, and in the memory of a process, as a core dump has it.
//!
//! A secret is looked for as it is, in hex, and in base64 wherever it may begin in a longer text.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes read at once.
const CHUNK: usize = 4 << 20;

/// A secret with a name, and the ways in which it may be written.
#[derive(Clone, Debug)]
pub struct Planted {
    name: &'static str,
    value: String,
    forms: Vec<Vec<u8>>,
}

impl Planted {
    /// A new random secret of 32 letters and digits.
    #[must_use]
    pub fn random(name: &'static str) -> Planted {
        Planted::of(name, &uuid::Uuid::new_v4().simple().to_string())
    }

    /// A secret that is there, such as a token.
    #[must_use]
    pub fn of(name: &'static str, value: &str) -> Planted {
        Planted { value: value.to_owned(), ..Planted::of_bytes(name, value.as_bytes()) }
    }

    /// A secret that is no text, such as a key.
    #[must_use]
    pub fn of_bytes(name: &'static str, value: &[u8]) -> Planted {
        let mut forms = vec![value.to_vec(), value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()];
        for before in 0..3 {
            let text = STANDARD.encode([&b"\0\0"[..before], value].concat());
            // The characters at both ends depend on what stands beside the secret.
            let inner = &text.as_bytes()[(before * 4).div_ceil(3)..text.len() - 4];
            forms.push(inner.to_vec());
        }
        Planted { name, value: String::new(), forms }
    }

    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// As the `data` of a Secret has it.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.value)
    }
}

/// Where a planted secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub secret: &'static str,
    pub place: String,
    /// What stands around it.
    pub around: String,
}

/// Every place in the files below a folder, but in files of the names in `but`.
///
/// # Errors
/// A file cannot be read.
pub fn in_folder(folder: &Path, planted: &[Planted], but: &[&str]) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            hits.extend(in_folder(&path, planted, but)?);
        } else if path.is_file() && !but.iter().any(|name| path.ends_with(name)) {
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            search(&bytes, planted, &path.display().to_string(), &mut hits);
        }
    }
    Ok(hits)
}

/// Every place in these bytes.
#[must_use]
pub fn in_bytes(bytes: &[u8], planted: &[Planted]) -> Vec<Hit> {
    let mut hits = Vec::new();
    search(bytes, planted, "bytes", &mut hits);
    hits
}

/// Every place in the writable memory of a process, which should be frozen meanwhile.
///
/// # Errors
/// The memory cannot be read: that needs root.
pub fn in_memory(pid: u32, planted: &[Planted]) -> Result<(Vec<Hit>, usize)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut hits, mut read) = (Vec::new(), 0);
    for line in maps.lines() {
        let Some((start, end, what)) = writable(line) else { continue };
        let mut at = start;
        while at < end {
            let mut chunk = vec![0; CHUNK.min((end - at) as usize)];
            memory.seek(SeekFrom::Start(at))?;
            // Pages that were never touched may be unreadable.
            if memory.read_exact(&mut chunk).is_ok() {
                search(&chunk, planted, &format!("{what} {at:x}"), &mut hits);
                read += chunk.len();
            }
            // Chunks overlap by more than the longest form.
            at = if at + chunk.len() as u64 == end { end } else { at + chunk.len() as u64 - 256 };
        }
    }
    Ok((hits, read))
}

fn writable(line: &str) -> Option<(u64, u64, String)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_writable = words.next()?.starts_with("rw");
    let what = words.nth(3).unwrap_or("anonymous").to_owned();
    is_writable.then_some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?, what))
}

fn search(bytes: &[u8], planted: &[Planted], place: &str, hits: &mut Vec<Hit>) {
    let mut begins = [false; 256];
    for form in planted.iter().flat_map(|secret| &secret.forms) {
        begins[form[0] as usize] = true;
    }
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| begins[**byte as usize]) {
        for secret in planted.iter().filter(|secret| secret.forms.iter().any(|form| bytes[at..].starts_with(form))) {
            let around = String::from_utf8_lossy(&bytes[at.saturating_sub(80)..bytes.len().min(at + 80)]);
            let around = around.replace(|letter: char| letter.is_control(), "·");
            hits.push(Hit { secret: secret.name, place: place.to_owned(), around });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_plain_in_hex_and_anywhere_in_base64() {
        let secret = Planted::random("s");
        for before in ["", "a", "ab", "abc", "{\"data\":{\"key\":\""] {
            let text = format!("{before}{}tail", secret.value());
            for written in [text.clone(), STANDARD.encode(&text), text.bytes().map(|byte| format!("{byte:02x}")).collect()] {
                let mut hits = Vec::new();
                search(written.as_bytes(), std::slice::from_ref(&secret), "text", &mut hits);
                assert_eq!(hits.len(), 1, "{written}");
            }
        }
        let mut hits = Vec::new();
        search(Planted::random("other").value().as_bytes(), &[secret], "text", &mut hits);
        assert_eq!(hits, []);
    }

    #[test]
    fn a_secret_in_the_memory_of_a_process_is_found() {
        let secret = Planted::random("s");
        let (hits, read) = in_memory(std::process::id(), std::slice::from_ref(&secret)).unwrap();
        assert!(!hits.is_empty() && read > 0);
    }
}

//! Answers to `Want`: nothing is remembered but what is asked for in this session.

use std::collections::VecDeque;

use super::HubLink;
use crate::frame;
use crate::hash::Hash;
use crate::limits::{MAX_WANT_ITEMS, WANT_WINDOW, bulk_frame_of};
use crate::link::{Contents, Encoded};
use crate::list::Wanted;
use crate::message::{Content, Kind, Part, Want, WantItem};

/// Bytes that a part's bookkeeping takes, at most.
const PART_OVERHEAD: usize = 80;

/// Bytes below which a further piece is not worth a part.
const MIN_PIECE: usize = 256;

#[derive(Debug)]
struct Asked {
    hash: Hash,
    list: bool,
    base: Option<Hash>,
    etag: u64,
    offset: u32,
    /// Encoded bytes that are still asked for.
    left: u32,
}

#[derive(Debug, Default)]
pub(super) struct Serving {
    asked: VecDeque<Asked>,
}

impl Serving {
    pub(super) fn clear(&mut self) {
        self.asked.clear();
    }
}

impl HubLink {
    /// A new Want replaces the one before: it says all that the agent lacks now.
    pub(super) fn on_want(&mut self, want: Want) {
        self.serving.asked = want.items.into_iter().take(MAX_WANT_ITEMS).filter_map(read_item).collect();
    }

    pub(super) fn poll_content(&mut self, contents: &dyn Contents, max_frame: usize) -> Option<Vec<u8>> {
        let max_frame = bulk_frame_of(max_frame).min(self.sessions.current.as_ref()?.max_frame);
        let mut room = frame::room(max_frame).saturating_sub(8);
        let mut parts: Vec<Part> = Vec::new();
        while let Some(asked) = self.serving.asked.pop_front() {
            if !parts.is_empty() && room < PART_OVERHEAD + MIN_PIECE {
                self.serving.asked.push_front(asked);
                break;
            }
            let (part, rest) = self.part(asked, contents, room.saturating_sub(PART_OVERHEAD));
            room = room.saturating_sub(part.data.len() + PART_OVERHEAD);
            parts.push(part);
            if let Some(rest) = rest {
                self.serving.asked.push_front(rest);
                break;
            }
        }
        (!parts.is_empty()).then(|| self.seal(Kind::Content, &Content { parts }))
    }

    /// The next piece of at most `room` bytes, and what is still asked for after it.
    fn part(&self, mut asked: Asked, contents: &dyn Contents, room: usize) -> (Part, Option<Asked>) {
        let Some((encoded, base)) = self.encoded(&asked, contents) else {
            return (Part { hash: asked.hash.0.to_vec(), list: asked.list, missing: true, ..Part::default() }, None);
        };
        let total = encoded.data.len() as u32;
        if asked.etag != encoded.etag {
            (asked.offset, asked.etag) = (0, encoded.etag);
        }
        let start = asked.offset.min(total);
        let len = (total - start).min(asked.left).min(room as u32);
        let whole = start == 0 && len == total;
        let data = encoded.data[start as usize..(start + len) as usize].to_vec();
        let part = Part {
            hash: asked.hash.0.to_vec(),
            list: asked.list,
            mode: encoded.mode as u32,
            base: base.map_or(Vec::new(), |base| base.0.to_vec()),
            size: encoded.size,
            total: if whole { 0 } else { total },
            offset: start,
            etag: if whole { 0 } else { encoded.etag },
            data,
            missing: false,
        };
        (asked.offset, asked.left) = (start + len, asked.left - len);
        let more = asked.left > 0 && asked.offset < total;
        (part, more.then_some(asked))
    }

    /// What is asked for, if this cluster may have it: only what its own lists name.
    fn encoded(&self, asked: &Asked, contents: &dyn Contents) -> Option<(Encoded, Option<Hash>)> {
        let key = &self.config.key;
        let (encoded, base) = if asked.list {
            let list = self.known_list(asked.hash)?;
            let base = asked.base.and_then(|root| self.known_list(root)).filter(|base| base.root != list.root);
            (Encoded::new(&list.bytes, base.as_ref().map(|base| &*base.bytes), false, key), base.map(|base| base.root))
        } else {
            let lists = self.desired.iter().map(|desired| &desired.list).chain(&self.acked);
            let entry = lists.filter_map(|list| list.content(&asked.hash)).next()?;
            let Wanted::Content { secret, .. } = entry.wanted else { return None };
            (contents.encoded(&asked.hash, asked.base.as_ref(), secret, key)?, asked.base)
        };
        let base = base.filter(|_| encoded.mode == crate::codec::Mode::Delta);
        Some((encoded, base))
    }
}

fn read_item(item: WantItem) -> Option<Asked> {
    let base = Hash::read(&item.base);
    Some(Asked {
        hash: Hash::read(&item.hash)?,
        list: item.list,
        base,
        etag: item.etag,
        offset: item.offset,
        left: item.window.min(WANT_WINDOW),
    })
}

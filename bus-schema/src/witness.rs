//! What the simulation sees of sealed frames: bodies in clear, and each use of a key with a counter. Without the feature `planted` nothing of it exists.

#[cfg(feature = "planted")]
mod seeing {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use ring::aead::LessSafeKey;

    use crate::frame::TAG_LEN;

    type Tag = [u8; TAG_LEN];

    #[derive(Default)]
    struct Witness {
        bodies: HashMap<Tag, Vec<u8>>,
        used: HashMap<(Tag, u64), Vec<u8>>,
        repeats: u64,
    }

    thread_local! {
        static WITNESS: RefCell<Witness> = RefCell::default();
    }

    /// Keys have no name of their own: what a key makes of nothing is as good as one.
    fn name(key: &LessSafeKey) -> Tag {
        let nonce = ring::aead::Nonce::assume_unique_for_key([0xff; 12]);
        let tag = key.seal_in_place_separate_tag(nonce, ring::aead::Aad::empty(), &mut []);
        tag.expect("nothing is not too long").as_ref().try_into().expect("a tag has 16 bytes")
    }

    /// A body before it is sealed in its place.
    pub(crate) fn clear(body: &[u8]) -> Vec<u8> {
        body.to_vec()
    }

    pub(crate) fn sealed(key: &LessSafeKey, counter: u64, body: &[u8], sealed: &[u8]) {
        remember((name(key), counter), body, sealed);
    }

    /// A greeting's key is used with its ephemeral key, which is in front of it.
    pub(crate) fn greeted(padded: &[u8], message: &[u8]) {
        let mut body = padded.to_vec();
        crate::padding::unpad(&mut body).expect("it was padded");
        let ephemeral = message[..TAG_LEN].try_into().expect("a greeting begins with a key");
        remember((ephemeral, u64::MAX), &body, message);
    }

    fn remember(used: (Tag, u64), body: &[u8], sealed: &[u8]) {
        let tag = sealed[sealed.len() - TAG_LEN..].try_into().expect("the tag is at the end");
        WITNESS.with_borrow_mut(|witness| {
            witness.bodies.insert(tag, body.to_vec());
            let before = witness.used.insert(used, sealed.to_vec());
            witness.repeats += u64::from(before.is_some_and(|before| before != sealed));
        });
    }

    /// The body of a frame that was sealed in this thread since [`forget`].
    pub fn body(frame: &[u8]) -> Option<Vec<u8>> {
        let tag: Tag = frame.last_chunk().copied()?;
        WITNESS.with_borrow(|witness| witness.bodies.get(&tag).cloned())
    }

    /// How many (key, counter) pairs were used, and how many of them for two different frames: which must be none.
    pub fn uses() -> (u64, u64) {
        WITNESS.with_borrow(|witness| (witness.used.len() as u64, witness.repeats))
    }

    /// Begins anew.
    pub fn forget() {
        WITNESS.take();
    }
}

#[cfg(feature = "planted")]
pub use seeing::{body, forget, uses};
#[cfg(feature = "planted")]
pub(crate) use seeing::{clear, greeted, sealed};

#[cfg(not(feature = "planted"))]
pub(crate) fn clear(_: &[u8]) -> [u8; 0] {
    []
}

#[cfg(not(feature = "planted"))]
pub(crate) fn sealed(_: &ring::aead::LessSafeKey, _: u64, _: &[u8], _: &[u8]) {}

#[cfg(not(feature = "planted"))]
pub(crate) fn greeted(_: &[u8], _: &[u8]) {}

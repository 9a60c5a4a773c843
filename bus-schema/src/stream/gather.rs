//! A stream that is written in many small bits is not sent in as many frames: a log comes line by line, and each frame costs both ends
//! more than its bytes do.

use crate::id::Millis;

/// A piece of so many bytes is worth a frame at any time.
const LARGE: u64 = 4 * 1024;

/// Smaller pieces of one stream within one millisecond: more than what answers a request or a key has.
const AT_ONCE: u32 = 4;

/// Of one stream.
#[derive(Debug, Default)]
pub struct Gather {
    at: Millis,
    small: u32,
}

impl Gather {
    /// A piece of so many bytes was sent.
    pub fn sent(&mut self, bytes: u64, now: Millis) {
        if self.at != now {
            *self = Gather { at: now, small: 0 };
        }
        self.small += u32::from(bytes < LARGE);
    }

    /// When so many bytes may be sent that could be sent now; `None` for at once.
    pub fn wait(&self, bytes: u64, now: Millis) -> Option<Millis> {
        (self.at == now && self.small >= AT_ONCE && bytes < LARGE).then(|| now + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_small_pieces_go_at_once_and_more_of_them_together_a_millisecond_later() {
        let mut gather = Gather::default();
        for _ in 0..AT_ONCE {
            assert_eq!(gather.wait(100, 7), None);
            gather.sent(100, 7);
        }
        assert_eq!((gather.wait(100, 7), gather.wait(LARGE, 7)), (Some(8), None));
        gather.sent(LARGE, 7);
        assert_eq!((gather.wait(100, 7), gather.wait(100, 8)), (Some(8), None));
    }
}

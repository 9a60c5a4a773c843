//! Padding of sealed bodies, so that a broker learns a size class and not a size: to 16 bytes below 256, then to 1/16 of the size.
//!
//! One byte 0x80, then zeros (ISO/IEC 7816-4).

const MARK: u8 = 0x80;
const SMALLEST: usize = 16;

/// The size class that `len` padded bytes fall into is this coarse.
fn step(len: usize) -> usize {
    match len.checked_ilog2() {
        Some(bits) if bits >= 8 => 1 << (bits - 4),
        _ => SMALLEST,
    }
}

/// How many bytes a body of `len` has when padded.
pub fn padded(len: usize) -> usize {
    (len + 1).next_multiple_of(step(len + 1))
}

/// The largest body whose padded form has at most `room` bytes.
pub fn fitting(room: usize) -> usize {
    (room / step(room) * step(room)).saturating_sub(1)
}

/// Pads the body that begins at `from`, in place.
pub fn pad(bytes: &mut Vec<u8>, from: usize) {
    let len = from + padded(bytes.len() - from);
    bytes.push(MARK);
    bytes.resize(len, 0);
}

/// Takes the padding off; `None` when there is none.
pub fn unpad(body: &mut Vec<u8>) -> Option<()> {
    unpadded(body).map(|len| body.truncate(len))
}

/// How many bytes a body has without its padding; `None` when there is none.
pub fn unpadded(body: &[u8]) -> Option<usize> {
    let end = body.iter().rposition(|byte| *byte != 0)?;
    (body[end] == MARK).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_padded_comes_back_whatever_it_ends_with() {
        for len in 0..2_000 {
            for last in [0, MARK, 7] {
                let mut body = vec![last; len];
                pad(&mut body, 0);
                assert_eq!(body.len(), padded(len));
                assert!(body.len() <= (len + 1 + SMALLEST).max((len + 1) * 17 / 16 + 1), "{len} became {}", body.len());
                assert_eq!(unpad(&mut body), Some(()));
                assert_eq!(body, vec![last; len]);
            }
        }
    }

    #[test]
    fn what_fits_fits_and_one_more_does_not() {
        for room in 16..62_000 {
            assert!(padded(fitting(room)) <= room && padded(fitting(room) + 1) > room, "{room}");
        }
    }

    #[test]
    fn bodies_of_one_class_have_one_size() {
        let classes: std::collections::BTreeSet<usize> = (0..61_440).map(padded).collect();
        assert!(classes.len() < 150, "{}", classes.len());
        assert!(unpad(&mut vec![0; 16]).is_none() && unpad(&mut Vec::new()).is_none() && unpad(&mut vec![1]).is_none());
    }
}
